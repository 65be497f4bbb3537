"""What is said of results, before anybody draws or prints it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aionif.bench import reading, tables
from aionif.bench.latency import collect
from aionif.bench.result import Behaviour, Cell, Results
from aionif.bench.statistics import Ratio
from aionif.bench.units import (
    format_bytes,
    format_count,
    format_figure,
    format_ratio,
    format_seconds,
    title_of_figure,
)
from tests.support.benching import BASELINE, synthetic

RESULTS = synthetic()
SLOW = synthetic(slower=100.0)


@pytest.mark.parametrize(
    ("made", "text"),
    [
        (format_seconds(0), "0 ns"),
        (format_seconds(1.3e-7), "130 ns"),
        (format_seconds(9.996e-7), "1 us"),
        (format_seconds(8.71e-5), "87.1 us"),
        (format_seconds(0.25), "250 ms"),
        (format_seconds(-2e-3), "-2 ms"),
        (format_seconds(3600), "3,600 s"),
        (format_bytes(748), "748 B"),
        (format_bytes(3.68 * 2**20), "3.68 MiB"),
        (format_count(0.123), "0.123"),
        (format_count(999.7), "1,000"),
        (format_count(80746), "80,700"),
        (format_ratio(Ratio(value=1.31, low=1.27, high=1.36)), "1.31 x slower (1.27 to 1.36)"),
        (format_ratio(Ratio(value=0.02, low=0.016, high=0.025)), "50 x faster (40 to 62.5)"),
        (format_ratio(Ratio(value=2, low=0, high=float("inf"))), "2 x slower (one round)"),
        (format_figure("cpu_seconds_per_call", 2e-6), "2 us"),
        (format_figure("loop_lag_p99_seconds", 2e-3), "2 ms"),
        (format_figure("calls_per_second", 1234), "1,230/s"),
        (format_figure("pss_bytes", 2048), "2 KiB"),
        (format_figure("bystanders", 100), "100"),
        (title_of_figure("cpu_seconds_per_call"), "CPU a call"),
        (title_of_figure("calls_per_second"), "calls a second"),
        (title_of_figure("pss_bytes"), "PSS"),
        (title_of_figure("cpu_seconds_per_second"), "CPU in use"),
        (format_figure("cpu_seconds_per_second", 0.0123), "1.23 %"),
        (title_of_figure("bystanders_lost"), "bystanders lost"),
    ],
)
def test_figures_are_rounded_and_have_their_unit(made: str, text: str) -> None:
    assert made == text


def test_lines_begin_with_the_fastest_and_end_with_those_without_a_figure() -> None:
    found = reading.lines(RESULTS, "empty", BASELINE)
    assert [line.subject.name for line in found[:2]] == ["direct", "call_nif"]
    assert [(line.subject.name, line.status) for line in found[-1:]] == [("loky", "absent")]
    assert len(found) == len(RESULTS.subjects)


def test_the_baseline_has_no_ratio_and_all_others_that_were_measured_have() -> None:
    for line in reading.lines(RESULTS, "empty", BASELINE):
        has = line.seconds is not None and line.subject.name != BASELINE
        assert (line.ratio is not None) == has


def test_a_percentile_that_no_call_lies_beyond_is_left_out() -> None:
    cell = Cell(
        scenario="empty", subject="thread", round=0, status="measured", seconds=(1e-6,),
        latency=collect([1e-6] * 999),
    )  # fmt: skip
    [line] = reading.lines(replace(RESULTS, cells=(cell,)), "empty", BASELINE)
    assert list(line.percentiles) == [0.5, 0.9, 0.99]
    more = replace(cell, latency=collect([1e-6] * 1000))
    [line] = reading.lines(replace(RESULTS, cells=(more,)), "empty", BASELINE)
    assert list(line.percentiles) == [0.5, 0.9, 0.99, 0.999]


def test_what_is_missing_is_said_once_for_each_reason() -> None:
    found = {(each.subject.name, each.status): each for each in reading.missing(RESULTS)}
    assert found["loky", "absent"].where(len(RESULTS.scenarios)) == "everywhere"
    assert found["loky", "absent"].note == "is not installed: pip install loky"
    assert found["anyio.to_process", "hung"].scenarios == ("8,388,608 bytes",)
    assert {status for _, status in found} == {"absent", "unsupported", "hung", "died", "failed"}


@pytest.mark.parametrize(
    ("measured", "baseline"),
    [
        ({"direct", "to_thread", BASELINE}, BASELINE),
        ({"direct", "to_thread"}, "to_thread"),
        ({"direct", "thread"}, "direct"),
        ({"process", "thread"}, "thread"),
        (set(), ""),
    ],
)
def test_the_usual_baseline_is_what_was_measured_of_what_one_would_use(
    measured: set[str], baseline: str
) -> None:
    cells = tuple(cell for cell in RESULTS.cells if cell.subject in measured)
    assert reading.default_baseline(replace(RESULTS, cells=cells)) == baseline


def test_where_the_baseline_has_no_figure_another_takes_its_place() -> None:
    assert reading.baseline_in(RESULTS, "empty", "direct") == "direct"
    assert reading.baseline_in(RESULTS, "flight-10", "direct") == BASELINE
    assert reading.baseline_in(RESULTS, "no-such", BASELINE) == ""


def test_who_could_not_take_part_is_in_the_table_of_what_is_missing_alone() -> None:
    found = reading.lines(RESULTS, "flight-1000", BASELINE)
    shown = {row.subject: row.texts[1] for row in tables.time_grid(found, BASELINE).rows}
    assert shown["pebble"] == "failed"
    assert not {"loky", "direct", "call_nif"} & set(shown)


# ---- where aionif is slower ----


def test_a_tier_that_is_slower_is_named_with_the_peer_and_the_interval() -> None:
    found = reading.losses(SLOW)
    assert {loss.ours.name for loss in found} == {"thread"}
    sentence = reading.slower_sentence(found[0])
    assert sentence.startswith("aionif, thread tier is slower than ")
    assert " times the time (" in sentence


def test_losses_begin_with_the_worst() -> None:
    ratios = [loss.ratio.value for loss in reading.losses(SLOW)]
    assert ratios == sorted(ratios, reverse=True)


def test_the_direct_call_is_no_peer() -> None:
    assert reading.losses(RESULTS) == []
    assert all(loss.peer.name != "direct" for loss in reading.losses(SLOW))


def test_what_chance_explains_is_no_loss() -> None:
    assert all(loss.ratio.low > 1 for loss in reading.losses(synthetic(slower=37.0)))


def test_one_round_tells_nothing_apart() -> None:
    assert reading.losses(synthetic(slower=100.0, rounds=1)) == []


# ---- behaviour ----


def seen(**what: object) -> Behaviour:
    usual = {
        "subject": "x", "event": "crash", "told": "NifSignal", "bystanders": 9,
        "bystanders_lost": 0, "stopped": True, "usable": True,
    }  # fmt: skip
    return Behaviour(**(usual | what))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("behaviour", "tone", "words"),
    [
        (seen(signal="SIGSEGV", seconds=1e-4), "good", "NifSignal (SIGSEGV) after 100 us"),
        (seen(stopped=False), "poor", "native code runs on"),
        (seen(bystanders_lost=4), "bad", "4 of 9 other calls lost"),
        (seen(usable=False), "bad", "the pool is unusable"),
        (seen(told=""), "bad", "the caller was never told"),
        (seen(survived=False, note="ended by SIGSEGV"), "bad", "ended by SIGSEGV"),
        (seen(bystanders_lost=None, usable=None, stopped=None), "good", "NifSignal"),
    ],
)
def test_a_verdict_says_what_went_wrong(behaviour: Behaviour, tone: str, words: str) -> None:
    found, text = reading.verdict(behaviour)
    assert found == tone
    assert words in text


# ---- tables ----


def grids(results: Results) -> list[tables.Grid]:
    found = reading.lines(results, "empty", BASELINE)
    return [
        tables.time_grid(found, BASELINE),
        tables.behaviour_grid(results),
        tables.loss_grid(results),
        tables.missing_grid(results),
    ]


@pytest.mark.parametrize("grid", grids(SLOW), ids=lambda grid: grid.head[-1])
def test_every_row_has_a_cell_for_every_column(grid: tables.Grid) -> None:
    assert grid.rows
    for row in grid.rows:
        assert len(row.texts) == len(grid.head)
        assert not row.tones or len(row.tones) == len(row.texts)


def test_a_ratio_is_good_or_bad_only_when_the_interval_says_so() -> None:
    found = reading.lines(RESULTS, "empty", BASELINE)
    ratios = {line.subject.name: line.ratio for line in found if line.ratio}
    for row in tables.time_grid(found, BASELINE).rows:
        if row.subject in ratios:
            assert bool(row.tone(2)) == ratios[row.subject].told_apart


def test_results_without_cells_have_empty_tables() -> None:
    empty = replace(RESULTS, cells=(), behaviours=())
    assert [len(grid.rows) for grid in grids(empty)] == [0, 0, 0, 0]
