"""Opening and closing: calls in flight, what is given back, the executor of each loop.

And the life of arguments, which must last as long as native code can see them.
"""

from __future__ import annotations

import gc
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from aionif import NifClosed, NifExecutor, NifPolicy, NifSignal, call_nif, execute_nif
from tests import support
from tests.support import (
    assert_nothing_leaks,
    gather,
    holdings,
    load_gallery,
    run_on,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from aionif import NifLibrary
    from aionif.policy import Isolation


# ---- closing with calls in flight ----


def test_closing_lets_running_calls_end_and_refuses_the_queued(
    tier: Isolation, run: Callable[..., Any], probe: NifLibrary, gate: Any
) -> None:
    async def main() -> None:
        executor = NifExecutor(isolation=tier, max_workers=1)
        results: list[Any] = []

        async def call(function: Any, *arguments: int, times: int = 1) -> None:
            results.extend(
                await gather(*[lambda: executor.execute_nif(function, *arguments)] * times)
            )

        async with anyio.create_task_group() as group:
            group.start_soon(call, probe.wait_at_gate, 42)
            await until(lambda: gate.count_at_gate() == 1)
            group.start_soon(partial(call, probe.nothing, times=10))
            await until(lambda: executor.statistics().queued == 10)
            group.start_soon(executor.aclose)
            await anyio.sleep(0.02)
            with pytest.raises(NifClosed):
                await executor.execute_nif(probe.nothing)
            gate.open_gate()
        assert 42 in results
        assert [type(error) for error in results if error != 42] == [NifClosed] * 10

    run(main)


def test_closing_stops_calls_that_do_not_end(tier: Isolation, run: Callable[..., Any]) -> None:
    gallery = load_gallery()
    spin = (gallery.gallery_spin, gallery.gallery_spin_cooperative)

    async def main() -> None:
        executor = NifExecutor(isolation=tier, max_workers=2, shutdown_timeout=0.05)
        calls = [partial(executor.execute_nif, function) for function in spin]
        async with anyio.create_task_group() as group:
            results: list[Any] = []

            async def collect() -> None:
                results.extend(await gather(*calls))

            group.start_soon(collect)
            await until(lambda: executor.statistics().running == 2)
            await executor.aclose()
        assert [type(error) for error in results] == [NifClosed, NifClosed]

    run(main)


def test_closing_gives_up_calls_that_can_not_be_stopped(
    tier: Isolation, run: Callable[..., Any], probe: NifLibrary, gate: Any
) -> None:
    async def main() -> None:
        policy = NifPolicy(abort_attempts=3)
        executor = NifExecutor(isolation=tier, max_workers=1, shutdown_timeout=0.05, policy=policy)
        results: list[Any] = []

        async def collect() -> None:
            results.extend(await gather(lambda: executor.execute_nif(probe.wait_at_gate, 0)))

        async with anyio.create_task_group() as group:
            group.start_soon(collect)
            await until(lambda: gate.count_at_gate() == 1)
            await executor.aclose()
        assert [type(error) for error in results] == [NifClosed]

    run(main)


def test_tasks_that_wait_for_room_are_told(
    tier: Isolation, run: Callable[..., Any], probe: NifLibrary, gate: Any
) -> None:
    async def main() -> None:
        executor = NifExecutor(isolation=tier, max_workers=1, max_queue=1)
        results: list[Any] = []

        async def collect() -> None:
            calls = [lambda: executor.execute_nif(probe.wait_at_gate, 0)] * 20
            results.extend(await gather(*calls))

        async with anyio.create_task_group() as group:
            group.start_soon(collect)
            await until(lambda: gate.count_at_gate() == 1)
            await anyio.sleep(0.02)
            group.start_soon(executor.aclose)
            await anyio.sleep(0.02)
            gate.open_gate()
        assert sorted(type(result).__name__ for result in results) == ["NifClosed"] * 19 + ["int"]

    run(main)


def test_an_error_in_the_block_closes_it_too(
    tier: Isolation, run: Callable[..., Any], probe: NifLibrary
) -> None:
    executors = []

    async def main() -> None:
        async with NifExecutor(isolation=tier) as executor:
            executors.append(executor)
            await executor.execute_nif(probe.nothing)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        run(main)
    assert executors[0].statistics().workers == 0


def test_cancelling_the_block_closes_it(
    tier: Isolation, run: Callable[..., Any], probe: NifLibrary, gate: Any
) -> None:
    async def main() -> None:
        async with anyio.create_task_group() as group:

            async def block() -> None:
                async with NifExecutor(isolation=tier, shutdown_timeout=0.05) as executor:
                    await executor.execute_nif(probe.wait_at_gate, 0)

            group.start_soon(block)
            await until(lambda: gate.count_at_gate() == 1)
            group.cancel_scope.cancel()

    run(main)


# ---- what is given back ----


def test_a_closed_executor_has_given_everything_back(
    tier: Isolation, backend: str, probe: NifLibrary
) -> None:
    async def main() -> None:
        async with NifExecutor(isolation=tier, max_workers=4) as executor:
            await gather(*[lambda: executor.execute_nif(probe.sleep_ms, 2)] * 16)
            assert executor.statistics().workers == 4
            async with executor.session() as session:
                await session.execute_nif(probe.nothing)

    assert_nothing_leaks(lambda: run_on(backend, main))


def test_an_executor_that_is_never_used_holds_no_thread(
    tier: Isolation, run: Callable[..., Any]
) -> None:
    async def main() -> None:
        before = holdings()
        async with NifExecutor(isolation=tier):
            assert holdings().threads <= before.threads  # one of an earlier test may end

    run(main)


def test_the_default_executor_goes_with_its_loop(backend: str, probe: NifLibrary) -> None:
    crash = load_gallery().gallery_segv_read

    async def main() -> None:
        assert await execute_nif(probe.add, 1, 2) == 3
        assert await probe.add(3, 4) == 7
        with pytest.raises(NifSignal):
            await execute_nif(crash)
        await gather(*[lambda: execute_nif(probe.sleep_ms, 1)] * 10)

    assert_nothing_leaks(lambda: run_on(backend, main))


def test_the_default_executor_is_one_for_each_loop(backend: str, probe: NifLibrary) -> None:
    async def main() -> set[int]:
        return {await execute_nif(probe.thread_id) for _ in range(20)}

    assert len(run_on(backend, main)) == 1, "calls in turn need one worker"
    run_on(backend, main)


def test_an_executor_may_be_named_for_one_call(run: Callable[..., Any], probe: NifLibrary) -> None:
    async def main() -> None:
        async with NifExecutor(max_workers=1) as executor:
            await execute_nif(probe.add, 1, 2, executor=executor)
            assert executor.statistics().returned == 1

    run(main)


def test_without_a_loop_there_is_call_nif(probe: NifLibrary) -> None:
    with pytest.raises(RuntimeError, match="call_nif"):
        execute_nif(probe.add, 1, 2).send(None)
    assert call_nif(probe.add, 1, 2) == 3


# ---- arguments ----


class Bytes(bytearray):
    """A buffer whose end can be watched."""


def test_arguments_of_a_cancelled_call_live_until_it_ends(
    tier: Isolation, run: Callable[..., Any], probe: NifLibrary
) -> None:
    async def main() -> weakref.ref[Bytes]:
        policy = NifPolicy(on_cancel="abandon")
        async with NifExecutor(isolation=tier, policy=policy, shutdown_timeout=5) as executor:
            data = Bytes(b"\1" * 1000)
            watch = weakref.ref(data)
            with anyio.move_on_after(0.02):
                await executor.execute_nif(probe.sum_twice, data, len(data), 150)
            del data
            gc.collect()
            assert watch() is not None, "native code still reads it"
            await until(lambda: watch() is None)
        return watch

    assert run(main)() is None
    assert not support.kept_for_calls()


def test_arguments_are_let_go_with_the_result(
    tier: Isolation, run: Callable[..., Any], probe: NifLibrary
) -> None:
    async def main() -> None:
        async with NifExecutor(isolation=tier) as executor:
            for ms in (0, 5):
                data = Bytes(b"\1\2\3")
                watch = weakref.ref(data)
                assert await executor.execute_nif(probe.sum_twice, data, 3, ms) == 6
                del data
                gc.collect()
                assert watch() is None

    run(main)


def test_a_buffer_can_not_be_resized_under_native_code(
    tier: Isolation, run: Callable[..., Any], probe: NifLibrary
) -> None:
    async def main() -> None:
        data = bytearray(b"\1" * 64)
        async with NifExecutor(isolation=tier) as executor, anyio.create_task_group() as group:
            group.start_soon(executor.execute_nif, probe.sum_twice, data, 64, 100)
            await until(lambda: executor.statistics().running == 1)
            with pytest.raises(BufferError):
                data.extend(b"\1" * 100_000)

    run(main)
