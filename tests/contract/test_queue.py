"""Calls that wait for a worker: their order, a full queue, serial libraries, the counts."""

from __future__ import annotations

import time
from contextlib import asynccontextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from aionif import NifExecutor, NifRejected, NifSignal, NifTimeout, load
from tests.support import PROBE_CDEF, gather, load_gallery, noted, noted_in_turn, until

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from anyio.abc import TaskGroup

    from aionif import NifLibrary
    from aionif.policy import Isolation

IN_FLIGHT = 5_000


# ---- order ----


def test_one_worker_takes_calls_in_the_order_they_came(
    tier: Isolation, run: Callable[..., Any], probe: NifLibrary, gate: Any
) -> None:
    async def main() -> list[int]:
        async with NifExecutor(isolation=tier, max_workers=1) as executor:
            return await noted_in_turn(300, executor, executor, probe, gate)

    assert run(main) == list(range(300))


def test_nothing_waits_behind_a_slow_call_while_a_worker_is_idle(
    tier: Isolation, run: Callable[..., Any], probe: NifLibrary, gate: Any
) -> None:
    async def main() -> None:
        async with (
            NifExecutor(isolation=tier, max_workers=2) as executor,
            anyio.create_task_group() as group,
        ):
            group.start_soon(executor.execute_nif, probe.wait_at_gate, 0)
            await until(lambda: gate.count_at_gate() == 1)
            calls = [lambda n=n: executor.execute_nif(probe.add, n, 0) for n in range(200)]
            assert await gather(*calls) == list(range(200))
            assert gate.count_at_gate() == 1
            gate.open_gate()

    run(main)


def test_thousands_in_flight(tier: Isolation, run: Callable[..., Any], probe: NifLibrary) -> None:
    async def main() -> None:
        async with NifExecutor(isolation=tier, max_workers=2, max_queue=IN_FLIGHT) as executor:
            calls = [lambda n=n: executor.execute_nif(probe.add, n, 1) for n in range(IN_FLIGHT)]
            assert await gather(*calls) == list(range(1, IN_FLIGHT + 1))
            statistics = executor.statistics()
            assert statistics.returned == IN_FLIGHT
            assert (statistics.queued, statistics.running) == (0, 0)

    run(main)


# ---- a full queue ----


@asynccontextmanager
async def full_queue(
    tier: Isolation, probe: NifLibrary, gate: Any, **settings: Any
) -> AsyncIterator[tuple[NifExecutor, TaskGroup]]:
    """An executor whose only worker waits at the gate, and the only place in its queue is taken.

    The gate is opened in the end. What was noted before is forgotten.
    """
    gate.forget_notes()
    async with (
        NifExecutor(isolation=tier, max_workers=1, max_queue=1, **settings) as executor,
        anyio.create_task_group() as group,
    ):
        group.start_soon(executor.execute_nif, probe.wait_at_gate, 0)
        await until(lambda: gate.count_at_gate() == 1)
        group.start_soon(executor.execute_nif, probe.nothing)
        await until(lambda: executor.statistics().queued == 1)
        yield executor, group
        gate.open_gate()


def test_a_full_queue_makes_callers_wait_in_order(
    tier: Isolation, run: Callable[..., Any], probe: NifLibrary, gate: Any
) -> None:
    async def main() -> None:
        async with full_queue(tier, probe, gate) as (executor, group):
            for number in range(100):
                group.start_soon(executor.execute_nif, probe.note, number)
                await anyio.lowlevel.checkpoint()
                await anyio.lowlevel.checkpoint()
            await anyio.sleep(0.05)
            assert executor.statistics().queued == 1, "the others wait outside"

    run(main)
    assert noted(gate) == list(range(100))


def test_a_full_queue_rejects_when_asked_to(
    tier: Isolation, run: Callable[..., Any], probe: NifLibrary, gate: Any
) -> None:
    async def main() -> None:
        async with full_queue(tier, probe, gate, on_full="reject") as (executor, _):
            with pytest.raises(NifRejected, match="queue is full") as rejected:
                await executor.execute_nif(probe.add, 1, 2)
            assert rejected.value.function == "add"
            assert executor.statistics().rejected == 1
            gate.open_gate()
            await until(lambda: executor.statistics().queued == 0)
            assert await executor.execute_nif(probe.add, 1, 2) == 3

    run(main)


def test_a_timeout_counts_the_wait_for_a_place(
    tier: Isolation, run: Callable[..., Any], probe: NifLibrary, gate: Any
) -> None:
    async def main() -> None:
        async with full_queue(tier, probe, gate) as (executor, _):
            with pytest.raises(NifTimeout) as late:
                await executor.execute_nif(probe.note, 1, timeout=0.05)
            assert (late.value.phase, late.value.timeout) == ("queue", 0.05)

    run(main)
    assert noted(gate) == []


def test_who_gives_up_the_wait_for_a_place_leaves_it_to_the_next(
    tier: Isolation, run: Callable[..., Any], probe: NifLibrary, gate: Any
) -> None:
    async def main() -> None:
        async with (
            full_queue(tier, probe, gate) as (executor, group),
            anyio.create_task_group() as impatient,
        ):
            impatient.start_soon(executor.execute_nif, probe.note, 1)
            await anyio.sleep(0.02)
            group.start_soon(executor.execute_nif, probe.note, 2)
            await anyio.sleep(0.02)
            impatient.cancel_scope.cancel()

    run(main)
    assert noted(gate) == [2]


# ---- libraries that are not thread-safe ----


def most_at_once(values: list[int]) -> int:
    return max(values) + 1


def test_calls_of_a_serial_library_never_overlap(
    tier: Isolation, run: Callable[..., Any], probe: NifLibrary, probe_path: Path
) -> None:
    serial = load(probe_path, PROBE_CDEF, thread_safe=False)

    async def main() -> None:
        async with (
            NifExecutor(isolation=tier, max_workers=4) as one,
            NifExecutor(isolation=tier, max_workers=4) as other,
        ):
            calls = [
                lambda n=n: (one if n % 2 else other).execute_nif(serial.enter, 1)
                for n in range(60)
            ]
            assert most_at_once(await gather(*calls)) == 1
            # The same calls without the declaration do meet: the detector works.
            meeting = [lambda: one.execute_nif(probe.enter, 20)] * 8
            assert most_at_once(await gather(*meeting)) > 1

    run(main)


def test_a_crash_in_a_serial_library_does_not_stop_it(
    tier: Isolation, run: Callable[..., Any], probe_path: Path
) -> None:
    serial = load(probe_path, PROBE_CDEF, thread_safe=False)

    async def main() -> None:
        async with NifExecutor(isolation=tier, max_workers=2) as executor:
            calls: list[Any] = []
            for n in range(50):
                calls.append(lambda n=n: executor.execute_nif(serial.add, n, 0))
                calls.append(lambda: executor.execute_nif(serial.crash_together, 1))
            results = await gather(*calls)
            assert results[::2] == list(range(50))
            assert all(isinstance(error, NifSignal) for error in results[1::2])

    run(main)


# ---- statistics ----


def test_statistics_add_up(
    tier: Isolation, run: Callable[..., Any], probe: NifLibrary, gate: Any
) -> None:
    gallery = load_gallery()

    async def main() -> None:
        executor = NifExecutor(isolation=tier, max_workers=2)
        assert not any(value for value in asdict(executor.statistics()).values())
        async with executor, anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(executor.execute_nif, probe.wait_at_gate, 0)
            await until(lambda: gate.count_at_gate() == 2)
            for number in range(10):
                group.start_soon(executor.execute_nif, probe.add, number, 0)
            await until(lambda: executor.statistics().queued == 10)
            now = executor.statistics()
            assert (now.submitted, now.running, now.workers, now.idle) == (12, 2, 2, 0)
            with pytest.raises(NifTimeout):
                await executor.execute_nif(probe.nothing, timeout=0.02)
            with anyio.move_on_after(0.02):
                await executor.execute_nif(probe.nothing)
            gate.open_gate()
            await until(lambda: executor.statistics().returned == 12)
            with pytest.raises(NifSignal):
                await executor.execute_nif(gallery.gallery_segv_read)
            then = executor.statistics()
            assert (then.submitted, then.returned, then.failed) == (15, 12, 1)
            assert (then.timed_out, then.cancelled, then.aborted) == (1, 1, 0)
            assert then.submitted == then.returned + then.failed + then.timed_out + then.cancelled
            assert (then.queued, then.running, then.rejected) == (0, 0, 0)
            assert then.workers == then.idle
            if tier == "thread":  # a process that crashed is replaced
                assert (then.workers, then.started) == (2, 2)

    run(main)


def test_an_idle_executor_uses_no_cpu(
    tier: Isolation, run: Callable[..., Any], probe: NifLibrary
) -> None:
    async def main() -> float:
        async with NifExecutor(isolation=tier, max_workers=4) as executor:
            await gather(*[lambda: executor.execute_nif(probe.sleep_ms, 1)] * 20)
            await anyio.sleep(0.1)  # workers may still be spinning
            before = time.process_time()
            await anyio.sleep(0.5)
            return time.process_time() - before

    assert run(main) < 0.01
