"""Two runs held against each other: what counts as a change, and what as the machine's doing."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from aionif.bench.compare import compare
from aionif.bench.table import print_comparison
from tests.support.benching import synthetic

if TYPE_CHECKING:
    from aionif.bench.result import Results

OLD = synthetic()


def scaled(results: Results, factor: float, *, without: str = "") -> Results:
    """Return a run in which everything took so many times as long, but for one subject."""
    cells = tuple(
        cell
        if cell.subject == without
        else replace(cell, seconds=tuple(seconds * factor for seconds in cell.seconds))
        for cell in results.cells
    )
    return replace(results, cells=cells)


def without(results: Results, subject: str) -> Results:
    return replace(
        results,
        subjects=tuple(each for each in results.subjects if each.name != subject),
        cells=tuple(cell for cell in results.cells if cell.subject != subject),
    )


def elsewhere(results: Results) -> Results:
    return replace(results, machine=results.machine | {"cpu": "another"})


def printed(old: Results, new: Results) -> str:
    stream = io.StringIO()
    print_comparison(compare(old, new), Console(file=stream, width=200))
    return stream.getvalue()


def slower(old: Results, new: Results, threshold: float = 0.05) -> set[str]:
    found = compare(old, new, threshold=threshold).changes
    return {change.subject.name for change in found if change.kind == "slower"}


def test_a_run_is_no_change_of_itself() -> None:
    found = compare(OLD, OLD)
    assert not found.regressed
    assert {change.kind for change in found.changes} == {"same"}
    assert found.speed is not None
    assert found.speed.value == pytest.approx(1)


def test_what_became_slower_is_found_and_nothing_else() -> None:
    assert slower(OLD, synthetic(slower=2.0)) == {"thread"}
    assert compare(OLD, synthetic(slower=2.0)).regressed


def test_what_became_faster_is_no_regression() -> None:
    found = compare(synthetic(slower=2.0), OLD)
    assert not found.regressed
    assert {c.subject.name for c in found.changes if c.kind == "faster"} == {"thread"}


def test_what_is_within_the_threshold_is_not_named() -> None:
    new = synthetic(slower=2.0)
    assert slower(OLD, new, threshold=5.0) == set()


def test_a_slower_machine_is_not_a_slower_program() -> None:
    found = compare(OLD, scaled(OLD, 1.5))
    assert not found.regressed
    assert found.speed is not None
    assert found.speed.value == pytest.approx(1.5)
    assert found.changes[0].plain.value == pytest.approx(1.5)


def test_a_direct_call_that_became_faster_accuses_nobody() -> None:
    assert slower(OLD, scaled(scaled(OLD, 1.5), 1 / 1.5, without="direct")) == set()
    faster = scaled(OLD, 1.5, without="direct")
    direct_alone = scaled(faster, 1 / 1.5)
    assert slower(OLD, direct_alone) == set()


def test_without_a_direct_call_the_plain_ratio_decides() -> None:
    old, new = without(OLD, "direct"), without(scaled(OLD, 1.5), "direct")
    found = compare(old, new)
    assert found.speed is None
    assert found.regressed
    assert {change.steady for change in found.changes} == {None}


def test_between_machines_only_the_ratio_to_the_direct_call_counts() -> None:
    found = compare(OLD, elsewhere(scaled(OLD, 3.0)))
    assert not found.regressed
    assert "these are runs of different machines; only ratios" in found.warnings[0]
    assert "cpu was AMD EPYC, and is another" in found.warnings
    assert slower(OLD, elsewhere(synthetic(slower=2.0))) == {"thread"}


def test_one_round_tells_nothing_apart() -> None:
    found = compare(OLD, synthetic(rounds=1, slower=10.0))
    assert not found.regressed
    assert any("one round" in warning for warning in found.warnings)


def test_what_was_measured_and_now_dies_is_a_regression() -> None:
    cells = tuple(
        replace(cell, status="died", note="ended by SIGSEGV", seconds=())
        if (cell.scenario, cell.subject, cell.round) == ("empty", "process", 2)
        else cell
        for cell in OLD.cells
    )
    [fall] = compare(OLD, replace(OLD, cells=cells)).falls
    assert (fall.subject.name, fall.before) == ("process", "measured")
    assert fall.after == "died: ended by SIGSEGV"


def test_behaviour_that_became_worse_is_a_regression() -> None:
    worse = tuple(
        replace(each, bystanders_lost=3) if each.subject == "thread" else each
        for each in OLD.behaviours
    )
    found = compare(OLD, replace(OLD, behaviours=worse))
    assert found.regressed
    assert {fall.subject.name for fall in found.falls} == {"thread"}
    assert not compare(replace(OLD, behaviours=worse), OLD).regressed


def test_what_only_one_run_has_is_named() -> None:
    found = compare(OLD, without(OLD, "pebble"))
    assert found.alone == ("subjects of the old run alone: pebble",)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"quick": True}, "a quick look"),
        ({"complete": False}, "was interrupted"),
        ({"warnings": ("noisy",)}, "the new run: noisy"),
    ],
)
def test_why_to_doubt_it_is_said(changes: dict[str, object], says: str) -> None:
    new = replace(OLD, **changes)  # type: ignore[arg-type]
    assert any(says in warning for warning in compare(OLD, new).warnings)


def test_the_verdict_is_printed_last() -> None:
    assert printed(OLD, OLD).rstrip().endswith("Nothing became worse.")
    text = printed(OLD, synthetic(slower=2.0))
    assert text.rstrip().endswith("Something became worse.")
    assert "aionif, thread tier" in text
    assert "The direct call: 1 x slower (1 to 1)." in text
