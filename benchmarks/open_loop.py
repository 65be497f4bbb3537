"""Latency and CPU time of calls that arrive at a steady rate, as in a service."""

from __future__ import annotations

import asyncio
import statistics
from typing import TYPE_CHECKING

from benchmarks._arrivals import run_open_loop
from benchmarks._measure import Row, Scale, percentile, ratio_row, rounds
from benchmarks._subjects import sides
from benchmarks.concurrent import nothing

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ("open_loop_1000", "open_loop_10000")

Figures = dict[str, list[float]]


_SIDES = ("ours", "pool", "nothing")


async def _one_round(
    call: Callable[[], Awaitable[object]], rate: int, count: int, figures: Figures
) -> float:
    await asyncio.sleep(0.05)
    latencies, cpu = await run_open_loop(call, rate, count)
    figures["p50"].append(percentile(latencies, 0.5))
    figures["p99"].append(percentile(latencies, 0.99))
    figures["cpu"].append(cpu)
    return cpu


def _details(figures: dict[str, Figures], key: str) -> str:
    ours, pool, nothing = (statistics.median(figures[side][key]) for side in _SIDES)
    return f"{ours:.0f} / {pool:.0f} us; an arrival alone {nothing:.0f} us"


def _beyond(figures: dict[str, Figures], side: str, key: str) -> list[float]:
    both = zip(figures[side][key], figures["nothing"][key], strict=True)
    return [max(a - b, 0.1) for a, b in both]  # of two noisy figures; 0.1 us keeps ratios finite


async def _at_rate(scale: Scale, rate: int, count: int) -> list[Row]:
    figures: dict[str, Figures] = {side: {"p50": [], "p99": [], "cpu": []} for side in _SIDES}
    async with sides() as both:
        calls = {"ours": both.ours, "pool": both.pool, "nothing": nothing}
        await rounds(
            {
                side: lambda side=side: _one_round(calls[side], rate, count, figures[side])  # type: ignore[misc]
                for side in _SIDES
            },
            scale.rounds,
        )
    ours, pool = figures["ours"], figures["pool"]
    label = f"{rate:,} arrivals/s"
    net = _beyond(figures, "pool", "p50"), _beyond(figures, "ours", "p50")
    return [
        ratio_row(f"{label}: p50, better than a thread pool", pool["p50"], ours["p50"],
                  target=3.0, better="high", detail=_details(figures, "p50")),
        ratio_row(f"{label}: p99, better than a thread pool", pool["p99"], ours["p99"],
                  target=2.0, better="high", detail=_details(figures, "p99")),
        ratio_row(f"{label}: CPU time a call, over a thread pool", ours["cpu"], pool["cpu"],
                  target=1.0, better="low", detail=_details(figures, "cpu")),
        ratio_row(f"{label}: p50 less an arrival alone, better than a thread pool", *net,
                  target=None, better="high",
                  detail=f"{statistics.median(net[1]):.0f} / {statistics.median(net[0]):.0f} us"),
    ]  # fmt: skip


async def open_loop_1000(scale: Scale) -> list[Row]:
    """Calls at 1,000 a second, Poisson arrivals: between two of them everything falls asleep.

    A third subject makes no call. What it takes, the arrival alone, is in the figures of the other
    two as well, and bounds what any way of calling can reach.
    """
    return await _at_rate(scale, 1_000, scale.pick(1_500, 100))


async def open_loop_10000(scale: Scale) -> list[Row]:
    """Calls at 10,000 a second: with a thread pool the loop is busy, but not saturated."""
    return await _at_rate(scale, 10_000, scale.pick(10_000, 500))
