"""Scenarios of a subject that has just been opened, or has nothing to do."""

from __future__ import annotations

import os
import time

import anyio

from aionif.bench import _tree
from aionif.bench._case import Case, Measured, Meter
from aionif.bench._timing import warm_up
from aionif.bench.subjects import opening

__all__ = ("cold_start", "idle")

_SETTLE = 0.1  # seconds; for workers that still start, or spin after a call
_IDLE = 0.25  # seconds at the least: a few wake-ups of a poller must fall into it


async def cold_start(case: Case) -> Measured:
    """Time from opening the subject to its first result; its modules are imported already.

    To load the native library counts, here or in a worker, wherever the subject needs it.
    This is once in the life of a process, so a cell has one figure.
    """
    open_it = opening(case.subject)
    start = time.perf_counter()
    async with open_it(case.workers) as bind:
        result = bind(case.work(0))()
        if not case.subject.synchronous:
            await result
        taken = time.perf_counter() - start
    return Measured(seconds=(taken,))


async def idle(case: Case) -> Measured:
    """Tell what workers cost that have nothing to do."""
    async with case.open() as bind:
        await warm_up(case, bind(case.work(0)))
        await anyio.sleep(_SETTLE)
        wait = max(_IDLE, case.budget)
        meter = Meter()
        await anyio.sleep(wait)
        return Measured(
            figures={
                "cpu_seconds_per_second": meter.seconds() / wait,
                "pss_bytes": float(_tree.resident(os.getsid(0))),
            }
        )
