"""Circuit breakers: a function that crashes too often is not called for a while, on every tier."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from aionif import (
    NifArgumentError,
    NifExecutor,
    NifRejected,
    NifSignal,
    NifTimeout,
)
from tests import remote
from tests.support import gather, until
from tests.support.breaking import (
    CRASH,
    HANG,
    RETURN,
    TIERS,
    crash,
    executor_on,
    fates,
    is_refused,
    of,
)
from tests.support.supervising import Clock

if TYPE_CHECKING:
    from collections.abc import Callable

    from aionif import BreakerStatistics, NifLibrary


# ---- from closed to open, and back ----


@TIERS
def test_calls_are_refused_until_a_probe_returns(
    run: Any, acting: NifLibrary, breaker_events: list[Any], isolation: Any
) -> None:
    async def main() -> None:
        clock = Clock()
        async with executor_on(clock, isolation) as executor:
            assert await executor.execute_nif(acting.act, RETURN) == 7
            await crash(executor, acting.act, 2)
            clock.now += 10
            error = await is_refused(executor, acting.act)
            assert (error.function, error.tier, error.retry_after) == ("act", isolation, 20.0)
            first_line = str(error).splitlines()[0]
            assert first_line.startswith("act in libprobe.so")
            assert first_line.endswith(
                "its breaker is open after 2 crashes; no call is made for another 20.0 s"
            )
            clock.now += 20
            assert await executor.execute_nif(acting.act, RETURN) == 7
            assert await executor.execute_nif(acting.act, RETURN) == 7
            assert fates(executor) == {"returned": 3, "crashed": 2, "rejected": 1}
            assert (of(executor).state, of(executor).openings, of(executor).held) == (
                "closed",
                1,
                1,
            )

    run(main)
    names = [name for name, _ in breaker_events]
    assert names == ["breaker_opened", "breaker_half_open", "breaker_closed"]
    fields = breaker_events[0][1]
    assert (fields["function"], fields["crashes"], fields["hold_seconds"]) == ("act", 2, 30.0)
    assert fields["then"] == "refuse"


@TIERS
def test_other_tasks_run_while_one_asks_again_and_again(
    run: Any, acting: NifLibrary, isolation: Any
) -> None:
    async def main() -> None:
        has_run = anyio.Event()

        async def other() -> None:
            has_run.set()

        async with (
            executor_on(Clock(), isolation) as executor,
            anyio.create_task_group() as group,
        ):
            await crash(executor, acting.act, 2)
            group.start_soon(other)
            for _ in range(10):
                await is_refused(executor, acting.act)
            assert has_run.is_set()

    run(main)


@TIERS
def test_a_probe_that_crashes_opens_it_again(run: Any, acting: NifLibrary, isolation: Any) -> None:
    async def main() -> None:
        clock = Clock()
        async with executor_on(clock, isolation) as executor:
            await crash(executor, acting.act, 2)
            for openings in (2, 3):
                clock.now += 30
                await crash(executor, acting.act)
                error = await is_refused(executor, acting.act)
                assert error.retry_after == 30.0
                assert f"after {openings + 1} crashes" in str(error)
                assert (of(executor).state, of(executor).openings) == ("open", openings)

    run(main)


def test_crashes_that_lie_apart_do_not_open_it(run: Any, acting: NifLibrary) -> None:
    async def main() -> None:
        clock = Clock()
        async with executor_on(clock) as executor:
            for _ in range(4):
                await crash(executor, acting.act)
                clock.now += 60.1
            assert await executor.execute_nif(acting.act, RETURN) == 7

    run(main)


def test_other_functions_of_the_library_are_called(run: Any, acting: NifLibrary) -> None:
    async def main() -> None:
        async with executor_on(Clock()) as executor:
            await crash(executor, acting.act, 2)
            assert await executor.execute_nif(acting.process_id, RETURN) == os.getpid()
            assert [each.state for each in executor.statistics().breakers] == ["open", "closed"]

    run(main)


def test_python_callables_have_breakers(run: Any) -> None:
    async def main() -> None:
        async with executor_on(Clock(), "process") as executor:
            for _ in range(2):
                with pytest.raises(NifSignal):
                    await executor.execute_nif(os.abort)
            await is_refused(executor, os.abort, None)
            assert await executor.execute_nif(remote.process_id) != os.getpid()
            executor.reset_breaker(os.abort)
            with pytest.raises(NifSignal):
                await executor.execute_nif(os.abort)

    run(main)


# ---- many calls at once ----


@TIERS
def test_crashes_under_way_when_it_opens_open_it_once(
    run: Any, acting: NifLibrary, breaker_events: list[Any], isolation: Any
) -> None:
    async def main() -> None:
        clock = Clock()
        async with executor_on(clock, isolation) as executor:
            errors = await gather(*[lambda: executor.execute_nif(acting.act, CRASH)] * 20)
            assert {type(error) for error in errors} <= {NifSignal, NifRejected}
            assert of(executor).openings == 1
            clock.now += 30
            assert await executor.execute_nif(acting.act, RETURN) == 7
            assert of(executor).crashes == 0

    run(main)
    assert [name for name, _ in breaker_events].count("breaker_opened") == 1


@TIERS
def test_of_many_calls_one_is_the_probe(run: Any, acting: NifLibrary, isolation: Any) -> None:
    async def main() -> None:
        clock = Clock()
        async with executor_on(clock, isolation) as executor:
            await crash(executor, acting.act, 2)
            clock.now += 30
            async with anyio.create_task_group() as group:
                group.start_soon(gather, lambda: executor.execute_nif(acting.act, HANG))
                await until(lambda: executor.statistics().running == 1)
                results = await gather(*[lambda: executor.execute_nif(acting.act, RETURN)] * 20)
                assert {type(error) for error in results} == {NifRejected}
                assert "while one probes it" in str(results[0])
                assert results[0].retry_after is None
                group.cancel_scope.cancel()
            assert await executor.execute_nif(acting.act, RETURN) == 7

    run(main)


# ---- probes that say nothing ----


async def cancelled(executor: NifExecutor, fn: Any) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(executor.execute_nif, fn, HANG)
        await until(lambda: executor.statistics().running == 1)
        group.cancel_scope.cancel()


async def timed_out(executor: NifExecutor, fn: Any) -> None:
    with pytest.raises(NifTimeout):
        await executor.execute_nif(fn, HANG, timeout=0.05)


async def given_a_bad_argument(executor: NifExecutor, fn: Any) -> None:
    with pytest.raises(NifArgumentError):
        await executor.execute_nif(fn, "seven")


async def given_a_bad_timeout(executor: NifExecutor, fn: Any) -> None:
    with pytest.raises(NifArgumentError):
        await executor.execute_nif(fn, RETURN, timeout=-1.0)


@TIERS
@pytest.mark.parametrize(
    "ending", [cancelled, timed_out, given_a_bad_argument, given_a_bad_timeout]
)
def test_a_probe_without_a_verdict_makes_room_for_another(
    run: Any, acting: NifLibrary, isolation: Any, ending: Callable[..., Any]
) -> None:
    async def main() -> None:
        clock = Clock()
        async with executor_on(clock, isolation) as executor:
            await crash(executor, acting.act, 2)
            clock.now += 30
            for _ in range(2):
                await ending(executor, acting.act)
                assert of(executor).state == "half_open"
            assert await executor.execute_nif(acting.act, RETURN) == 7
            assert of(executor).state == "closed"

    run(main)


@pytest.mark.parametrize("on_full", ["reject", "wait"])
def test_a_probe_that_finds_the_queue_full_makes_room_for_another(
    run: Any, acting: NifLibrary, on_full: Any
) -> None:
    async def main() -> None:
        clock = Clock()
        full = {"max_workers": 1, "max_queue": 1, "on_full": on_full}
        async with executor_on(clock, **full) as executor:
            await crash(executor, acting.act, 2)
            clock.now += 30
            async with anyio.create_task_group() as group:
                for _ in range(2):
                    group.start_soon(executor.execute_nif, acting.process_id, HANG)
                    await until(lambda: executor.statistics().running == 1)
                await until(lambda: executor.statistics().queued == 1)
                with anyio.move_on_after(0.02):
                    error = await is_refused(executor, acting.act)
                    assert "the queue is full" in str(error)
                assert of(executor).state == "half_open"
                group.cancel_scope.cancel()
            assert await executor.execute_nif(acting.act, RETURN) == 7

    run(main)


def test_a_probe_under_way_when_the_executor_closes(run: Any, acting: NifLibrary) -> None:
    async def main() -> None:
        clock = Clock()
        async with executor_on(clock, shutdown_timeout=0.01) as executor:
            await crash(executor, acting.act, 2)
            clock.now += 30
            async with anyio.create_task_group() as group:
                group.start_soon(gather, lambda: executor.execute_nif(acting.act, HANG))
                await until(lambda: executor.statistics().running == 1)
                await executor.aclose()
        assert of(executor).openings == 1

    run(main)


# ---- to worker processes ----


def test_calls_run_in_processes_until_a_probe_returns_on_a_thread(
    run: Any, acting: NifLibrary
) -> None:
    async def main() -> None:
        clock = Clock()
        async with executor_on(clock, breaker={"then": "process"}) as executor:
            act = acting.process_id

            def breaker() -> BreakerStatistics:
                [found] = executor.statistics().breakers
                return found

            assert await executor.execute_nif(act, RETURN) == os.getpid()
            await crash(executor, act, 2)
            for _ in range(3):
                assert await executor.execute_nif(act, RETURN) != os.getpid()
            with pytest.raises(NifSignal) as error:
                await executor.execute_nif(act, CRASH)  # contained there: it does not count
            assert error.value.tier == "process"
            assert (breaker().crashes, breaker().held) == (2, 4)
            clock.now += 30
            async with anyio.create_task_group() as group:
                group.start_soon(gather, lambda: executor.execute_nif(act, HANG))
                await until(lambda: executor.statistics().running == 1)
                assert await executor.execute_nif(act, RETURN) != os.getpid()
                group.cancel_scope.cancel()
            assert await executor.execute_nif(act, RETURN) == os.getpid()
            assert breaker().state == "closed"

    run(main)
