"""Policies for libraries with handlers of their own, and for those that look at stacks."""

from __future__ import annotations

import platform
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aionif import (
    NifArgumentError,
    NifExecutor,
    NifPolicy,
    NifSignal,
    NifStackOverflow,
    NifTimeout,
    call_nif,
    load,
)
from tests.support import DEADLINE, build_library, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from aionif import NifLibrary
    from aionif.policy import Isolation

CDEF = """
int install(int); int fault_on_purpose(void); void fault(void); int seen(int);
void fault_in_a_handler(void);
int is_on_own_stack(void); int overflow(void); int has_room(int); void spin(void);
"""
ASKS = NifPolicy(handlers="library")
OWN = NifPolicy(stack="thread", stack_size=4 << 20)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library of own_handlers.c."""
    source = Path(__file__).parents[1] / "support" / "own_handlers.c"
    directory = tmp_path_factory.mktemp("own_handlers")
    return build_library(directory, source.read_text(encoding="utf-8"), "-O0")


@pytest.fixture(scope="module")
def native(path: Path) -> NifLibrary:
    """Its functions; its handler is not installed."""
    return load(path, CDEF)


# ---- handlers of libraries ----

HANDLERS = """
import asyncio, sys, time
import ctypes
path, first, way, tier = sys.argv[1], sys.argv[2] == "True", int(sys.argv[3]), sys.argv[4]
if first:
    assert ctypes.CDLL(path).install(way) == 0
import aionif
library = aionif.load(path, {cdef!r})
policy = aionif.NifPolicy(handlers="library")

async def main():
    async with aionif.NifExecutor(isolation=tier, policy=policy, max_workers=1) as executor:
        if tier == "process":
            assert await executor.execute_nif(library.install, way) == 0
        elif not first:
            assert ctypes.CDLL(path).install(way) == 0
            await asyncio.sleep(1.5)  # the watchdog puts our handlers in front
        for _ in range(3):
            for _ in range(3):
                assert await executor.execute_nif(library.fault_on_purpose) == 7
            if tier == "process":
                break
            try:
                await executor.execute_nif(library.fault)
            except aionif.NifSignal as error:
                assert error.address == 0x40, error.address
            else:
                raise AssertionError("no crash")
        assert await executor.execute_nif(library.seen, 0) in (3, 9)

asyncio.run(main())
print("went on")
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="its handler knows x86-64's registers")
@pytest.mark.parametrize("isolation", ["inline", "thread", "process"])
@pytest.mark.parametrize("way", [0, 1, 2], ids=["steps over", "jumps", "opens"])
@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_faults_that_a_library_resolves_are_none(
    path: Path, first: bool, way: int, isolation: str
) -> None:
    script = HANDLERS.format(cdef=CDEF)
    command = [sys.executable, "-P", "-c", script, str(path), str(first), str(way), isolation]
    result = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert (result.returncode, result.stdout) == (0, "went on\n"), result.stderr


OF_A_HANDLER = """
import asyncio, ctypes, resource, sys
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
path, way = sys.argv[1], int(sys.argv[2])
assert ctypes.CDLL(path).install(way) == 0
import aionif
library = aionif.load(path, {cdef!r})

async def main():
    policy = aionif.NifPolicy(handlers="library")
    async with aionif.NifExecutor(policy=policy, max_workers=1) as executor:
        assert await executor.execute_nif(library.fault_on_purpose) == 7
        print("asked", flush=True)
        await executor.execute_nif(library.fault_in_a_handler)

asyncio.run(main())
"""


@pytest.mark.skipif(platform.machine() != "x86_64", reason="its handler knows x86-64's registers")
@pytest.mark.parametrize("way", [0, 1, 2], ids=["steps over", "jumps", "opens"])
def test_a_fault_in_a_handler_is_no_answer_of_a_library(path: Path, way: int) -> None:
    """A library that left by a jump was asked for good: what comes later is met as without us."""
    command = [sys.executable, "-P", "-c", OF_A_HANDLER.format(cdef=CDEF), str(path), str(way)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE, check=False)
    assert (result.returncode, result.stdout) == (-signal.SIGSEGV, "asked\n"), result.stderr


def test_a_thread_whose_call_has_crashed_is_replaced(
    run: Callable[..., Any], native: NifLibrary
) -> None:
    """A virtual machine has books of its threads, on the stack of the call."""

    async def main() -> None:
        async with NifExecutor(max_workers=1, policy=ASKS) as executor:
            for crashes in (1, 2):
                with pytest.raises(NifSignal):
                    await executor.execute_nif(native.fault)
                assert await executor.execute_nif(native.seen, 1) == 0
                assert executor.statistics().restarts["ended"] == crashes

    run(main)


# ---- the thread's own stack ----


async def crash_and_stop(executor: NifExecutor, native: NifLibrary) -> None:
    for _ in range(2):
        assert await executor.execute_nif(native.is_on_own_stack) == 1
        with pytest.raises(NifSignal):
            await executor.execute_nif(native.fault)
        with pytest.raises(NifStackOverflow):
            await executor.execute_nif(native.overflow)
        assert await executor.execute_nif(native.has_room, 3) == 1
        with pytest.raises(NifTimeout):
            await executor.execute_nif(native.spin, timeout=0.05)


def test_calls_run_on_the_stack_of_their_thread(
    run: Callable[..., Any], native: NifLibrary, tier: Isolation
) -> None:
    async def main() -> None:
        async with NifExecutor(isolation=tier, max_workers=1, policy=OWN) as executor:
            await crash_and_stop(executor, native)
            await until(lambda: executor.statistics().running == 0)
        async with NifExecutor(isolation=tier, max_workers=1) as executor:
            own = await executor.execute_nif(native.is_on_own_stack)
            assert own == 0

    run(main)


def test_inline_too(native: NifLibrary) -> None:
    for _ in range(2):
        assert call_nif(native.is_on_own_stack, policy=OWN) == 1
        with pytest.raises(NifSignal):
            call_nif(native.fault, policy=OWN)
        assert call_nif(native.is_on_own_stack) == 0


def test_its_use_is_not_measured() -> None:
    with pytest.raises(NifArgumentError, match=r"(?s)measure_stack.*guarded"):
        NifPolicy(stack="thread", measure_stack=True)


def test_other_words_are_refused() -> None:
    with pytest.raises(NifArgumentError, match="handlers"):
        NifPolicy(handlers="mine")  # type: ignore[arg-type]
    with pytest.raises(NifArgumentError, match="stack"):
        NifPolicy(stack="own")  # type: ignore[arg-type]
