"""Every specimen of the crash gallery, twice in a row: the error, what it says, and life after it.

The rows of the gallery say which error each specimen becomes; the table here says what it reports.
A specimen that leaves the whole process marked (a corrupt heap, a lock that stays held) runs in a
process of its own, so that the other tests do not run in a damaged one.
"""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import cycle
from pathlib import Path
from signal import SIGSEGV, Signals
from typing import TYPE_CHECKING, Any

import pytest

from aionif import (
    NifCrash,
    NifError,
    NifExecutor,
    NifExit,
    NifPanic,
    NifSignal,
    NifTimeout,
    call_nif,
    load,
)
from aionif.testing.gallery import SPECIMENS, available, library_path
from tests.support import (
    BACKENDS,
    assert_nothing_leaks,
    gather,
    load_gallery,
    run_child,
    run_on,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from aionif import NifLibrary
    from aionif.testing.gallery import Specimen

IN_A_ROW = 10_000
SOON = 0.05  # seconds, the timeout of a call that never ends, if a worker has taken it by then

SOME = "some address"


@dataclass(frozen=True)
class Fault:
    """What the kernel says of a fault, and a function that its backtrace must name."""

    code: str
    address: int | str | None = None
    symbol: str | None = None  # None: the specimen's own


RAISED = Fault("SI_TKILL")
OVERFLOW = Fault("SEGV_ACCERR", SOME)

FAULTS = {
    "segv_read": Fault("SEGV_MAPERR", 0x10),
    "segv_write": Fault("SEGV_MAPERR", 0x20),
    "null_call": Fault("SEGV_MAPERR", 0),
    "wild_jump": Fault("SEGV_MAPERR", 0x0BAD0000B000),
    "non_canonical": Fault("SI_KERNEL"),
    "read_only_write": Fault("SEGV_ACCERR", SOME),
    "bus": Fault("BUS_ADRERR", SOME),
    "fpe": Fault("FPE_INTDIV", SOME),
    "ill": Fault("ILL_ILLOPN", SOME),
    "trap": Fault("SI_KERNEL"),
    "sys": RAISED,
    "raise_segv": RAISED,
    "abort": RAISED,
    "assert": RAISED,
    "stack_smash": RAISED,
    "double_free": RAISED,
    "heap_overrun": RAISED,
    "malloc_locked": Fault("SEGV_MAPERR", SOME),
    "libc_strlen": Fault("SEGV_MAPERR", 0x30),
    "qsort_comparator": Fault("SEGV_MAPERR", 0x40),
    "stdio_locked": Fault("SEGV_MAPERR", 0x50),
    # A backtrace holds the innermost frames, which are all of the recursion.
    "overflow_recursion": Fault("SEGV_ACCERR", SOME, "descend"),
    "overflow_frame": OVERFLOW,
    "overflow_alloca": OVERFLOW,
    "cxx_throwing_destructor": RAISED,
    "cxx_noexcept": RAISED,
    "rust_extern_c": RAISED,
    "rust_panic_abort": RAISED,
    "rust_segv": Fault("SEGV_MAPERR", 0x90),
    "rust_overflow_recursion": Fault("SEGV_ACCERR", SOME, "aionif_gallery_rust::descend"),
}

# What is written on a process for good, by specimens that run in one of their own.
MARKS = {
    "double_free": {"the heap is corrupt"},
    "heap_overrun": {"the heap is corrupt"},
    "malloc_locked": {"a crashed call left a lock held"},
    "stdio_locked": {"a crashed call left a lock held"},
    "fork_child_crash": set(),  # the death of its child is dumped by pytest's faulthandler
}

# What comes to another end inline, in the thread that made the call.
NOT_INLINE = {
    "exit": "not stopped there: only a worker thread has the system call filter",
    "underscore_exit": "the same",
    "quick_exit": "the same",
    "pthread_exit": "would end the thread that called, the main one",
    "malloc_locked": "the thread that holds the lock is the caller's, and can't be retired",
    "stdio_locked": "the same",
    "spin": "a timeout: tests of timeouts have it",
    "spin_cooperative": "the same",
    "spin_malloc": "the same",
    "sleep_forever": "sleeps on in the kernel, where it is not safe to stop a call",
}


def specimens(chosen: Callable[[Specimen], bool]) -> list[Specimen]:
    return [row for row in available() if row.outcome != "death" and chosen(row)]


def on_loops(rows: list[Specimen]) -> pytest.MarkDecorator:
    """Each on one event loop, in turn, as a loop is told of the end alone; one of a kind on all."""
    told: set[str] = set()
    pairs = []
    for row, backend in zip(rows, cycle(BACKENDS), strict=False):
        backends = (backend,) if row.outcome in told else BACKENDS
        told.add(row.outcome)
        pairs += [pytest.param(row, each, id=f"{row.name}-{each}") for each in backends]
    return pytest.mark.parametrize(("specimen", "backend"), pairs)


# ---- what one call came to, in words that also travel from a child process ----

Observation = dict[str, Any]


def observe(error: NifError) -> Observation:
    seen: Observation = {"error": type(error).__name__}
    if isinstance(error, NifCrash):
        report = error.report.symbolise()
        seen["symbols"] = [frame.symbol for frame in report.frames]
        seen["code"] = report.code_name
    for name in ("signal", "address", "status", "language", "reason", "phase", "tier", "function"):
        if hasattr(error, name):
            seen[name] = getattr(error, name)
    return seen


def load_specimen(specimen: Specimen) -> Any:
    library = load(library_path(specimen.language), specimen.cdef)
    return getattr(library, specimen.symbol)


async def outcomes_in(tier: Any, specimen: Specimen) -> tuple[list[Any], tuple[str, ...]]:
    """Call it twice on an executor with one worker, and a function that works after each.

    Returns what the two came to, and the marks on the process afterwards.
    """
    function, add = load_specimen(specimen), load_gallery().gallery_add
    timeout = SOON if specimen.outcome == "NifTimeout" else None
    outcomes: list[Any] = []
    async with NifExecutor(isolation=tier, max_workers=1) as executor:
        while len(outcomes) < 2:
            try:
                call = executor.execute_nif(function, *specimen.arguments, timeout=timeout)
                outcomes.append(await call)
            except NifError as error:
                if timeout and isinstance(error, NifTimeout) and error.phase == "queue":
                    timeout *= 2  # the machine is busy, and no worker has taken it yet
                else:
                    outcomes.append(observe(error))
            assert await executor.execute_nif(add, 20, 22) == 42
        return outcomes, executor.statistics().tainted


def check(specimen: Specimen, tier: str, outcome: Any) -> None:
    if specimen.outcome == "result":
        assert outcome == specimen.value or specimen.name == "cxx_destroyed"  # a counter
        return
    assert isinstance(outcome, dict), f"returned {outcome!r}"
    assert outcome["error"] == specimen.outcome
    assert (outcome["function"], outcome["tier"]) == (specimen.symbol, tier)
    if specimen.outcome in ("NifSignal", "NifStackOverflow"):
        check_fault(specimen, outcome)
    elif specimen.outcome == "NifPanic":
        assert specimen.symbol in outcome["symbols"]
        if specimen.reason is not None:
            assert outcome["reason"] == specimen.reason
    elif specimen.outcome == "NifExit":
        assert specimen.symbol in outcome["symbols"]
        assert outcome["status"] == specimen.value
    else:
        assert outcome["phase"] == "run"


def check_fault(specimen: Specimen, outcome: Observation) -> None:
    expected = FAULTS[specimen.name]
    assert outcome["signal"] == specimen.signal
    assert outcome["code"] == expected.code
    if expected.address is SOME:
        assert isinstance(outcome["address"], int)
    else:
        assert outcome["address"] == expected.address
    assert (expected.symbol or specimen.symbol) in outcome["symbols"]


# ---- the table ----


def test_every_specimen_that_faults_has_its_row() -> None:
    faults = {n for n, s in SPECIMENS.items() if s.outcome in ("NifSignal", "NifStackOverflow")}
    assert set(FAULTS) == faults
    assert set(MARKS) | set(NOT_INLINE) <= set(SPECIMENS)


@on_loops(specimens(lambda row: row.name not in MARKS))
def test_thread_tier_twice_in_a_row(specimen: Specimen, run: Callable[..., Any]) -> None:
    outcomes, _ = run(outcomes_in, "thread", specimen)
    for outcome in outcomes:
        check(specimen, "thread", outcome)


# Nothing has to run in a process of its own here: each crash is in one.
@on_loops(specimens(bool))
def test_process_tier_twice_in_a_row(specimen: Specimen, run: Callable[..., Any]) -> None:
    outcomes, tainted = run(outcomes_in, "process", specimen)
    for outcome in outcomes:
        check(specimen, "process", outcome)
    assert tainted == ()


@pytest.mark.parametrize(("name", "backend"), [*zip(MARKS, cycle(BACKENDS), strict=False)])
def test_in_a_process_of_its_own(name: str, backend: str) -> None:
    specimen = SPECIMENS[name]
    child = run_child(print_outcomes, name, backend)
    assert child.returncode == 0, child.stderr
    outcomes, marks = json.loads(child.stdout)
    assert len(outcomes) == 2
    for outcome in outcomes:
        check(specimen, "thread", outcome)
    assert set(marks) == MARKS[name]


def print_outcomes(name: str, backend: str) -> None:
    """In a child process."""
    print(json.dumps(run_on(backend, outcomes_in, "thread", SPECIMENS[name])))
    sys.stdout.flush()
    # Some of these leave a lock held that the interpreter's own exit takes.
    os._exit(0)


@pytest.mark.parametrize(
    "specimen",
    specimens(lambda row: row.name not in NOT_INLINE and row.name not in MARKS),
    ids=lambda row: row.name,
)
def test_inline_tier_twice_in_a_row(specimen: Specimen) -> None:
    function = load_specimen(specimen)
    for _ in range(2):
        outcome: Any
        try:
            outcome = call_nif(function, *specimen.arguments)
        except NifError as error:
            outcome = observe(error)
        check(specimen, "inline", outcome)


@pytest.mark.parametrize("backend", BACKENDS[:1])
def test_a_crash_in_a_thread_that_the_nif_started_ends_the_process(backend: str) -> None:
    child = run_child(crash_in_thread, backend)
    assert (child.returncode, child.stdout) == (-SIGSEGV, "calling\n")


def crash_in_thread(backend: str) -> None:
    """In a child process, which does not survive it."""
    print("calling", flush=True)
    run_on(backend, outcomes_in, "thread", SPECIMENS["crash_in_thread"])


# ---- several at once, and many ----


def test_two_workers_at_once(run: Callable[..., Any], probe: NifLibrary) -> None:
    async def main() -> None:
        async with NifExecutor(max_workers=2) as executor:

            async def crash() -> None:
                await executor.execute_nif(probe.crash_together, 2, timeout=10)

            for _ in range(50):
                errors = await gather(crash, crash)
                assert [type(error) for error in errors] == [NifSignal, NifSignal]
                assert errors[0] is not errors[1]
                assert {error.address for error in errors} == {8}
            assert executor.statistics().retired == 0

    run(main)


def test_ten_thousand_in_a_row(run: Callable[..., Any]) -> None:
    crash = load_gallery().gallery_segv_read

    async def main() -> None:
        async with NifExecutor(max_workers=2) as executor:
            for _ in range(IN_A_ROW):
                with pytest.raises(NifSignal):
                    await executor.execute_nif(crash)
            statistics = executor.statistics()
            assert (statistics.failed, statistics.returned) == (IN_A_ROW, 0)
            assert (statistics.retired, statistics.abandoned) == (0, 0)
            assert statistics.started <= 2, "a crash in code of its own must not cost a thread"

    run(main)


def test_bystanders_are_not_hurt(run: Callable[..., Any]) -> None:
    gallery = load_gallery()
    kinds = ("segv_read", "null_call", "abort", "overflow_alloca", "libc_strlen")

    async def main() -> None:
        async with NifExecutor(max_workers=3) as executor:
            calls = []
            for number, name in zip(range(200), cycle(kinds), strict=False):
                crash = getattr(gallery, f"gallery_{name}")
                calls.append(partial(executor.execute_nif, gallery.gallery_add, number, 1))
                calls.append(partial(executor.execute_nif, crash))
            results = await gather(*calls)
            assert results[::2] == list(range(1, 201))
            assert all(isinstance(error, NifSignal) for error in results[1::2])

    run(main)


def test_crashes_leave_nothing_behind(backend: str) -> None:
    gallery = load_gallery()
    names = ("segv_read", "overflow_recursion", "abort", "underscore_exit", "pthread_exit")

    async def main() -> None:
        async with NifExecutor(max_workers=2) as executor:
            for name in names:
                for _ in range(3):
                    with suppress(NifSignal, NifExit, NifPanic):
                        await executor.execute_nif(getattr(gallery, f"gallery_{name}"))
            with suppress(NifTimeout):
                await executor.execute_nif(gallery.gallery_spin, timeout=SOON)

    assert_nothing_leaks(lambda: run_on(backend, main))


def test_statistics_count_crashes(run: Callable[..., Any]) -> None:
    gallery = load_gallery()

    async def main() -> None:
        async with NifExecutor(max_workers=1) as executor:
            for _ in range(3):
                with pytest.raises(NifSignal):
                    await executor.execute_nif(gallery.gallery_segv_read)
            await executor.execute_nif(gallery.gallery_add, 1, 2)
            statistics = executor.statistics()
            assert (statistics.submitted, statistics.failed, statistics.returned) == (4, 3, 1)

    run(main)


def test_a_report_names_file_and_line() -> None:
    with pytest.raises(NifSignal) as crash:
        call_nif(load_gallery().gallery_segv_read)
    report = crash.value.report.symbolise()
    (frame,) = [frame for frame in report.frames if frame.symbol == "gallery_segv_read"]
    assert frame.module == str(library_path("c"))
    assert Path(frame.file or "").name == "gallery.c"
    assert frame.line
    assert report.signal is Signals.SIGSEGV
    assert report.backtrace_complete
    assert "gallery_segv_read" in report.render()
