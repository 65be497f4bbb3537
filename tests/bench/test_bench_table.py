"""What `aionif bench` prints."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from aionif.bench.table import print_results
from tests.support.benching import renamed, synthetic

if TYPE_CHECKING:
    from aionif.bench.result import Results

RESULTS = synthetic()


@cache
def usual() -> str:
    return printed(RESULTS)


def printed(results: Results, width: int = 200) -> str:
    stream = io.StringIO()
    print_results(results, Console(file=stream, width=width))
    return stream.getvalue()


def test_doubts_come_first() -> None:
    first = printed(replace(RESULTS, quick=True, complete=False)).splitlines()[:3]
    assert first[0].startswith("Interrupted")
    assert first[1].startswith("A quick look")
    assert first[2].startswith("Doubt these figures: load is 1.80")


def test_every_scenario_and_subject_is_there() -> None:
    text = usual()
    titles = {each.title for each in RESULTS.subjects} | {each.title for each in RESULTS.scenarios}
    for title in titles:
        assert title in text
    assert "an empty call (the baseline is ThreadPoolExecutor, run_in_executor)" in text
    for column in ("p50", "p99.9", "CPU a call", "PSS"):
        assert column in text


def test_another_baseline_can_be_named() -> None:
    stream = io.StringIO()
    print_results(RESULTS, Console(file=stream, width=200), baseline="pebble")
    assert "an empty call (the baseline is pebble.ProcessPool (forkserver))" in stream.getvalue()


def test_where_aionif_is_slower_is_said_in_words() -> None:
    assert "aionif, thread tier is slower than " in printed(synthetic(slower=100.0))
    assert "No peer is faster than a tier of aionif by more than chance." in usual()


def test_one_round_says_that_it_tells_nothing() -> None:
    assert "One round has no intervals" in printed(synthetic(rounds=1))


def test_what_is_missing_is_named_with_its_reason() -> None:
    text = usual()
    for reason in ("pip install loky", "killed after 30 s", "ended by SIGKILL", "Too many open"):
        assert reason in text


def test_verdicts_are_told_without_colours() -> None:
    text = usual()
    assert "+ NifSignal (SIGSEGV) after 90 us" in text
    assert "! the program ended by SIGSEGV" in text
    assert "~ TimeoutError after 200 ms; native code runs on" in text


def test_brackets_in_a_title_are_no_markup() -> None:
    assert "[red]x[/]" in printed(renamed(RESULTS, "pebble", "[red]x[/]"))


@pytest.mark.parametrize("width", [80, 120])
def test_no_line_is_wider_than_the_terminal(width: int) -> None:
    assert max(map(len, printed(RESULTS, width).splitlines())) <= width


def test_results_without_cells_are_printed() -> None:
    assert printed(replace(RESULTS, cells=(), behaviours=()))
