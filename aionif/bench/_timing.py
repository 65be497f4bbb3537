"""Timing calls: in turn and at once, in batches whose size follows from how long a call takes.

A batch is timed as a whole, since to look at the clock costs as much as a short call does. Its size
is found while the subject warms up, so that a cell keeps to its budget of time whatever a call
takes; three batches are made at least.
"""

from __future__ import annotations

import asyncio
import gc
import time
from typing import TYPE_CHECKING, Any

from aionif.bench import latency
from aionif.bench._case import Measured, Meter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aionif.bench._case import Case

__all__ = ("at_once", "in_turn", "together", "warm_up")

_BATCHES = 20
_FEWEST = 3
_WARM = 0.2  # of the budget
_ONE_BY_ONE = 0.3  # the same, for calls that are timed by themselves
_MOST_SINGLE = 5_000


async def in_turn(case: Case, call: Callable[[], Any]) -> Measured:
    """Make calls one after another."""
    loop = _turns_of_synchronous if case.subject.synchronous else _turns
    each = await warm_up(case, call)
    size = max(1, int(case.budget / _BATCHES / each))
    gc.collect()
    meter = Meter()
    seconds = [await loop(call, size) / size for _ in range(_count(case.budget, size * each))]
    figures = meter.figures(len(seconds) * size)
    singles: list[float] = []
    if not case.subject.synchronous:  # there the clock would be most of what is measured
        count = min(_MOST_SINGLE, max(_FEWEST, int(_ONE_BY_ONE * case.budget / each)))
        singles = [await _turns(call, 1) for _ in range(count)]
    return Measured(seconds=tuple(seconds), latency=latency.collect(singles), figures=figures)


async def at_once(case: Case, call: Callable[[], Any], count: int) -> Measured:
    """Make `count` calls together, wait for all of them, and again."""
    await warm_up(case, call)
    start = time.perf_counter()
    await together(case, call, min(count, 100))
    each = (time.perf_counter() - start) / min(count, 100)
    # Where one wave takes longer than the budget, it is all that there is.
    size = max(1, int(case.budget / _BATCHES / (each * count)))
    batches = _count(case.budget, size * each * count) if each * count < case.budget else 1
    seconds = []
    gc.collect()
    meter = Meter()
    for _ in range(batches):
        start = time.perf_counter()
        for _ in range(size):
            await together(case, call, count)
        seconds.append((time.perf_counter() - start) / (size * count))
    figures = meter.figures(batches * size * count)
    figures["calls_per_second"] = 1 / sorted(seconds)[len(seconds) // 2]
    return Measured(seconds=tuple(seconds), figures=figures)


async def together(case: Case, call: Callable[[], Any], count: int) -> None:
    """Wait for `count` calls that run together, as one does under the subject's event loop."""
    if case.subject.backend == "asyncio":
        await asyncio.gather(*[call() for _ in range(count)])
        return
    import trio  # noqa: PLC0415 - most subjects run without

    async with trio.open_nursery() as nursery:
        for _ in range(count):
            nursery.start_soon(call)


async def warm_up(case: Case, call: Callable[[], Any]) -> float:
    """Make calls until workers run and caches are warm; return the seconds that one takes."""
    loop = _turns_of_synchronous if case.subject.synchronous else _turns
    await loop(call, 1)  # starts workers
    if not case.subject.synchronous:
        await together(case, call, 2 * case.workers)  # starts the rest of them
    end = time.perf_counter() + _WARM * case.budget
    size, each = 1, await loop(call, 1)
    while time.perf_counter() < end:
        size = min(2 * size, max(1, int(_WARM * case.budget / 4 / each)))
        each = await loop(call, size) / size
    return max(each, 1e-9)


def _count(budget: float, batch: float) -> int:
    return max(_FEWEST, min(_BATCHES, round(budget / batch)))


async def _turns(call: Callable[[], Awaitable[Any]], count: int) -> float:
    turns = range(count)
    start = time.perf_counter()
    for _ in turns:
        await call()
    return time.perf_counter() - start


async def _turns_of_synchronous(call: Callable[[], Any], count: int) -> float:
    turns = range(count)
    start = time.perf_counter()
    for _ in turns:
        call()
    return time.perf_counter() - start
