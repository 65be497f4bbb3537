"""Calls that crash, all the time."""

from __future__ import annotations

import asyncio
import statistics
import time
from typing import Any

import aionif
from aionif.bench._clock import at_times, steady
from benchmarks._measure import Row, Scale, percentile, ratio_row, rounds
from benchmarks._subjects import crasher, silent_log

__all__ = ("late_ticks", "rate", "ticker")

_TASKS = 16
_TICK = 0.001  # seconds


async def _crash(executor: aionif.NifExecutor, function: Any) -> None:
    try:
        await executor.execute_nif(function)
    except aionif.NifSignal:
        return
    raise AssertionError("a call that must crash has returned")


async def rate(scale: Scale) -> list[Row]:
    """Sixteen tasks, each of them in a loop: await a call that reads address 16, catch NifSignal.

    Every crash becomes an exception with its report; the log is set to keep silent.
    """
    silent_log()
    function = crasher()
    crashes = scale.pick(40_000, 800)
    async with aionif.NifExecutor() as executor:

        async def loop_of_crashes() -> None:
            for _ in range(crashes // _TASKS):
                await _crash(executor, function)

        async def subject() -> float:
            start = time.perf_counter()
            await asyncio.gather(*[loop_of_crashes() for _ in range(_TASKS)])
            return crashes / (time.perf_counter() - start)

        await subject()
        taken = await rounds({"ours": subject}, scale.rounds)
    return [
        Row("a crash every call, sustained", "crashes/s", taken["ours"], "high", 20_000.0,
            f"{_TASKS} tasks, {crashes:,} crashes a round"),
    ]  # fmt: skip


async def late_ticks(ticks: int) -> list[float]:
    """Tick each millisecond of a fixed schedule; return how late each tick ran, in microseconds."""
    late: list[float] = []
    await at_times(
        steady(_TICK, ticks), lambda due: late.append((time.monotonic_ns() - due) / 1000)
    )
    return late


async def ticker(scale: Scale) -> list[Row]:
    """How late a tick of 1 ms runs, while two tasks crash a worker each without a pause; and idle.

    The ticks come from a timerfd, which is exact to microseconds: with asyncio's own timers, which
    round to milliseconds, both would look alike.
    """
    silent_log()
    function = crasher()
    ticks = scale.pick(2_000, 100)
    async with aionif.NifExecutor(max_workers=2) as executor:

        async def crash_for_ever() -> None:
            while True:
                await _crash(executor, function)

        async def idle() -> float:
            return percentile(await late_ticks(ticks), 0.99)

        async def crashing() -> float:
            tasks = [asyncio.ensure_future(crash_for_ever()) for _ in range(2)]
            await asyncio.sleep(0.05)
            late = percentile(await late_ticks(ticks), 0.99)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            return late

        taken = await rounds({"idle": idle, "crashing": crashing}, scale.rounds)
    busy, calm = (statistics.median(taken[key]) for key in ("crashing", "idle"))
    return [
        ratio_row("p99 of a 1 ms ticker: 2 workers crashing over idle", taken["crashing"],
                  taken["idle"], target=2.0, better="low", detail=f"{busy:.0f} / {calm:.0f} us"),
    ]  # fmt: skip
