"""The inline tier: `call_nif` beside the cffi call that it wraps."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from aionif import call_nif
from benchmarks._measure import Row, Scale, ratio_row, rounds
from benchmarks._subjects import direct, wrapped

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("call_nif_cost",)


async def _time(call: Callable[..., Any], arguments: tuple[Any, ...], count: int) -> float:
    turns = range(count)
    start = time.perf_counter_ns()
    for _ in turns:
        call(*arguments)
    return (time.perf_counter_ns() - start) / count


async def call_nif_cost(scale: Scale) -> list[Row]:
    """Time a loop of calls of `labs`, direct and through call_nif; nanoseconds a call.

    Both pay the same for the loop itself, so the ratio flatters call_nif by what the loop costs,
    some 10 ns.
    """
    count = scale.pick(100_000, 2_000)
    taken = await rounds(
        {
            "direct": lambda: _time(direct, (-5,), count),
            "call_nif": lambda: _time(call_nif, (wrapped, -5), count),
        },
        scale.rounds,
    )
    low = {name: min(times) for name, times in taken.items()}
    return [
        ratio_row(
            "call_nif over the direct cffi call",
            taken["call_nif"],
            taken["direct"],
            target=3.0,
            better="low",
            detail=f"best {low['call_nif']:.0f} / {low['direct']:.0f} ns",
        )
    ]
