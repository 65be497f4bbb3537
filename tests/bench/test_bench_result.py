from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aionif.bench import latency
from aionif.bench.result import (
    Behaviour,
    Cell,
    Results,
    ResultsError,
    ScenarioFacts,
    SubjectFacts,
    load_results,
    save_results,
)

if TYPE_CHECKING:
    from pathlib import Path

RESULTS = Results(
    machine={"cpu": "a cpu"},
    command="aionif bench",
    created="2026-01-01T00:00:00+00:00",
    rounds=2,
    seed=7,
    quick=False,
    subjects=(SubjectFacts(name="thread", title="the thread tier", version="1"),),
    scenarios=(ScenarioFacts(name="empty", title="an empty call"),),
    cells=(
        Cell(scenario="empty", subject="thread", round=1, status="measured", seconds=(1e-6, 2e-6)),
        Cell(
            scenario="empty",
            subject="thread",
            round=0,
            status="measured",
            seconds=(3e-6, 4e-6),
            latency={5: 2},
            figures={"pss_bytes": 1.0},
        ),
    ),
    behaviours=(Behaviour(subject="thread", event="crash", told="NifSignal", signal="SIGSEGV"),),
    warnings=("noisy",),
)


def test_what_was_saved_is_loaded(tmp_path: Path) -> None:
    save_results(RESULTS, tmp_path / "a.json")
    assert load_results(tmp_path / "a.json") == RESULTS


def test_the_cells_of_a_subject_come_by_round() -> None:
    assert [cell.round for cell in RESULTS.of("empty", "thread")] == [0, 1]


def test_nothing_is_left_beside_the_file(tmp_path: Path) -> None:
    save_results(RESULTS, tmp_path / "a.json")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]


def test_pyperf_finds_a_run_for_each_round(tmp_path: Path) -> None:
    save_results(RESULTS, tmp_path / "a.json")
    (benchmark,) = json.loads((tmp_path / "a.json").read_text())["benchmarks"]
    assert benchmark["metadata"] == {"name": "empty/thread", "unit": "second"}
    assert [run["values"] for run in benchmark["runs"]] == [[3e-6, 4e-6], [1e-6, 2e-6]]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "can't be read"),
        ("[]", "not written by aionif bench"),
        ('{"version": "1.0", "benchmarks": []}', "not written by aionif bench"),
        ('{"aionif": {"format": 0}}', "has format 0, and this version reads 1 alone"),
        ('{"aionif": {"format": 1}}', "is damaged"),
    ],
)
def test_a_file_that_is_no_result_is_named_with_its_fault(
    text: str, says: str, tmp_path: Path
) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(ResultsError, match=says) as caught:
        load_results(tmp_path / "a.json")
    assert "a.json" in str(caught.value)


def test_a_file_that_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ResultsError, match=r"none\.json"):
        load_results(tmp_path / "none.json")


@given(st.floats(min_value=1e-9, max_value=1e4))
def test_a_bucket_is_within_a_hundredth(seconds: float) -> None:
    assert latency.seconds_of(latency.bucket_of(seconds)) == pytest.approx(seconds, rel=0.011)


@given(st.lists(st.floats(min_value=1e-8, max_value=10), min_size=1), st.floats(0, 1))
def test_a_percentile_is_that_of_the_calls(latencies: list[float], share: float) -> None:
    ordered = sorted(latencies)
    found = latency.percentile(latency.collect(latencies), share)
    position = min(len(ordered) - 1, max(0, -int(-share * len(ordered) // 1) - 1))
    assert found == pytest.approx(ordered[position], rel=0.011)


def test_distributions_add_up() -> None:
    assert latency.merge([{1: 2, 3: 4}, {1: 1}]) == {1: 3, 3: 4}


def test_an_empty_distribution_has_no_percentile() -> None:
    with pytest.raises(ValueError, match="empty"):
        latency.percentile({}, 0.5)
