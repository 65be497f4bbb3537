"""Scenarios of calls that return: short and long ones, many at once, large arguments, arrivals."""

from __future__ import annotations

import asyncio
import gc
import statistics
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel

from aionif.bench import latency
from aionif.bench._case import Case, Measured, Meter
from aionif.bench._clock import at_times, poisson, steady
from aionif.bench._timing import at_once, in_turn, warm_up
from aionif.bench.workload import built_in

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

__all__ = ("arguments", "arrivals", "in_flight", "loop_lag", "one_by_one", "own")

_SHARES = 10  # of a series of latencies, each of which gives one median
_LOADERS = 8  # tasks that call without a pause
_TICK = 0.001  # seconds
_TICKS_A_BATCH = 50


async def one_by_one(case: Case, *, microseconds: float) -> Measured:
    """Await calls one after another."""
    async with case.open() as bind:
        return await in_turn(case, bind(case.work(microseconds)))


async def in_flight(case: Case, *, count: int) -> Measured:
    """Await that many calls together."""
    async with case.open() as bind:
        return await at_once(case, bind(case.work(0)), count)


async def arguments(case: Case, *, size: int) -> Measured:
    """Await calls one after another that are given bytes, and read the first and the last."""
    async with case.open() as bind:
        return await in_turn(case, bind(built_in("read", b"x" * size, size)))


async def own(case: Case, *, count: int = 1) -> Measured:
    """Await the user's own calls: one after another, or `count` together."""
    async with case.open() as bind:
        call = bind(case.own_work())
        return await (in_turn(case, call) if count == 1 else at_once(case, call, count))


# ---- with a clock of its own ----


async def arrivals(case: Case, *, rate: int) -> Measured:
    """Start calls at times that do not depend on their ends; count from the time intended."""
    async with case.open() as bind:
        call = bind(case.work(0))
        await warm_up(case, call)
        taken: list[float] = []
        serve = _serving(case, call, taken)
        gc.collect()
        meter = Meter()
        async with _tasks(case) as start:
            schedule = poisson(rate, max(_SHARES, round(rate * case.budget)))
            await at_times(schedule, lambda intended: start(serve, intended))
        figures = meter.figures(len(taken))
    share = len(taken) // _SHARES
    medians = [statistics.median(taken[turn * share :][:share]) for turn in range(_SHARES)]
    return Measured(seconds=tuple(medians), latency=latency.collect(taken), figures=figures)


def _serving(
    case: Case, call: Callable[[], Any], taken: list[float]
) -> Callable[[int], Awaitable[None]]:
    if case.subject.synchronous:

        async def serve(intended: int) -> None:
            call()
            taken.append((time.monotonic_ns() - intended) / 1e9)

        return serve

    async def await_it(intended: int) -> None:
        await call()
        taken.append((time.monotonic_ns() - intended) / 1e9)

    return await_it


@asynccontextmanager
async def _tasks(case: Case) -> AsyncIterator[Callable[..., object]]:
    """Give what starts a task, as the event loop itself does; wait for all in the end."""
    if case.subject.backend == "trio":
        import trio  # noqa: PLC0415 - most subjects run without

        async with trio.open_nursery() as nursery:
            yield nursery.start_soon
        return
    tasks: list[asyncio.Task[Any]] = []
    create = asyncio.get_running_loop().create_task
    yield lambda function, *given: tasks.append(create(function(*given)))
    await asyncio.gather(*tasks)


async def loop_lag(case: Case, *, microseconds: float) -> Measured:
    """Tell how late ticks are that are due each millisecond, while tasks call without a pause."""
    late: list[float] = []
    async with case.open() as bind:
        call = bind(case.work(microseconds))
        await warm_up(case, call)
        ticks = max(2 * _TICKS_A_BATCH, round(case.budget / _TICK))
        async with anyio.create_task_group() as group:
            for _ in range(_LOADERS):
                group.start_soon(_for_ever, case, call)
            await anyio.sleep(_TICK)
            await at_times(
                steady(_TICK, ticks), lambda due: late.append((time.monotonic_ns() - due) / 1e9)
            )
            group.cancel_scope.cancel()
    worst = [max(late[start : start + _TICKS_A_BATCH]) for start in range(0, ticks, _TICKS_A_BATCH)]
    spread = latency.collect(late)
    lag = latency.percentile(spread, 0.99)
    return Measured(seconds=tuple(worst), latency=spread, figures={"loop_lag_p99_seconds": lag})


async def _for_ever(case: Case, call: Callable[[], Any]) -> None:
    while True:
        if case.subject.synchronous:
            call()
            await anyio.lowlevel.checkpoint()
        else:
            await call()
