"""The inline tier: `call_nif` beside the cffi call that it wraps."""

from __future__ import annotations

import time

from aionif import call_nif
from benchmarks._measure import Row, Scale, ratio_row, rounds
from benchmarks._subjects import direct, wrapped

__all__ = ("call_nif_cost",)


async def _time_direct(count: int) -> float:
    function = direct
    turns = range(count)
    start = time.perf_counter_ns()
    for _ in turns:
        function(-5)
    return (time.perf_counter_ns() - start) / count


async def _time_call_nif(count: int) -> float:
    call, function = call_nif, wrapped
    turns = range(count)
    start = time.perf_counter_ns()
    for _ in turns:
        call(function, -5)
    return (time.perf_counter_ns() - start) / count


async def call_nif_cost(scale: Scale) -> list[Row]:
    """Time a loop of calls of `labs`, direct and through call_nif; nanoseconds a call.

    Each loop makes the call as one writes it: through a helper that passes arguments on, a Python
    function would pay more for being called than a built-in one. Both pay the same for the loop
    itself, so the ratio flatters call_nif by what the loop costs, some 10 ns.
    """
    count = scale.pick(100_000, 2_000)
    taken = await rounds(
        {
            "direct": lambda: _time_direct(count),
            "call_nif": lambda: _time_call_nif(count),
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
