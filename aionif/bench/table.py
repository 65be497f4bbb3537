"""A run on a terminal: what to doubt, the tables, where aionif is slower, and what is missing."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box
from rich.table import Table
from rich.text import Text

from aionif.bench.reading import baseline_in, default_baseline, lines, losses, slower_sentence
from aionif.bench.tables import behaviour_grid, change_grid, fall_grid, missing_grid, time_grid
from aionif.bench.units import format_ratio

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console, RenderableType

    from aionif.bench.compare import Comparison
    from aionif.bench.result import Results
    from aionif.bench.tables import Cells, Grid

__all__ = ("print_comparison", "print_results", "table_of")

_STYLES = {"good": "green", "poor": "yellow", "bad": "red", "faint": "dim", "": ""}
_LEAST_NAME = 22  # columns
_MARKS = {"good": "+ ", "poor": "~ ", "bad": "! "}  # for who sees no colours


def print_results(results: Results, console: Console, *, baseline: str = "") -> None:
    """Print everything that was found. baseline: a subject; empty for the usual one."""
    for part in _parts(results, baseline or default_baseline(results)):
        console.print(part)


def print_comparison(found: Comparison, console: Console) -> None:
    """Print what changed between two runs, and how much did not."""
    for warning in found.warnings:
        console.print(_plain(f"Doubt these figures: {warning}", "bold yellow"))
    if found.speed:
        console.print(_plain(f"The direct call: {format_ratio(found.speed)}.", ""))
    changed = change_grid(found)
    if changed.rows:
        console.print(table_of(changed, "Changed beyond the threshold"))
    if found.falls:
        console.print(table_of(fall_grid(found), "No longer as it was", marked=True))
    same = sum(change.kind == "same" for change in found.changes)
    console.print(_plain(f"\n{same} of {len(found.changes)} figures can't be told apart.", ""))
    for text in found.alone:
        console.print(_plain(f"Not compared: {text}.", ""))
    verdict = "Something became worse." if found.regressed else "Nothing became worse."
    console.print(_plain(verdict, "bold red" if found.regressed else "bold green"))


def _parts(results: Results, baseline: str) -> Iterator[RenderableType]:
    yield from _doubts(results)
    titles = {subject.name: subject.title for subject in results.subjects}
    for scenario in results.scenarios:
        held = baseline_in(results, scenario.name, baseline)
        grid = time_grid(lines(results, scenario.name, held), held)
        if grid.rows:
            over = f" (the baseline is {titles[held]})" if held else ""
            yield table_of(grid, scenario.title + over)
    if results.behaviours:
        yield table_of(behaviour_grid(results), "When a call goes wrong", marked=True)
    yield from _losses(results)
    without = missing_grid(results)
    if without.rows:
        yield table_of(without, "Not measured")


def _doubts(results: Results) -> Iterator[RenderableType]:
    if not results.complete:
        yield _plain("Interrupted: what follows was found until then.", "bold red")
    if results.quick:
        yield _plain("A quick look: it shows that everything runs; the figures are noise.", "bold")
    for warning in results.warnings:
        yield _plain(f"Doubt these figures: {warning}", "bold yellow")


def _losses(results: Results) -> Iterator[RenderableType]:
    if results.rounds == 1:
        yield _plain("\nOne round has no intervals: nothing can be told apart.", "dim")
        return
    found = losses(results)
    if not found:
        yield _plain("\nNo peer is faster than a tier of aionif by more than chance.", "")
    for loss in found:
        yield _plain(slower_sentence(loss), "red")


def table_of(grid: Grid, title: str, *, marked: bool = False) -> Table:
    """Return a table for rich. marked: also say by a character what colours say."""
    table = Table(
        title=_plain(f"\n{title}", "bold"), title_justify="left", box=box.SIMPLE_HEAD,
        pad_edge=False, show_lines=marked,
    )  # fmt: skip
    for column, name in enumerate(grid.head):
        right = column >= grid.words
        least = _LEAST_NAME if column == 0 else None
        table.add_column(
            name, justify="right" if right else "left", overflow="fold", min_width=least
        )
    for row in grid.rows:
        table.add_row(*_texts(row, marked=marked), style="bold" if row.ours else "")
    return table


def _texts(row: Cells, *, marked: bool) -> Iterator[RenderableType]:
    for column, text in enumerate(row.texts):
        tone = row.tone(column)
        mark = _MARKS.get(tone, "") if marked else ""
        yield _plain(mark + text, _STYLES[tone])


def _plain(text: str, style: str) -> Text:
    """Return text whose brackets are not taken for markup."""
    return Text(text, style=style)
