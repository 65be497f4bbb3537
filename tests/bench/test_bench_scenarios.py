"""Every scenario runs, with every kind of subject. What it measures is not asserted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Literal

import anyio
import anyio.lowlevel
import pytest

from aionif.bench import (
    SCENARIOS,
    SUBJECTS,
    Cell,
    Results,
    Subject,
    _scenarios_calls,
    latency,
    make_plan,
    run,
)
from aionif.bench._case import Case
from aionif.bench._timing import together
from aionif.bench.plan import refusal
from tests.support import run_on

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

OURS = ("direct", "call_nif", "thread", "process")
PEERS = ("ThreadPoolExecutor", "to_thread", "anyio.to_thread", "ProcessPoolExecutor",
         "anyio.to_process")  # fmt: skip
SOME = ("empty", "in-flight-100", "arguments-1KB", "arrivals-1000")


def results_of(**settings: Any) -> Results:
    plan = make_plan(quick=True, budget=0.005, behaviours=False, **settings)
    found: Results = run_on("asyncio", run, plan)
    return found


@pytest.fixture(scope="module")
def own() -> dict[tuple[str, str], Cell]:
    cells = results_of(subjects=OURS).cells
    return {(cell.subject, cell.scenario): cell for cell in cells}


@pytest.mark.parametrize("subject", OURS)
@pytest.mark.parametrize("scenario", [s.name for s in SCENARIOS.values() if s.quick])
def test_each_scenario_measures_each_tier(
    own: dict[tuple[str, str], Cell], subject: str, scenario: str
) -> None:
    cell = own[subject, scenario]
    if refusal(SUBJECTS[subject], SCENARIOS[scenario]):
        assert cell.status == "unsupported"
        return
    assert cell.status == "measured", cell.note
    assert all(seconds > 0 for seconds in cell.seconds)
    assert cell.seconds or scenario == "idle"


def test_calls_are_accounted_for_in_cpu_time_and_memory(own: dict[tuple[str, str], Cell]) -> None:
    for subject in OURS:
        figures = own[subject, "work-1ms"].figures
        assert figures["cpu_seconds_per_call"] > 0
        assert figures["pss_bytes"] > 1 << 20


def test_worker_processes_are_in_the_memory(own: dict[tuple[str, str], Cell]) -> None:
    at = {name: own[name, "idle"].figures["pss_bytes"] for name in ("thread", "process")}
    assert at["process"] > at["thread"]


def test_bystanders_are_counted(own: dict[tuple[str, str], Cell]) -> None:
    for subject in ("thread", "process"):
        figures = own[subject, "crash-1-of-100"].figures
        assert figures["bystanders"] >= 99
        assert figures["bystanders_lost"] == 0


def test_what_the_caller_of_a_crash_gets_is_noted(own: dict[tuple[str, str], Cell]) -> None:
    assert own["thread", "crash-every-call"].note == "the caller gets NifSignal"


def test_each_way_of_the_standard_library_and_anyio_is_measured() -> None:
    cells = results_of(subjects=PEERS, scenarios=SOME).cells
    assert {(cell.subject, cell.scenario) for cell in cells} == {
        (subject, scenario) for subject in PEERS for scenario in SOME
    }
    assert {cell.status for cell in cells} == {"measured"}


def test_the_cpu_time_of_workers_that_died_is_accounted_for() -> None:
    cells = results_of(
        subjects=["ProcessPoolExecutor", "anyio.to_process", "process"],
        scenarios=["crash-every-call"],
    ).cells
    for cell in cells:
        assert cell.status == "measured", cell.note
        assert cell.figures["cpu_seconds_per_call"] > 0, cell.subject


def test_a_pool_that_a_crash_breaks_is_opened_anew_and_the_bystanders_are_lost() -> None:
    (cell,) = results_of(subjects=["ProcessPoolExecutor"], scenarios=["crash-1-of-100"]).cells
    assert cell.status == "measured", cell.note
    waves = cell.figures["bystanders"] / 99
    assert 1 <= cell.figures["pools_opened_anew"] <= waves
    assert cell.figures["bystanders_lost"] > 0


def test_a_buffer_is_a_subject_of_its_own_for_large_arguments() -> None:
    results = results_of(
        subjects=["process-buffer", "process-fill"], scenarios=["arguments-1MB", "empty"]
    )
    found = {(cell.subject, cell.scenario): cell.status for cell in results.cells}
    assert found == {
        ("process-buffer", "arguments-1MB"): "measured",
        ("process-fill", "arguments-1MB"): "measured",
        ("process-buffer", "empty"): "unsupported",
        ("process-fill", "empty"): "unsupported",
    }


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_calls_together_are_in_flight_together_under_either_event_loop(
    backend: Literal["asyncio", "trio"],
) -> None:
    subject = Subject(name="", title="", module="", opener="", backend=backend)
    case = Case(subject=subject, workers=1, budget=0.01, turns=1.0)
    now = most = 0

    async def call() -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await anyio.lowlevel.checkpoint()
        now -= 1

    run_on(backend, together, case, call, 7)
    assert (now, most) == (0, 7)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_an_arrival_counts_from_when_it_was_due_under_either_event_loop(
    backend: Literal["asyncio", "trio"], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A call that holds the loop up for 20 ms delays those due meanwhile, and they say so."""
    first = True

    def bind(*_: object) -> Callable[[], Awaitable[None]]:
        async def call() -> None:
            nonlocal first
            if first:
                first = False
                time.sleep(0.02)  # noqa: ASYNC251 - that is what it shows
            await anyio.lowlevel.checkpoint()

        return call

    async def warm_up(*_: object) -> float:
        return 1e-6

    monkeypatch.setattr(_scenarios_calls, "warm_up", warm_up)
    subject = Subject(name="", title="", module="", opener="", backend=backend)
    case = Case(subject=subject, workers=1, budget=0.02, turns=1.0, opened=bind)
    found = run_on(backend, lambda: _scenarios_calls.arrivals(case, rate=1_000))
    late = [bucket for bucket in found.latency if latency.seconds_of(bucket) > 0.002]
    assert len(late) > 3


def test_ten_thousand_calls_in_flight() -> None:
    (cell,) = results_of(subjects=["thread"], scenarios=["in-flight-10000"]).cells
    assert cell.status == "measured", cell.note
    assert cell.figures["calls_per_second"] > 0
