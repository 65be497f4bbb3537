"""Timeouts, cancellations, faults and completions that come at the same moment.

Every await ends exactly once, with the one thing or with the other, and nothing is kept afterwards.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import aionif
from aionif import NifExecutor, NifPolicy, NifSignal, NifTimeout
from tests import children, support

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aionif import NifLibrary

CALLS = 800
AT_ONCE = 8
CDEF = "int asleep(double seconds, int state[2]); int busy(double seconds, int crash);"


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> NifLibrary:
    source = (children.HERE / "lingering.c").read_text()
    directory = tmp_path_factory.mktemp("lingering")
    include = f"-I{aionif.get_include()}"
    return aionif.load(support.build_library(directory, source, include, name="lingering"), CDEF)


async def outcomes(attempt: Callable[[random.Random], Awaitable[str]]) -> Counter[str]:
    """Make `CALLS` attempts, `AT_ONCE` at a time, and count how they ended."""
    ends: Counter[str] = Counter()

    async def some(seed: int) -> None:
        chance = random.Random(seed)
        for _ in range(CALLS // AT_ONCE):
            ends[await attempt(chance)] += 1

    async with anyio.create_task_group() as group:
        for seed in range(AT_ONCE):
            group.start_soon(some, seed)
    assert ends.total() == CALLS
    return ends


async def everything_is_let_go(executor: NifExecutor, nop: Any) -> None:
    """Wait until no arguments are kept for calls that nobody waits for."""
    while support.kept_for_calls():
        await executor.execute_nif(nop, 0.0, 0)  # the loop takes events when it has calls
        await anyio.sleep(support.POLL)


async def check_the_books(executor: NifExecutor, nop: Any) -> aionif.Statistics:
    """Wait until nothing runs; every call that was accepted has ended in one way."""
    await support.until(lambda: executor.statistics().running == 0)
    await everything_is_let_go(executor, nop)
    counts = executor.statistics()
    assert (counts.queued, counts.idle) == (0, counts.workers)
    assert (counts.abandoned, counts.retired, counts.tainted) == (0, 0, ())
    return counts


def test_a_timeout_against_completion(run: Callable[..., Any], native: NifLibrary) -> None:
    async def main() -> None:
        async with NifExecutor(max_workers=2) as executor:

            async def attempt(chance: random.Random) -> str:
                timeout = chance.uniform(0.1e-3, 1.5e-3)
                try:
                    return str(await executor.execute_nif(native.busy, 0.2e-3, 0, timeout=timeout))
                except NifTimeout as error:
                    return error.phase

            ends = await outcomes(attempt)
            assert set(ends) <= {"7", "queue", "run"}
            counts = await check_the_books(executor, native.busy)
            assert counts.timed_out == ends["queue"] + ends["run"]
            assert counts.failed == 0

    run(main)


def test_a_timeout_against_a_fault(run: Callable[..., Any], native: NifLibrary) -> None:
    async def main() -> None:
        async with NifExecutor(max_workers=2) as executor:

            async def attempt(chance: random.Random) -> str:
                timeout = chance.uniform(0.1e-3, 1.5e-3)
                try:
                    await executor.execute_nif(native.busy, 0.2e-3, 1, timeout=timeout)
                except (NifTimeout, NifSignal) as error:
                    return type(error).__name__
                return "returned"

            ends = await outcomes(attempt)
            assert set(ends) <= {"NifTimeout", "NifSignal"}
            await check_the_books(executor, native.busy)

    run(main)


def test_a_cancellation_against_completion(run: Callable[..., Any], native: NifLibrary) -> None:
    async def main() -> None:
        async with NifExecutor(max_workers=2) as executor:

            async def attempt(chance: random.Random) -> str:
                with anyio.move_on_after(chance.uniform(0, 1.5e-3)) as scope:
                    timeout = chance.choice([None, 0.5e-3])
                    try:
                        result = await executor.execute_nif(native.busy, 0.2e-3, 0, timeout=timeout)
                    except NifTimeout:
                        return "timeout"
                    return str(result)
                assert scope.cancelled_caught
                return "cancelled"

            assert set(await outcomes(attempt)) <= {"7", "timeout", "cancelled"}
            await check_the_books(executor, native.busy)

    run(main)


# ---- cancellation by itself ----


@pytest.mark.parametrize("policy", ["abort", "abandon"])
def test_cancellation_lets_go_at_once(
    run: Callable[..., Any], native: NifLibrary, policy: Any
) -> None:
    async def main() -> None:
        async with NifExecutor(max_workers=1, policy=NifPolicy(on_cancel=policy)) as executor:
            with anyio.move_on_after(0.1) as scope:
                await executor.execute_nif(native.busy, 0.5, 0)
            assert scope.cancelled_caught
            counts = executor.statistics()
            assert (counts.cancelled, counts.returned) == (1, 0)
            assert await executor.execute_nif(native.busy, 0, 0) == 7
            counts = executor.statistics()
            assert (counts.aborted, counts.abandoned) == ((1, 0) if policy == "abort" else (0, 1))
            await everything_is_let_go(executor, native.busy)

    run(main)


def test_wait_outlasts_the_call_and_is_cancelled_then(
    run: Callable[..., Any], native: NifLibrary
) -> None:
    async def main() -> None:
        state = native.ffi.new("int[2]")
        async with NifExecutor(policy=NifPolicy(on_cancel="wait")) as executor:
            with anyio.move_on_after(0.1) as scope:
                await executor.execute_nif(native.asleep, 0.3, state)
                await (
                    anyio.lowlevel.checkpoint()
                )  # trio gives the result and cancels at the next checkpoint
            assert scope.cancelled_caught
            assert list(state) == [1, 1]
            counts = executor.statistics()
            assert (counts.abandoned, counts.aborted) == (0, 0)
        assert not support.kept_for_calls()

    run(main)


def test_a_second_cancellation_while_waiting_changes_nothing(native: NifLibrary) -> None:
    async def main() -> None:
        state = native.ffi.new("int[2]")
        async with NifExecutor(policy=NifPolicy(on_cancel="wait")) as executor:
            task = asyncio.ensure_future(executor.execute_nif(native.asleep, 0.3, state))
            await support.until(lambda: state[0] == 1)
            for _ in range(3):
                task.cancel()
                await asyncio.sleep(0.02)
            assert not task.done()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert list(state) == [1, 1]

    for backend in ("asyncio", "uvloop"):
        support.run_on(backend, main)


def test_a_second_cancellation_after_the_first(native: NifLibrary) -> None:
    async def main() -> None:
        async with NifExecutor() as executor:
            for _ in range(50):
                task = asyncio.ensure_future(executor.execute_nif(native.busy, 0.5, 0))
                await asyncio.sleep(0.001)
                task.cancel()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            await check_the_books(executor, native.busy)

    support.run_on("asyncio", main)


def test_a_cancelled_scope_lets_nothing_begin_on_trio(native: NifLibrary) -> None:
    async def main() -> None:
        async with NifExecutor() as executor:
            with anyio.CancelScope() as scope:
                scope.cancel()
                await executor.execute_nif(native.busy, 0.0, 0)
            assert scope.cancelled_caught
            assert executor.statistics().submitted == 0

    support.run_on("trio", main)


def test_a_cancelled_task_lets_nothing_begin_on_asyncio(native: NifLibrary) -> None:
    async def main() -> None:
        async with NifExecutor() as executor:

            async def task() -> None:
                current = asyncio.current_task()
                assert current is not None
                current.cancel()
                await executor.execute_nif(native.busy, 0.0, 0)

            with pytest.raises(asyncio.CancelledError):
                await asyncio.ensure_future(task())
            assert executor.statistics().submitted == 0

    for backend in ("asyncio", "uvloop"):
        support.run_on(backend, main)


def test_a_task_that_is_cancelled_before_its_first_step(native: NifLibrary) -> None:
    async def main() -> None:
        state = native.ffi.new("int[2]")
        async with NifExecutor() as executor:
            task = asyncio.ensure_future(executor.execute_nif(native.asleep, 0.0, state))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
        assert list(state) == [0, 0]

    support.run_on("asyncio", main)


def test_a_queued_call_that_is_cancelled_never_runs(
    run: Callable[..., Any], native: NifLibrary
) -> None:
    async def main() -> None:
        first, second = native.ffi.new("int[2]"), native.ffi.new("int[2]")
        async with NifExecutor(max_workers=1) as executor, anyio.create_task_group() as group:
            group.start_soon(executor.execute_nif, native.asleep, 0.3, first)
            await support.until(lambda: first[0] == 1)
            with anyio.move_on_after(0.05):
                await executor.execute_nif(native.asleep, 0.0, second)
            assert not support.kept_for_calls()
        assert (list(first), list(second)) == ([1, 1], [0, 0])

    run(main)


def test_the_frameworks_own_deadlines(native: NifLibrary) -> None:
    async def main() -> None:
        async with NifExecutor() as executor:
            with pytest.raises(TimeoutError) as caught:
                async with asyncio.timeout(0.05):
                    await executor.execute_nif(native.busy, 0.5, 0)
            assert not isinstance(caught.value, NifTimeout)
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(executor.execute_nif(native.busy, 0.5, 0), 0.05)
            with pytest.raises(TimeoutError):
                with anyio.fail_after(0.05):
                    await executor.execute_nif(native.busy, 0.5, 0)
            await check_the_books(executor, native.busy)

    for backend in ("asyncio", "uvloop"):
        support.run_on(backend, main)
