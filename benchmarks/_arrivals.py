"""Arrivals that do not wait for the answers: an open loop; see `aionif.bench._clock`.

Latency counts from the time in the schedule, not from when the loop got round to it: an arrival
that finds the loop busy has waited all the same.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from aionif.bench._clock import at_times, poisson

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ("run_open_loop",)


async def run_open_loop(
    call: Callable[[], Awaitable[object]], rate: int, count: int
) -> tuple[list[float], float]:
    """Make `count` calls at `rate` a second; return latencies and CPU time a call, in microseconds.

    CPU time is that of the whole process, all its threads, user and system.
    """
    loop = asyncio.get_running_loop()
    latencies: list[float] = []
    tasks: list[asyncio.Task[None]] = []

    async def serve(intended: int) -> None:
        await call()
        latencies.append((time.monotonic_ns() - intended) / 1000)

    schedule = poisson(rate, count)
    used = time.process_time_ns()
    await at_times(schedule, lambda intended: tasks.append(loop.create_task(serve(intended))))
    await asyncio.gather(*tasks)
    used = time.process_time_ns() - used
    return latencies, used / 1000 / count
