"""What a call leaves on its thread does not reach the next one, nor the end of the program."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aionif import NifError, NifExecutor, NifPanic, NifSignal, call_nif, load
from tests.support import DEADLINE, build_library, run_child, run_on, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aionif import NifLibrary
    from aionif.policy import Isolation

CDEF = """
int answer(void); int thread_id(void);
int denormals_off(int); int round_up(int); int trap_division(int); int raise_flags(int);
int fill_x87(int); int float_state(void);
int cancel_self(void); int cancel_at_once(void); int cancel_asynchronously(void);
int keep_self(void); int cancel_kept(void); int allow_cancellation(void); int detach_self(void);
int leave_one_that_hangs(void); int leave_one_that_is_slow(void);
int leave_one_that_hangs_and_exit(void); int start_thread(void);
int take_name(int); int named_somebody(void); int become_nobody(void); int user_id(void);
int lend_and_crash(void); int write_to_lent(void); int sees_a_stranger(void);
"""

CONTROLS = ("denormals_off", "round_up", "trap_division")
FLOATS = [(name, crashes) for name in CONTROLS for crashes in (False, True)]
FLOATS += [("raise_flags", True), ("fill_x87", True)]  # not looked at after a return


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library of leftovers.c."""
    source = Path(__file__).parents[1] / "support" / "leftovers.c"
    directory = tmp_path_factory.mktemp("leftovers")
    return build_library(directory, source.read_text(encoding="utf-8"), "-O0", "-w", "-lm")


@pytest.fixture(scope="module")
def left(path: Path) -> NifLibrary:
    """Its functions."""
    return load(path, CDEF)


async def attempt(call: Awaitable[Any]) -> Any:
    try:
        return await call
    except NifError as error:
        return type(error)


def on_one_worker(function: Callable[[NifExecutor], Awaitable[Any]], **settings: Any) -> Any:
    async def main() -> Any:
        async with NifExecutor(max_workers=1, **settings) as executor:
            return await function(executor)

    return run_on("asyncio", main)


# ---- floating point ----


@pytest.mark.parametrize(("name", "crashes"), FLOATS)
def test_floating_point_is_as_before(
    left: NifLibrary, tier: Isolation, name: str, crashes: bool
) -> None:
    async def main(executor: NifExecutor) -> None:
        for _ in range(2):
            result = await attempt(executor.execute_nif(getattr(left, name), crashes))
            assert result == (NifSignal if crashes else 0)
            assert await executor.execute_nif(left.float_state) == 0

    on_one_worker(main, isolation=tier)


@pytest.mark.parametrize(("name", "crashes"), FLOATS)
def test_floating_point_of_a_caller_is_as_before(
    left: NifLibrary, name: str, crashes: bool
) -> None:
    for _ in range(2):
        if crashes:
            with pytest.raises(NifSignal):
                call_nif(getattr(left, name), 1)
        else:
            call_nif(getattr(left, name), 0)
        assert call_nif(left.float_state) == 0


def test_after_an_inline_crash_a_caller_rounds_as_it_chose(left: NifLibrary, path: Path) -> None:
    direct: Any = left.ffi.dlopen(str(path))
    direct.round_up(0)
    try:
        with pytest.raises(NifSignal):
            call_nif(left.denormals_off, 1)
        assert direct.float_state() & 3 == 2  # still up, and denormals are
    finally:
        call_nif(left.answer)
        load("libm.so.6", "int fesetround(int);")._handle.fesetround(0)
    assert direct.float_state() == 0


# ---- cancellation ----


@pytest.mark.parametrize(
    "name", ["cancel_self", "cancel_at_once", "cancel_asynchronously", "detach_self"]
)
def test_calls_go_on_after_a_cancelled_worker(left: NifLibrary, name: str) -> None:
    async def main(executor: NifExecutor) -> None:
        for _ in range(2):
            assert await attempt(executor.execute_nif(getattr(left, name))) in {
                0,
                errno.EINVAL,  # it is detached already
                NifPanic,
            }
            assert await executor.execute_nif(left.allow_cancellation) == 7
            assert await executor.execute_nif(left.answer) == 42

    on_one_worker(main)


def test_cancellation_reaches_no_later_call(left: NifLibrary) -> None:
    async def main(executor: NifExecutor) -> None:
        for _ in range(2):
            await executor.execute_nif(left.keep_self)
            call_nif(left.cancel_kept)
            await asyncio.sleep(0.01)
            assert await executor.execute_nif(left.answer) == 42  # it is replaced after this one
            assert await executor.execute_nif(left.allow_cancellation) == 7

    on_one_worker(main)


def test_a_cancelled_process_ends_its_own_call_alone(left: NifLibrary) -> None:
    async def main(executor: NifExecutor) -> None:
        for _ in range(2):
            assert await attempt(executor.execute_nif(left.cancel_at_once)) is NifPanic
            assert await executor.execute_nif(left.cancel_self) == 0
            assert await executor.execute_nif(left.answer) == 42

    on_one_worker(main, isolation="process")


# ---- the end of a thread ----


@pytest.mark.parametrize(
    "name", ["leave_one_that_hangs", "leave_one_that_is_slow", "leave_one_that_hangs_and_exit"]
)
def test_an_executor_closes_though_its_threads_do_not_end(path: Path, name: str) -> None:
    ended = run_child(close_after, str(path), name)
    assert (ended.returncode, ended.stdout) == (0, "closed\n"), ended.stderr
    if name == "leave_one_that_hangs":
        assert "worker_abandoned" in ended.stderr


def close_after(path: str, name: str) -> None:
    left = load(path, CDEF)

    async def main() -> None:
        async with NifExecutor(max_workers=2) as executor:
            for _ in range(2):
                await attempt(executor.execute_nif(getattr(left, name)))
                assert await executor.execute_nif(left.answer) == 42
            begun = time.monotonic()
        assert time.monotonic() - begun < DEADLINE / 2
        if name == "leave_one_that_hangs":
            assert executor.statistics().abandoned >= 1
        async with NifExecutor(max_workers=1) as executor:
            assert await executor.execute_nif(left.answer) == 42
            await asyncio.sleep(0.1)

    asyncio.run(main())
    print("closed")


def test_a_thread_of_a_library_runs_to_the_end_of_the_program(path: Path) -> None:
    for _ in range(5):
        ended = run_child(start_a_thread, str(path))
        assert (ended.returncode, ended.stdout) == (0, "end\n"), ended.stderr


def start_a_thread(path: str) -> None:
    asyncio.run(_start(load(path, CDEF)))
    print("end")


async def _start(left: NifLibrary) -> None:
    await left.start_thread()


# ---- the rest ----


def test_a_crashed_call_leaves_its_name_to_nobody(left: NifLibrary) -> None:
    async def main(executor: NifExecutor) -> None:
        for _ in range(2):
            assert await attempt(executor.execute_nif(left.take_name, 1)) is NifSignal
            assert not await executor.execute_nif(left.named_somebody)

    on_one_worker(main, name="mine")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_thread_that_became_somebody_else_is_replaced(left: NifLibrary) -> None:
    async def main(executor: NifExecutor) -> None:
        for _ in range(2):
            assert await attempt(executor.execute_nif(left.become_nobody)) is NifSignal
            assert await executor.execute_nif(left.user_id) == os.geteuid()
        await until(lambda: executor.statistics().restarts.get("ended", 0) == 2)

    on_one_worker(main)


def test_what_writes_to_a_crashed_call_writes_to_nobody(left: NifLibrary) -> None:
    async def main(executor: NifExecutor) -> None:
        for _ in range(2):
            assert await attempt(executor.execute_nif(left.lend_and_crash)) is NifSignal
            assert not await executor.execute_nif(left.sees_a_stranger)

    on_one_worker(main)


def test_what_writes_to_a_call_that_crashed_inline_writes_to_nobody(left: NifLibrary) -> None:
    for _ in range(2):
        with pytest.raises(NifSignal):
            call_nif(left.lend_and_crash)
        assert not call_nif(left.sees_a_stranger)


CXX = """
#include <exception>
extern "C" void crash_in_catch() {
    try { throw 1; } catch (int) { *(volatile int *)16 = 1; }
}
extern "C" int exception_in_progress() { return std::current_exception() != nullptr; }
struct Crash { ~Crash() { *(volatile int *)16 = 1; } };
extern "C" void crash_as_it_unwinds() {
    try { Crash crash; throw 1; } catch (int) { }
}
extern "C" int uncaught() { return std::uncaught_exceptions(); }
"""


@pytest.mark.parametrize(
    ("name", "question"),
    [("crash_in_catch", "exception_in_progress"), ("crash_as_it_unwinds", "uncaught")],
)
def test_an_exception_of_a_crashed_call_is_not_found(
    tmp_path: Path, name: str, question: str
) -> None:
    library = build_library(tmp_path, CXX, "-std=c++17", compiler="g++")
    thrown = load(
        library,
        "void crash_in_catch(void); int exception_in_progress(void);"
        "void crash_as_it_unwinds(void); int uncaught(void);",
    )

    async def main(executor: NifExecutor) -> None:
        for _ in range(2):
            assert await attempt(executor.execute_nif(getattr(thrown, name))) is NifSignal
            assert not await executor.execute_nif(getattr(thrown, question))

    on_one_worker(main)


def mappings() -> str:
    return Path("/proc/self/maps").read_text(encoding="utf-8")


def crash_before_and_after_cxx(library: str) -> None:
    """In a child, whose first crash comes before there is a C++ runtime."""
    libc = load(None, "int raise(int);")
    crash = getattr(libc, "raise")

    async def main(executor: NifExecutor) -> None:
        assert await attempt(executor.execute_nif(crash, 11)) is NifSignal
        with pytest.raises(NifSignal):
            call_nif(crash, 11)
        assert "libstdc++" not in mappings()
        thrown = load(library, "void crash_as_it_unwinds(void); int uncaught(void);")
        for _ in range(2):
            assert await attempt(executor.execute_nif(thrown.crash_as_it_unwinds)) is NifSignal
            assert not await executor.execute_nif(thrown.uncaught)
            with pytest.raises(NifSignal):
                call_nif(thrown.crash_as_it_unwinds)
            assert not call_nif(thrown.uncaught)

    on_one_worker(main)
    print("went on")


def test_a_runtime_of_cxx_may_come_later(tmp_path: Path) -> None:
    library = build_library(tmp_path, CXX, "-std=c++17", compiler="g++")
    child = run_child(crash_before_and_after_cxx, str(library))
    assert (child.returncode, child.stdout) == (0, "went on\n"), child.stderr
