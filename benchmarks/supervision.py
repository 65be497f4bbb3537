"""Children of a supervisor, and the same tasks in a plain task group of anyio."""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

import anyio.lowlevel

import aionif
from benchmarks._measure import Row, Scale, ratio_row, rounds

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("children",)

_BATCH = 100  # tasks that are alive at the same time


async def _empty() -> None:
    pass


def _spec(number: int, work: Callable[..., object]) -> aionif.ChildSpec:
    return aionif.ChildSpec(id=f"child-{number}", start=work, restart="temporary")


async def _start_soon(batches: int) -> float:
    start = time.perf_counter_ns()
    for _ in range(batches):
        async with anyio.create_task_group() as group:
            for _ in range(_BATCH):
                group.start_soon(_empty)
    return (time.perf_counter_ns() - start) / batches / _BATCH


async def _supervised(batches: int) -> float:
    """The specification of each child is made on the clock, and each is waited for."""
    start = time.perf_counter_ns()
    for _ in range(batches):
        async with aionif.NifSupervisor() as supervisor:
            for number in range(_BATCH):
                await supervisor.start_child(_spec(number, _empty))
            while supervisor.count_children().specs:
                await anyio.lowlevel.checkpoint()
    return (time.perf_counter_ns() - start) / batches / _BATCH


async def _cancelled(batches: int) -> float:
    start = time.perf_counter_ns()
    for _ in range(batches):
        async with anyio.create_task_group() as group:
            for _ in range(_BATCH):
                group.start_soon(anyio.sleep_forever)
            await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
    return (time.perf_counter_ns() - start) / batches / _BATCH


async def _stopped(batches: int) -> float:
    start = time.perf_counter_ns()
    for _ in range(batches):
        async with aionif.NifSupervisor() as supervisor:
            for number in range(_BATCH):
                await supervisor.start_child(_spec(number, anyio.sleep_forever))
            await anyio.lowlevel.checkpoint()
    return (time.perf_counter_ns() - start) / batches / _BATCH


async def children(scale: Scale) -> list[Row]:
    """Start children that end at once, a hundred at a time; and such as have to be stopped.

    A task group cancels all of its tasks together. A supervisor stops its children one by one, and
    awaits each: the second row shows the price of that order, and has no target.
    """
    batches = scale.pick(50, 2)
    taken = await rounds(
        {
            "group": lambda: _start_soon(batches),
            "supervisor": lambda: _supervised(batches),
            "cancelled": lambda: _cancelled(batches),
            "stopped": lambda: _stopped(batches),
        },
        scale.rounds,
    )

    def detail(over: str, under: str) -> str:
        ours, theirs = (statistics.median(taken[key]) / 1000 for key in (over, under))
        return f"{ours:.1f} / {theirs:.1f} us"

    return [
        ratio_row("supervised start and end of an empty child, over start_soon",
                  taken["supervisor"], taken["group"], target=2.0, better="low",
                  detail=detail("supervisor", "group")),
        ratio_row("children stopped one by one, over a group cancelled at once",
                  taken["stopped"], taken["cancelled"], target=None, better="low",
                  detail=detail("stopped", "cancelled")),
    ]  # fmt: skip
