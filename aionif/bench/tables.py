"""The tables of a run as text in cells, for whoever prints them: a terminal, a page, a document."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aionif.bench.reading import (
    EVENTS,
    SHARES,
    behaviour_of,
    figures_of,
    is_ours,
    losses,
    missing,
    percentile_name,
    verdict,
)
from aionif.bench.units import format_figure, format_ratio, format_seconds, title_of_figure

if TYPE_CHECKING:
    from aionif.bench.compare import Comparison
    from aionif.bench.reading import Line
    from aionif.bench.result import Results

__all__ = (
    "Cells",
    "Grid",
    "behaviour_grid",
    "change_grid",
    "fall_grid",
    "loss_grid",
    "missing_grid",
    "time_grid",
)

_NONE = "-"
_NOT_THERE = ("absent", "unsupported")


@dataclass(frozen=True, slots=True, kw_only=True)
class Cells:
    """One row. subject: its name, or empty. ours: of aionif. tones: of each cell, or none.

    A tone is "good", "poor", "bad", "faint" or empty; text alone has to say as much.
    """

    subject: str
    texts: tuple[str, ...]
    ours: bool = False
    tones: tuple[str, ...] = ()

    def tone(self, column: int) -> str:
        """Return the tone of a cell."""
        return self.tones[column] if self.tones else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A table: names of columns, and rows. words: how many columns from the left hold text."""

    head: tuple[str, ...]
    rows: tuple[Cells, ...]
    words: int = 1


def time_grid(found: list[Line], baseline: str) -> Grid:
    """Return times, ratios, percentiles and other figures of the lines of one scenario.

    Whoever could not take part, or is not installed, is left out: see `missing_grid`.
    """
    found = [line for line in found if line.status not in _NOT_THERE]
    figures = figures_of(found)
    shares = [share for share in SHARES if any(share in line.percentiles for line in found)]
    timed = any(line.seconds is not None for line in found)
    head = (
        "subject",
        *(("time", "over the baseline") if timed else ()),
        *map(percentile_name, shares),
        *map(title_of_figure, figures),
    )
    rows = tuple(
        _row(
            line,
            *(_times(line, is_baseline=line.subject.name == baseline) if timed else ()),
            *(_seconds(line.percentiles.get(share)) for share in shares),
            *(
                (format_figure(name, line.figures[name]), "")
                if name in line.figures
                else (_NONE, "faint")
                for name in figures
            ),
        )
        for line in found
    )
    return Grid(head=head, rows=rows)


def _row(line: Line, *cells: tuple[str, str]) -> Cells:
    """Return a row of texts, each with its tone."""
    texts, tones = zip((line.subject.title, ""), *cells, strict=True)
    return Cells(subject=line.subject.name, texts=texts, ours=is_ours(line.subject), tones=tones)


def _times(line: Line, *, is_baseline: bool) -> tuple[tuple[str, str], tuple[str, str]]:
    bad = line.seconds is None and line.status != "measured"
    time = (line.status, "bad") if bad else _seconds(line.seconds)
    if is_baseline:
        return time, ("the baseline", "")
    if line.ratio is None:
        return time, (_NONE, "faint")
    tone = ("good" if line.ratio.high < 1 else "bad") if line.ratio.told_apart else ""
    return time, (format_ratio(line.ratio), tone)


def _seconds(seconds: float | None) -> tuple[str, str]:
    return (_NONE, "faint") if seconds is None else (format_seconds(seconds), "")


def behaviour_grid(results: Results) -> Grid:
    """Return what each subject did in each event; a row for each that was tried in any."""
    tried = {behaviour.subject for behaviour in results.behaviours}
    events = [e for e in EVENTS if any(behaviour.event == e for behaviour in results.behaviours)]
    rows = []
    for subject in results.subjects:
        if subject.name not in tried:
            continue
        seen = [behaviour_of(results, subject.name, event) for event in events]
        told = [verdict(behaviour) if behaviour else ("faint", _NONE) for behaviour in seen]
        rows.append(
            Cells(
                subject=subject.name,
                texts=(subject.title, *(words for _, words in told)),
                ours=is_ours(subject),
                tones=("", *(tone for tone, _ in told)),
            )
        )
    head = ("subject", *(EVENTS[event] for event in events))
    return Grid(head=head, rows=tuple(rows), words=len(head))


def loss_grid(results: Results) -> Grid:
    """Return where a peer is faster than aionif, by more than chance."""
    rows = tuple(
        Cells(
            subject=loss.ours.name,
            texts=(loss.scenario.title, loss.ours.title, loss.peer.title, format_ratio(loss.ratio)),
        )
        for loss in losses(results)
    )
    return Grid(head=("scenario", "aionif", "is slower than", "time over"), rows=rows, words=3)


def missing_grid(results: Results) -> Grid:
    """Return what was not measured, where and why."""
    rows = tuple(
        Cells(
            subject=each.subject.name,
            texts=(each.subject.title, each.status, each.where(len(results.scenarios)), each.note),
            tones=("", "faint" if each.status in _NOT_THERE else "bad", "", ""),
        )
        for each in missing(results)
    )
    return Grid(head=("subject", "", "where", "why"), rows=rows, words=4)


def change_grid(comparison: Comparison) -> Grid:
    """Return what became faster or slower, worst first."""
    tones = {"slower": "bad", "faster": "good", "same": ""}
    rows = tuple(
        Cells(
            subject=change.subject.name,
            texts=(
                change.scenario.title,
                change.subject.title,
                format_ratio(change.plain),
                format_ratio(change.steady) if change.steady else _NONE,
                change.kind,
            ),
            ours=is_ours(change.subject),
            tones=("", "", "", "", tones[change.kind]),
        )
        for change in comparison.changes
        if change.kind != "same"
    )
    head = ("scenario", "subject", "than before", "by the direct call", "")
    return Grid(head=head, rows=rows, words=2)


def fall_grid(comparison: Comparison) -> Grid:
    """Return what was measured, or went well, and does no longer."""
    rows = tuple(
        Cells(
            subject=fall.subject.name,
            texts=(fall.subject.title, fall.where, fall.before, fall.after),
            ours=is_ours(fall.subject),
            tones=("", "", "", "bad"),
        )
        for fall in comparison.falls
    )
    return Grid(head=("subject", "where", "it was", "it is"), rows=rows, words=4)
