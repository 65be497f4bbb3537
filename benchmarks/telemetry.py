"""What it costs calls that succeed to be watched."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, generate_latest

import aionif
from aionif import telemetry
from aionif.telemetry import top
from aionif.telemetry.metrics import NifCollector
from benchmarks._measure import Row, Scale, ratio_row, rounds
from benchmarks._subjects import wrapped

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("watched",)

_SCRAPES = 2  # a round; at half a second for each that is many times as often as Prometheus comes


async def _time_calls(
    executor: aionif.NifExecutor, count: int, between: Callable[[], object]
) -> float:
    turns = range(count // _SCRAPES)
    start = time.perf_counter_ns()
    for _ in range(_SCRAPES):
        for _ in turns:
            await executor.execute_nif(wrapped, -5)
        between()
    return (time.perf_counter_ns() - start) / count


def _ignore(_event: str, _fields: dict[str, Any]) -> None:
    pass


async def watched(scale: Scale) -> list[Row]:
    """Await calls in turn, with all that can watch them and without.

    With: metrics are scraped, a window is open for `aionif top`, a handler of log events is
    attached, and each function has a circuit breaker.
    """
    registry = CollectorRegistry()
    registry.register(NifCollector())
    policy = aionif.NifPolicy(breaker=aionif.NifBreaker())
    count = scale.pick(500_000, 1_000)
    async with aionif.NifExecutor() as plain, aionif.NifExecutor(policy=policy) as seen:
        with top.allow():
            telemetry.attach(_ignore)
            taken = await rounds(
                {
                    "off": lambda: _time_calls(plain, count, lambda: None),
                    "on": lambda: _time_calls(seen, count, lambda: generate_latest(registry)),
                },
                scale.rounds,
            )
            telemetry.detach(_ignore)
    on, off = (statistics.median(taken[side]) / 1000 for side in ("on", "off"))
    return [
        ratio_row(
            "calls in turn with metrics, log handlers and a breaker, over calls without",
            taken["on"],
            taken["off"],
            target=1.03,
            better="low",
            detail=f"{on:.2f} / {off:.2f} us",
        )
    ]
