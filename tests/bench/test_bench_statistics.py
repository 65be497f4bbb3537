from __future__ import annotations

import math
import random

import pytest

from aionif.bench import latency
from aionif.bench.result import Cell, Results
from aionif.bench.statistics import distribution, figure, median_seconds, ratio


def results(*cells: Cell) -> Results:
    return Results(
        machine={},
        command="",
        created="",
        rounds=1,
        seed=0,
        quick=False,
        subjects=(),
        scenarios=(),
        cells=cells,
    )


def cell(subject: str, turn: int, *seconds: float, **more: object) -> Cell:
    return Cell(
        scenario="empty",
        subject=subject,
        round=turn,
        status="measured",
        seconds=seconds,
        **more,  # type: ignore[arg-type] # fields of Cell
    )


def noisy(
    draw: random.Random, true: float, rounds: int, between: float, within: float = 0.02
) -> Results:
    """One run of two subjects whose true ratio is `true`; noise as of a log-normal distribution."""
    cells = []
    for turn in range(rounds):
        for subject, centre in (("a", true), ("b", 1.0)):
            level = centre * math.exp(draw.gauss(0, between))
            batches = [level * math.exp(draw.gauss(0, within)) for _ in range(10)]
            cells.append(cell(subject, turn, *batches))
    return results(*cells)


@pytest.mark.parametrize("rounds", [3, 5, 9])
@pytest.mark.parametrize("between", [0.01, 0.3])
def test_the_interval_holds_the_true_ratio_19_times_of_20(rounds: int, between: float) -> None:
    draw = random.Random(rounds)
    found = [ratio(noisy(draw, 2.0, rounds, between), "empty", "a", "b") for _ in range(150)]
    held = sum(one is not None and one.low <= 2.0 <= one.high for one in found)
    assert held >= 0.92 * len(found)


def test_the_intervals_of_two_runs_overlap() -> None:
    draw = random.Random(1)
    for _ in range(100):
        one, other = (ratio(noisy(draw, 3.0, 5, 0.2), "empty", "a", "b") for _ in range(2))
        assert one
        assert other
        assert one.low <= other.high
        assert other.low <= one.high


def test_a_difference_that_is_there_is_told_apart() -> None:
    found = ratio(noisy(random.Random(2), 1.5, 7, 0.05), "empty", "a", "b")
    assert found
    assert found.told_apart
    assert found.value == pytest.approx(1.5, rel=0.1)


def test_noise_between_rounds_is_in_the_interval_though_each_round_is_quiet() -> None:
    quiet = ratio(noisy(random.Random(3), 2.0, 5, 0.001, within=0.0), "empty", "a", "b")
    loud = ratio(noisy(random.Random(3), 2.0, 5, 0.5, within=0.0), "empty", "a", "b")
    assert quiet
    assert loud
    assert loud.high / loud.low > 10 * quiet.high / quiet.low


def test_one_round_has_no_bounds() -> None:
    found = ratio(results(cell("a", 0, 2.0, 2.0), cell("b", 0, 1.0)), "empty", "a", "b")
    assert found
    assert (found.value, found.low, found.high) == (2.0, 0.0, math.inf)
    assert not found.bounded
    assert not found.told_apart


def test_only_rounds_that_have_both_are_compared() -> None:
    died = Cell(scenario="empty", subject="b", round=1, status="died")
    found = ratio(
        results(cell("a", 0, 2.0), cell("a", 1, 90.0), cell("b", 0, 1.0), died), "empty", "a", "b"
    )
    assert found
    assert found.value == 2.0


def test_a_subject_takes_exactly_as_long_as_itself() -> None:
    found = ratio(noisy(random.Random(5), 2.0, 3, 0.5), "empty", "a", "a")
    assert found
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)


def test_without_a_common_round_there_is_no_ratio() -> None:
    assert ratio(results(cell("a", 0, 2.0), cell("b", 1, 1.0)), "empty", "a", "b") is None
    assert ratio(results(), "empty", "a", "b") is None


def test_the_same_results_have_the_same_interval() -> None:
    run = noisy(random.Random(4), 2.0, 5, 0.1)
    assert ratio(run, "empty", "a", "b") == ratio(run, "empty", "a", "b")


def test_seconds_are_the_median_round_of_median_batches() -> None:
    run = results(cell("a", 0, 1.0, 2.0, 30.0), cell("a", 1, 4.0), cell("a", 2, 9.0))
    assert median_seconds(run, "empty", "a") == 4.0
    assert median_seconds(run, "empty", "b") is None


def test_latencies_of_all_rounds_are_merged() -> None:
    run = results(
        cell("a", 0, latency=latency.collect([1e-6, 1e-6])),
        cell("a", 1, latency=latency.collect([1e-6, 1e-3])),
    )
    assert distribution(run, "empty", "a") == latency.collect([1e-6, 1e-6, 1e-6, 1e-3])
    assert distribution(run, "empty", "b") == {}


def test_a_figure_is_the_median_of_the_rounds_that_have_it() -> None:
    run = results(
        cell("a", 0, figures={"pss_bytes": 3.0}),
        cell("a", 1, figures={"pss_bytes": 5.0}),
        cell("a", 2),
    )
    assert figure(run, "empty", "a", "pss_bytes") == 4.0
    assert figure(run, "empty", "a", "lag") is None
