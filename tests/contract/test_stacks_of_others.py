"""Faults off the call's stack: fibers, frames larger than the stack, handlers, and the interpreter.

What is the call's ends the call, wherever its stack pointer is; what is not ends the program as it
would without aionif.
"""

from __future__ import annotations

import faulthandler
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aionif import (
    NifExecutor,
    NifLibrary,
    NifSignal,
    NifStackOverflow,
    NifTimeout,
    call_nif,
    load,
)
from tests.support import build_library, run_child, run_on

if TYPE_CHECKING:
    from collections.abc import Callable

CDEF = """
    int on_a_fiber(int kind, int body);
    int frame_of(uint64_t size, int where);
    int frames_of(uint64_t size);
    int add(int a, int b);
    int stack_off(void);
    int stack_of_its_own(void);
    int crash_in_a_handler(void);
    int crash_with_the_lock(void);
    int abort_with_the_lock(void);
    int hold_the_lock(int ms);
    int raise(int);
"""
MIB = 1 << 20
TIERS = ("thread", "inline", "process")
STATIC, HEAP, MAPPED = range(3)
READ_NULL, RAISE, ABORT, RECURSE, RETURN = range(5)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = Path(__file__).parents[1].joinpath("support/stacks.c").read_text(encoding="utf-8")
    return build_library(tmp_path_factory.mktemp("stacks"), source, name="stacks")


@pytest.fixture(scope="module")
def library(path: Path) -> NifLibrary:
    return load(path, CDEF)


def outcomes(tier: Any, library: NifLibrary, *calls: tuple[Any, ...]) -> list[Any]:
    """Make calls on one worker, then one that returns; return what came of them."""

    async def main() -> list[Any]:
        found: list[Any] = []
        async with NifExecutor(isolation=tier, max_workers=1) as executor:
            for call in calls:
                try:
                    found.append(await executor.execute_nif(*call))
                except (NifSignal, NifStackOverflow) as error:
                    found.append(error)
            assert await executor.execute_nif(library.add, 1, 2) == 3
        return found

    found: list[Any] = run_on("asyncio", main)
    return found


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("stack", [STATIC, HEAP, MAPPED])
def test_crashes_on_fibers(library: NifLibrary, tier: str, stack: int) -> None:
    kinds = [(READ_NULL, signal.SIGSEGV), (RAISE, signal.SIGFPE), (ABORT, signal.SIGABRT)]
    for body, number in kinds:
        found = outcomes(tier, library, *[(library.on_a_fiber, stack, body)] * 2)
        assert [type(error) for error in found] == [NifSignal] * 2
        assert {error.signal for error in found} == {number}
    assert outcomes(tier, library, (library.on_a_fiber, stack, RETURN)) == [7]


@pytest.mark.parametrize("tier", TIERS)
def test_the_fault_on_a_fiber_is_described(library: NifLibrary, tier: str) -> None:
    (error,) = outcomes(tier, library, (library.on_a_fiber, MAPPED, READ_NULL))
    assert error.address == 16
    assert "read_null" in error.report.symbolise().render()


@pytest.mark.parametrize("tier", TIERS)
def test_a_fiber_whose_own_stack_overflows(library: NifLibrary, tier: str) -> None:
    found = outcomes(tier, library, *[(library.on_a_fiber, MAPPED, RECURSE)] * 2)
    assert [type(error) for error in found] == [NifStackOverflow] * 2


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("size", [2, 9, 10, 20, 64, 100])
def test_frames_larger_than_the_stack(library: NifLibrary, tier: str, size: int) -> None:
    calls = [(library.frame_of, size * MIB, where) for where in (0, 0, 1)]
    found = outcomes(tier, library, *calls)
    assert [type(error) for error in found] == [NifStackOverflow] * 3


@pytest.mark.parametrize("tier", TIERS)
def test_recursion_of_large_frames(library: NifLibrary, tier: str) -> None:
    found = outcomes(tier, library, *[(library.frames_of, 300 * 1024)] * 2)
    assert [type(error) for error in found] == [NifStackOverflow] * 2


@pytest.mark.parametrize("tier", ["thread", "process"])
@pytest.mark.parametrize("change", ["stack_off", "stack_of_its_own"])
def test_a_call_that_changes_the_alternate_stack(
    library: NifLibrary, tier: str, change: str
) -> None:
    call = (library.on_a_fiber, STATIC, READ_NULL)
    overflow = (library.frames_of, 4096)
    found = outcomes(tier, library, (getattr(library, change),), overflow, call, overflow)
    assert found[0] == 0
    kinds = [type(error).__name__ for error in found[1:]]
    assert kinds == ["NifStackOverflow", "NifSignal", "NifStackOverflow"]


# ---- what is not the call's ----


def end_in(path: str, function: str, tier: str) -> None:
    if tier == "with faulthandler":
        faulthandler.enable()
    library = load(path, CDEF)
    print("before", flush=True)
    if tier == "inline":
        call_nif(getattr(library, function))
    else:
        outcomes("thread", library, (getattr(library, function),))


WITHOUT_US = [
    *[("crash_in_a_handler", signal.SIGSEGV, tier) for tier in ("thread", "inline")],
    *[
        (function, number, tier)
        for function, number in (
            ("crash_with_the_lock", signal.SIGSEGV),
            ("abort_with_the_lock", signal.SIGABRT),
        )
        for tier in ("thread", "inline", "with faulthandler")
    ],
]


@pytest.mark.parametrize(("function", "number", "tier"), WITHOUT_US)
def test_the_program_ends_as_without_us(path: Path, function: str, number: int, tier: str) -> None:
    child = run_child(end_in, str(path), function, tier)
    assert (child.returncode, child.stdout) == (-number, "before\n"), child.stderr
    assert ("Fatal Python error" in child.stderr) == (tier == "with faulthandler")


def test_a_deadline_does_not_end_a_call_that_has_the_interpreters_lock(
    library: NifLibrary,
) -> None:
    async def main() -> None:
        async with NifExecutor(max_workers=1) as executor:
            for _ in range(2):
                with pytest.raises(NifTimeout):
                    await executor.execute_nif(library.hold_the_lock, 100, timeout=0.02)
            assert await executor.execute_nif(library.add, 1, 2) == 3

    run_on("asyncio", main)


@pytest.mark.parametrize("function", ["crash_with_the_lock", "abort_with_the_lock"])
def test_in_a_worker_process_that_ends_the_worker(library: NifLibrary, function: str) -> None:
    call: Callable[[], Any] = getattr(library, function)
    found = outcomes("process", library, (call,), (call,))
    assert [type(error) for error in found] == [NifSignal] * 2
