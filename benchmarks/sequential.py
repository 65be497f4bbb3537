"""Calls awaited one after another, by one task."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable

from benchmarks._measure import Row, Scale, ratio_row, rounds
from benchmarks._subjects import sides

__all__ = ("awake", "parked")

Call = Callable[[], Awaitable[int]]

_PAUSE = 0.005  # seconds; long past any spinning of either side, and the loop sleeps too


def _microseconds(taken: dict[str, list[float]]) -> str:
    ours, pool = (statistics.median(taken[side]) / 1000 for side in ("ours", "pool"))
    return f"{ours:.2f} / {pool:.1f} us"


async def _back_to_back(call: Call, count: int) -> float:
    turns = range(count)
    for _ in range(50):
        await call()
    start = time.perf_counter_ns()
    for _ in turns:
        await call()
    return (time.perf_counter_ns() - start) / count


async def _after_pauses(call: Call, count: int) -> float:
    times = []
    for _ in range(count):
        await asyncio.sleep(_PAUSE)
        start = time.perf_counter_ns()
        await call()
        times.append(time.perf_counter_ns() - start)
    return statistics.median(times)


async def awake(scale: Scale) -> list[Row]:
    """Await calls with nothing between them, so that a worker has no time to park.

    Fifty calls before the clock starts bring both sides up to speed. The thread pool gets fewer
    calls than ours, as it takes longer for each.
    """
    async with sides() as both:
        taken = await rounds(
            {
                "ours": lambda: _back_to_back(both.ours, scale.pick(20_000, 500)),
                "pool": lambda: _back_to_back(both.pool, scale.pick(2_000, 100)),
            },
            scale.rounds,
        )
    return [
        ratio_row(
            "awaited in turn, worker awake: faster than a thread pool",
            taken["pool"],
            taken["ours"],
            target=40.0,
            better="high",
            detail=_microseconds(taken),
        )
    ]


async def parked(scale: Scale) -> list[Row]:
    """Await calls with a pause of 5 ms before each, outside the clock: everything is asleep.

    A round is the median of its calls, as one that met an interrupt says nothing of the other.
    """
    count = scale.pick(100, 5)
    async with sides() as both:
        taken = await rounds(
            {
                "ours": lambda: _after_pauses(both.ours, count),
                "pool": lambda: _after_pauses(both.pool, count),
            },
            scale.rounds,
        )
    return [
        ratio_row(
            "awaited in turn, parked each time: faster than a thread pool",
            taken["pool"],
            taken["ours"],
            target=1.5,
            better="high",
            detail=_microseconds(taken),
        )
    ]
