"""The rules by which a tier is advised."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aionif.bench import Cell, Results, advise

if TYPE_CHECKING:
    from aionif.bench.result import Status


def results(*cells: Cell) -> Results:
    return Results(
        machine={},
        command="",
        created="",
        rounds=3,
        seed=0,
        quick=False,
        subjects=(),
        scenarios=(),
        cells=cells,
    )


def took(subject: str, seconds: float, cpu: float | None = None) -> tuple[Cell, ...]:
    figures = {} if cpu is None else {"cpu_seconds_per_call": cpu}
    return tuple(
        Cell(
            scenario="f",
            subject=subject,
            round=turn,
            status="measured",
            seconds=(seconds, seconds),
            figures=figures,
        )
        for turn in range(3)
    )


def ended(subject: str, status: Status, note: str) -> Cell:
    return Cell(scenario="f", subject=subject, round=0, status=status, note=note)


def test_a_short_function_is_called_inline() -> None:
    found = advise(
        results(*took("direct", 1e-6), *took("call_nif", 1.3e-6), *took("thread", 3e-6)), "f"
    )
    assert found
    assert (found.tier, found.workers) == ("inline", 0)
    assert "1 us itself" in found.reasons[0]


def test_a_long_one_that_costs_more_in_a_process_is_for_a_thread() -> None:
    found = advise(
        results(
            *took("direct", 1e-3, 1e-3),
            *took("call_nif", 1e-3),
            *took("thread", 1.01e-3),
            *took("process", 2e-3),
        ),
        "f",
        cpus=4,
    )
    assert found
    assert (found.tier, found.workers) == ("thread", 4)
    assert "a process takes 2 ms where a thread takes 1.01 ms" in found.reasons[0]


def test_where_a_process_costs_no_more_it_is_advised() -> None:
    found = advise(
        results(*took("direct", 1e-3), *took("thread", 1e-3), *took("process", 1.02e-3)), "f"
    )
    assert found
    assert found.tier == "process"
    assert "1.02x" in found.reasons[0]


def test_a_function_that_crashed_goes_into_a_process_whatever_it_costs() -> None:
    found = advise(
        results(ended("direct", "died", "the process was ended by SIGSEGV"), *took("thread", 1e-6)),
        "f",
    )
    assert found
    assert found.tier == "process"
    assert "SIGSEGV" in found.reasons[0]


def test_a_crash_that_a_tier_told_of_counts_as_well() -> None:
    found = advise(results(ended("thread", "failed", "NifSignal: SIGSEGV in f")), "f")
    assert found
    assert found.tier == "process"
    assert "NifSignal" in found.reasons[0]


def test_an_error_of_another_kind_is_no_crash() -> None:
    assert advise(results(ended("direct", "failed", "TypeError: no")), "f") is None


def test_what_only_processes_can_run_is_for_them() -> None:
    found = advise(results(*took("direct", 1e-3), *took("process", 1e-3)), "f")
    assert found
    assert found.tier == "process"


def test_a_function_that_waits_may_have_more_workers_than_cpus() -> None:
    found = advise(
        results(*took("direct", 10e-3, 1e-3), *took("thread", 10e-3), *took("process", 20e-3)),
        "f",
        cpus=2,
    )
    assert found
    assert found.workers == 20
    assert "waits for 90%" in found.reasons[1]


def test_without_measures_there_is_no_advice() -> None:
    assert advise(results(), "f") is None
