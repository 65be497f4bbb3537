"""Many calls awaited at once, through `asyncio.gather`."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import TYPE_CHECKING

from benchmarks._measure import Row, Scale, ratio_row, rounds
from benchmarks._subjects import sides

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ("at_once",)

_CALLS = 1_000


async def gathered(call: Callable[[], Awaitable[object]], calls: int, repeats: int) -> float:
    """Return the nanoseconds a call of `calls` at once, as a mean of `repeats` gathers."""
    start = time.perf_counter_ns()
    for _ in range(repeats):
        await asyncio.gather(*[call() for _ in range(calls)])
    return (time.perf_counter_ns() - start) / (calls * repeats)


async def bare() -> None:
    """Suspend a task as any call must that does not end at once: on a future, set a turn later."""
    loop = asyncio.get_running_loop()
    future = loop.create_future()
    loop.call_soon(future.set_result, None)
    await future


async def nothing() -> None:
    """Return at once."""


async def at_once(scale: Scale) -> list[Row]:
    """Gather 1,000 calls: ours, the thread pool's, and two kinds of coroutines with no call.

    Those that await a bare future are the floor of a call that suspends: a task, a future and a
    turn of the loop. Those that return at once are the floor of any: what the thread pool takes
    over theirs is the most that the first ratio can be on this machine.
    """
    repeats = scale.pick(20, 1)
    async with sides() as both:
        taken = await rounds(
            {
                "ours": lambda: gathered(both.ours, _CALLS, repeats),
                "pool": lambda: gathered(both.pool, _CALLS, scale.pick(5, 1)),
                "floor": lambda: gathered(bare, _CALLS, repeats),
                "nothing": lambda: gathered(nothing, _CALLS, repeats),
            },
            scale.rounds,
        )
    return _rows(taken)


def _rows(taken: dict[str, list[float]]) -> list[Row]:
    ours, pool, floor = (statistics.median(taken[key]) / 1000 for key in ("ours", "pool", "floor"))
    least = statistics.median(taken["nothing"]) / 1000
    return [
        ratio_row(
            "1,000 at once: faster than a thread pool",
            taken["pool"],
            taken["ours"],
            target=6.0,
            better="high",
            detail=f"{ours:.2f} / {pool:.1f} us a call",
        ),
        ratio_row(
            "the same of coroutines that return at once: the most there is",
            taken["pool"],
            taken["nothing"],
            target=None,
            better="high",
            detail=f"{least:.2f} / {pool:.1f} us a call",
        ),
        ratio_row(
            "1,000 at once: over a gather of bare futures",
            taken["ours"],
            taken["floor"],
            target=1.15,
            better="low",
            detail=f"{ours:.2f} / {floor:.2f} us a call",
        ),
    ]
