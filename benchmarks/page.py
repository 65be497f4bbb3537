"""`python -m benchmarks.page RESULTS.json MEASURES.json`: write docs/performance.md.

RESULTS.json is of `aionif bench`, MEASURES.json of `python -m benchmarks --json`; `make bench`
makes both. Nothing in the page is written by hand but the notes, which are in benchmarks/notes.md.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import altair as alt
import vl_convert

from aionif.bench import charts
from aionif.bench.reading import baseline_in, default_baseline, lines, losses, title_of_group
from aionif.bench.result import ResultsError, load_results
from aionif.bench.tables import Cells, Grid, behaviour_grid, loss_grid, missing_grid, time_grid

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from aionif.bench.result import Results

__all__ = ("measures_grid", "notes_for", "page", "pictures", "read_notes")

ROOT = Path(__file__).resolve().parents[1]
NOTES = Path(__file__).with_name("notes.md")
_WIDTH = 620  # pixels
_SIGNS = {"low": "<=", "high": ">="}

Row = dict[str, Any]
"""A row of MEASURES.json."""


def main() -> int:
    """Write the page and its pictures, unless the run was none for a page; return the status."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.page", description=__doc__)
    parser.add_argument("results", type=Path)
    parser.add_argument("measures", type=Path)
    parser.add_argument("--docs", type=Path, default=ROOT / "docs", help="default: %(default)s")
    options = parser.parse_args()
    try:
        results = load_results(options.results)
        rows = json.loads(options.measures.read_text(encoding="utf-8"))["rows"]
    except (ResultsError, OSError, ValueError, KeyError) as problem:
        print(f"python -m benchmarks.page: {problem}", file=sys.stderr)
        return 2
    if results.quick or not results.complete:
        print("This was not a whole run: docs/performance.md stays as it is.")
        return 0
    for name, svg in pictures(results).items():
        (options.docs / name).write_text(svg, encoding="utf-8")
    text = page(results, rows, NOTES.read_text(encoding="utf-8"))
    (options.docs / "performance.md").write_text(text, encoding="utf-8")
    return 0


# ---- the pictures ----


def pictures(results: Results) -> dict[str, str]:
    """Return SVG files by name."""
    baseline = default_baseline(results)
    specs = {
        "performance-empty.svg": charts.ratio_bars(results, lines(results, "empty", baseline)),
        "performance-latency.svg": charts.latency_curves(results, "empty", legend=True),
        "performance-in-flight.svg": charts.throughput_over_x(
            results, charts.TOGETHER, legend=True
        ),
        "performance-arrivals.svg": charts.tail_over_x(results, "arrivals", legend=True),
    }
    return {name: _svg(spec) for name, spec in specs.items() if spec}


def _svg(spec: charts.Spec) -> str:
    version = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    # a background of its own: whoever reads on a dark page can't be told from a picture
    look = {**charts.theme(dark=False), "background": "white", "padding": 12}
    svg: str = vl_convert.vegalite_to_svg(
        {**spec, "width": _WIDTH, "config": look}, vl_version=version
    )
    return re.sub(r"(\.\d\d)\d+", r"\1", svg)  # hundredths of a pixel


_PICTURES = {
    "performance-empty.svg": "An empty call: the time it takes, over the baseline",
    "performance-latency.svg": "An empty call: the latency that ever fewer calls exceed",
    "performance-in-flight.svg": "Calls a second, over how many are in flight",
    "performance-arrivals.svg": "The 99th percentile, over how many calls arrive a second",
}


# ---- the page ----


def page(results: Results, rows: list[Row], notes: str) -> str:
    """Return the document. rows: the project's own measures. notes: the text of notes.md."""
    parts = [
        *_opening(results),
        *_pictures(results),
        *_losses(results, notes),
        *_behaviour(results),
        *_scenarios(results),
        *_missing(results),
        *_measures(rows, notes),
    ]
    return "\n\n".join(parts) + "\n"


def _opening(results: Results) -> Iterator[str]:
    yield "# Performance"
    yield (
        "`make bench` writes this page from one run; `make bench ARGS=--quick` is a look, and\n"
        "leaves the page as it is. How it is measured, and how to measure functions of your own,\n"
        "is in [benchmarking](benchmarking.md). Absolute times differ between machines and\n"
        "between minutes; ratios less so, and still by a factor of two on a shared machine. Take\n"
        "your own figures before you rely on these."
    )
    day = results.created[:10]
    yield f"This run: {day}, {results.rounds} rounds, seed {results.seed}, by"
    yield f"```console\n$ {results.command}\n```"
    yield _pairs(results.machine)
    for warning in results.warnings:
        yield f"**Doubt these figures:** {warning}."


def _pictures(results: Results) -> Iterator[str]:
    titles = {subject.name: subject.title for subject in results.subjects}
    baseline = default_baseline(results)
    yield "## In pictures"
    yield f"The baseline is {titles.get(baseline, baseline)}."
    for name in pictures(results):
        yield f"{_PICTURES[name]}:\n\n![{_PICTURES[name]}]({name})"


def _losses(results: Results, notes: str) -> Iterator[str]:
    yield "## Where aionif is slower"
    found = loss_grid(results)
    if not found.rows:
        yield "Nowhere: no peer was faster than a tier of aionif by more than chance."
        return
    yield "Every pair whose 95 % interval leaves out 1; the direct call does not count."
    yield markdown(found)
    pairs = {
        f"{loss.scenario.name}/{loss.ours.name}": f"{loss.ours.title}: {loss.scenario.title}"
        for loss in losses(results)
    }
    yield "Why:"
    yield from notes_for(pairs, read_notes(notes))


def _behaviour(results: Results) -> Iterator[str]:
    if results.behaviours:
        yield "## When a call goes wrong"
        yield "Found by trying: one call goes wrong while others are in flight."
        yield markdown(behaviour_grid(results), {"poor": "*partly:* ", "bad": "**fails:** "})


def _scenarios(results: Results) -> Iterator[str]:
    yield "## All figures"
    baseline = default_baseline(results)
    groups = dict.fromkeys(scenario.group for scenario in results.scenarios)
    for group in groups:
        yield f"### {title_of_group(group)}"
        for scenario in results.scenarios:
            if scenario.group != group:
                continue
            held = baseline_in(results, scenario.name, baseline)
            table = markdown(time_grid(lines(results, scenario.name, held), held))
            title = scenario.title[:1].upper() + scenario.title[1:]
            yield f"<details><summary>{_escaped(title)}</summary>\n\n{table}\n\n</details>"


def _missing(results: Results) -> Iterator[str]:
    without = missing_grid(results)
    if without.rows:
        yield "## Not measured"
        yield markdown(without)


def _measures(rows: list[Row], notes: str) -> Iterator[str]:
    yield "## The project's own targets"
    yield (
        "What aionif is steered by: every row is a ratio inside one run, or a figure with a bound\n"
        "(`.venv/bin/python -m benchmarks`)."
    )
    yield markdown(measures_grid(rows))
    missed = {row["name"]: row["name"] for row in rows if row["passed"] is False}
    found = list(notes_for(missed, read_notes(notes)))
    if found:
        yield "## Where it falls short of them, and why"
        yield from found


# ---- measures and notes ----


def measures_grid(rows: list[Row]) -> Grid:
    """Return the table of the project's own measures."""
    verdicts = {True: "", False: "**missed**", None: ""}
    cells = []
    for row in rows:
        samples = row["samples"]
        value = row["problem"] if row["value"] is None else f"{_number(row['value'])} {row['unit']}"
        spread = f"{_number(min(samples))} to {_number(max(samples))}" if samples else ""
        bound = "" if row["target"] is None else f"{_SIGNS[row['better']]} {_number(row['target'])}"
        texts = (row["name"], value, spread, bound, verdicts[row["passed"]], row["detail"])
        cells.append(Cells(subject="", texts=texts))
    head = ("measure", "median", "rounds", "reach", "", "behind it")
    return Grid(head=head, rows=tuple(cells))


def read_notes(text: str) -> dict[tuple[str, ...], str]:
    """Return the notes by the beginnings of names that they are about."""
    _, *sections = re.split(r"^## ", text, flags=re.MULTILINE)
    found = {}
    for section in sections:
        heading, _, note = section.partition("\n")
        found[tuple(part.strip() for part in heading.split("|"))] = note.strip()
    return found


def notes_for(short: Mapping[str, str], notes: dict[tuple[str, ...], str]) -> Iterator[str]:
    """Return what is to be said of what fell short: a note, or that there is none yet.

    short: the name that notes know it by, and what it is called in the page.
    """
    for beginnings, note in notes.items():
        about = [title for name, title in short.items() if name.startswith(beginnings)]
        if about:
            yield f"**{_escaped('; '.join(about))}.** {note}"
    for name, title in short.items():
        if not any(name.startswith(beginnings) for beginnings in notes):
            yield f"**{_escaped(title)}.** Not explained yet."


# ---- markdown ----


def markdown(grid: Grid, marks: Mapping[str, str] = MappingProxyType({})) -> str:
    """Return a table; rows of aionif in bold. marks: what stands before cells of a tone."""
    aligned = ["---" if at < grid.words else "---:" for at in range(len(grid.head))]
    rows = (_row(row, marks) for row in grid.rows)
    return "\n".join([_line(grid.head), _line(aligned), *rows])


def _row(row: Cells, marks: Mapping[str, str]) -> str:
    first, *others = (
        marks.get(row.tone(at), "") + _escaped(text) for at, text in enumerate(row.texts)
    )
    return _line([f"**{first}**" if row.ours else first, *others])


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _pairs(facts: dict[str, str]) -> str:
    return "\n".join(
        ["| | |", "| --- | --- |", *(_line([k, _escaped(v)]) for k, v in facts.items())]
    )


def _escaped(text: str) -> str:
    return text.replace("|", r"\|").replace("<", "&lt;").replace("\n", " ")


def _number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"


if __name__ == "__main__":
    sys.exit(main())
