"""Whatever a loop was busy with when its calls ended, each await ends.

A loop takes only a few events at a time here, so that what is more than it takes at once happens in
every burst, and not only in those of more than a thousand calls.
"""

from __future__ import annotations

import ctypes
import os
import signal
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from aionif import NifClosed, NifExecutor, NifTimeout, NifWorkerLost
from aionif.futures import NifProcessPoolExecutor
from aionif.loops.current import current_port
from aionif.loops.port import Port
from aionif.process import zygote
from tests.support import run_on

if TYPE_CHECKING:
    from collections.abc import Callable

    from aionif import NifLibrary
    from aionif.policy import Isolation

ROOM = 4
CALLS = 10 * ROOM + 1
BUSY = 200_000  # microseconds: all calls have ended by then


@pytest.fixture(autouse=True)
def _little_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Port, "room", ROOM)


def be_busy(microseconds: int = BUSY) -> None:
    """Keep every thread of Python from running."""
    ctypes.PyDLL(None).usleep(microseconds)


async def started(tasks: Any, function: Callable[..., Any], *arguments: Any) -> None:
    """Start it in a task group, and let it come to where it waits."""
    tasks.start_soon(function, *arguments)
    for _ in range(3):
        await anyio.lowlevel.checkpoint()


def test_calls_that_end_while_the_loop_is_busy(
    tier: Isolation, run: Callable[..., Any], probe: NifLibrary
) -> None:
    results: list[int] = []

    async def main() -> None:
        async with NifExecutor(isolation=tier, max_workers=2) as executor:

            async def one(number: int) -> None:
                results.append(await executor.execute_nif(probe.add, number, 1))

            for _ in range(2):
                async with anyio.create_task_group() as tasks:
                    for number in range(CALLS):
                        tasks.start_soon(one, number)
                    await anyio.lowlevel.checkpoint()
                    be_busy()

    run(main)
    assert sorted(results) == sorted(2 * [*range(1, CALLS + 1)])


def test_timeouts_and_cancellations_among_them(
    tier: Isolation, run: Callable[..., Any], probe: NifLibrary
) -> None:
    ends: list[str] = []

    async def main() -> None:
        async with NifExecutor(isolation=tier, max_workers=4) as executor:

            async def one(number: int) -> None:
                end = "cancelled"
                with anyio.CancelScope() as scope:
                    scope.deadline = anyio.current_time() + (0.05 if number % 3 == 0 else 60)
                    try:
                        timeout = 0.05 if number % 3 == 1 else None
                        milliseconds = 1 if number % 3 == 2 else 100
                        await executor.execute_nif(probe.sleep_ms, milliseconds, timeout=timeout)
                        end = "returned"
                    except NifTimeout:
                        end = "timed out"
                ends.append(end)

            async with anyio.create_task_group() as tasks:
                for number in range(CALLS):
                    tasks.start_soon(one, number)
                await anyio.sleep(0.01)
                be_busy()

    run(main)
    assert len(ends) == CALLS
    assert set(ends) <= {"returned", "timed out", "cancelled"}


def test_futures_that_end_while_no_thread_of_python_runs(
    probe: NifLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Port, "room", 2)  # few are under way at a time
    with NifProcessPoolExecutor(max_workers=2) as executor:
        for _ in range(2):
            futures = [executor.submit(probe.add, number, 1) for number in range(CALLS)]
            be_busy()
            assert [future.result(60) for future in futures] == [*range(1, CALLS + 1)]


def test_calls_outlast_a_zygote_that_is_lost_while_the_loop_is_busy(
    run: Callable[..., Any], probe: NifLibrary
) -> None:
    """Only the loop can start another one, so a busy loop is not a shortage."""
    ends: list[str] = []

    async def main() -> None:
        async with NifExecutor(isolation="process", max_workers=2) as executor:
            await executor.execute_nif(probe.add, 1, 1)

            async def one() -> None:
                try:
                    await executor.execute_nif(probe.sleep_ms, 20)
                    ends.append("returned")
                except NifWorkerLost:
                    ends.append("lost")

            async with anyio.create_task_group() as tasks:
                for _ in range(CALLS):
                    tasks.start_soon(one)
                await anyio.sleep(0.01)
                os.kill(zygote.of().pid or 0, signal.SIGKILL)
                be_busy(600_000)

    run(main)
    assert len(ends) == CALLS
    assert ends.count("lost") <= 2


def test_closing_one_executor_tells_the_calls_of_another(
    tier: Isolation, run: Callable[..., Any], probe: NifLibrary
) -> None:
    """Whoever leaves takes a last look at what has ended, and owes the loop the next one."""

    async def main() -> None:
        async with NifExecutor(isolation=tier, max_workers=2) as stays:
            await stays.execute_nif(probe.add, 1, 1)
            async with anyio.create_task_group() as tasks:
                for _ in range(CALLS):
                    tasks.start_soon(stays.execute_nif, probe.sleep_ms, 3)
                leaves = NifExecutor(max_workers=1)
                await leaves.execute_nif(probe.add, 1, 1)
                await started(tasks, leaves.execute_nif, probe.sleep_ms, 1)
                be_busy(20_000)
                await leaves.aclose()

    run(main)


def test_the_last_look_of_one_who_leaves(run: Callable[..., Any], probe: NifLibrary) -> None:
    """The same, with the last event of all in the look of the one who leaves."""

    async def main() -> None:
        async with NifExecutor(max_workers=2) as stays:
            await stays.execute_nif(probe.add, 1, 1)
            port = current_port()
            async with anyio.create_task_group() as tasks:
                await started(tasks, stays.execute_nif, probe.sleep_ms, 60)
                await started(tasks, stays.execute_nif, probe.sleep_ms, 20)
                be_busy(40_000)
                port.drain_all()  # one has ended, one runs

    run(main)


def test_calls_that_are_dropped_as_their_executor_closes(
    tier: Isolation, run: Callable[..., Any], probe: NifLibrary
) -> None:
    ends: list[str] = []

    async def main() -> None:
        executor = NifExecutor(isolation=tier, max_workers=1, shutdown_timeout=0.05)

        async def one() -> None:
            try:
                await executor.execute_nif(probe.sleep_ms, 50)
            except NifClosed:
                ends.append("closed")
            else:
                ends.append("returned")

        async with anyio.create_task_group() as tasks:
            for _ in range(CALLS):
                tasks.start_soon(one)
            await anyio.sleep(0.02)
            await executor.aclose()

    run(main)
    assert len(ends) == CALLS


def test_what_goes_wrong_with_one_call_does_not_keep_the_others(
    run: Callable[..., Any], probe: NifLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    failures = [KeyError("one"), KeyError("two")]
    ended: list[int] = []

    async def main() -> None:
        async with NifExecutor(max_workers=2) as executor:
            await executor.execute_nif(probe.add, 1, 1)
            port = current_port()
            wake = port.wake

            def wake_or_fail(waiter: Any, kind: int) -> None:
                wake(waiter, kind)
                if failures:
                    raise failures.pop()

            async def one() -> None:
                await executor.execute_nif(probe.sleep_ms, 50)
                ended.append(1)

            async with anyio.create_task_group() as tasks:
                for _ in range(ROOM):
                    tasks.start_soon(one)
                await anyio.sleep(0.001)
                while executor.statistics().returned < 3:  # two of these, in one look
                    be_busy()
                monkeypatch.setattr(port, "wake", wake_or_fail)
                with pytest.raises(KeyError, match="two") as caught:
                    port.drain()
                assert "and then: KeyError('one')" in caught.value.__notes__
                port.drain_all()

    run(main)
    assert len(ended) == ROOM
    assert not failures


def test_tasks_of_a_finalizer_wait_for_each_others_calls(probe: NifLibrary) -> None:
    """trio ends its system tasks before async generators: those who wait watch the port in turn."""
    ends: list[str] = []
    kept: list[Any] = []

    async def finalized(executor: NifExecutor) -> Any:
        try:
            yield
        finally:
            with anyio.CancelScope(shield=True):
                async with anyio.create_task_group() as tasks:
                    for milliseconds in (5, 50, 10, 100, 5):

                        async def one(milliseconds: int = milliseconds) -> None:
                            await executor.execute_nif(probe.sleep_ms, milliseconds)
                            ends.append("returned")

                        tasks.start_soon(one)
                await executor.aclose()

    async def main() -> None:
        executor = NifExecutor(max_workers=3)
        generator = finalized(executor)
        kept.append(generator)
        await generator.__anext__()
        await executor.execute_nif(probe.add, 1, 1)

    run_on("trio", main)
    assert ends == 5 * ["returned"]


def test_a_burst_of_more_than_a_thousand(
    run: Callable[..., Any], probe: NifLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.undo()
    results: list[int] = []

    async def main() -> None:
        async with NifExecutor(max_workers=2) as executor:

            async def one(number: int) -> None:
                results.append(await executor.execute_nif(probe.add, number, 0))

            async with anyio.create_task_group() as tasks:
                for number in range(3000):
                    tasks.start_soon(one, number)
                await anyio.lowlevel.checkpoint()
                be_busy()

    run(main)
    assert sorted(results) == [*range(3000)]
