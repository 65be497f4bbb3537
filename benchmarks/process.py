"""The process tier: beside the process pools of others, and beside the thread tier."""

from __future__ import annotations

import asyncio
import os
import signal
import statistics
import time
from concurrent.futures import wait
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aionif
from aionif.process import zygote
from benchmarks._measure import Row, Scale, ratio_row, rounds
from benchmarks._peers import echo, native, peers
from benchmarks._subjects import silent_log, wrapped
from benchmarks.concurrent import gathered

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from concurrent.futures import Executor

    from benchmarks._measure import Subject
    from benchmarks._peers import Peers

__all__ = ("process",)

_AT_ONCE = 1_000
_SIZE = 8_000_000
_MIB = 1 << 20
_SETTLE = 0.5  # seconds; for processes that start and stop
_WORKERS = 4

_libc: Any = aionif.load(None, "void *memchr(const void *, int, size_t);")


async def process(scale: Scale) -> list[Row]:
    """Run all of them."""
    silent_log()
    rows = await memory(scale)
    async with peers() as all_of_them:
        rows += await in_turn(all_of_them, scale)
        rows += await python_in_turn(all_of_them, scale)
        rows += await at_once(all_of_them, scale)
        rows += await large(all_of_them, scale)
        rows += await futures(all_of_them, scale)
    return rows + await replaced(scale)


def _faster(  # noqa: PLR0913, PLR0917 - one value each
    what: str, than: str, taken: dict[str, list[float]], peer: str, target: float | None, mine: str
) -> Row:
    """Return how many times faster we are than a peer; the figures are of nanoseconds."""
    ours, theirs = (statistics.median(taken[side]) / 1000 for side in (mine, peer))
    return ratio_row(
        f"processes, {what}: faster than {than}",
        taken[peer],
        taken[mine],
        target=target,
        better="high",
        detail=f"{ours:.2f} / {theirs:.1f} us",
    )


def _within(what: str, taken: dict[str, list[float]], target: float) -> Row:
    ours, threads = (statistics.median(taken[side]) / 1000 for side in ("ours", "threads"))
    return ratio_row(
        f"processes, {what}: over the thread tier",
        taken["ours"],
        taken["threads"],
        target=target,
        better="low",
        detail=f"{ours:.2f} / {threads:.2f} us",
    )


def _in_turn(call: Callable[[], Awaitable[object]], count: int, warm: int = 20) -> Subject:
    async def subject() -> float:
        for _ in range(warm):
            await call()
        start = time.perf_counter_ns()
        for _ in range(count):
            await call()
        return (time.perf_counter_ns() - start) / count

    return subject


async def in_turn(of: Peers, scale: Scale) -> list[Row]:
    """Await native calls one after another, with the worker awake."""
    many, few = scale.pick(10_000, 200), scale.pick(500, 20)
    taken = await rounds(
        {
            "ours": _in_turn(lambda: of.ours.execute_nif(wrapped, -5), many),
            "threads": _in_turn(lambda: of.threads.execute_nif(wrapped, -5), many),
            "pool": _in_turn(lambda: of.pool(native, -5), few),
            "anyio": _in_turn(lambda: of.anyio(native, -5), few),
        },
        scale.rounds,
    )
    what = "native calls in turn"
    return [
        _faster(what, "ProcessPoolExecutor", taken, "pool", 80.0, "ours"),
        _faster(what, "anyio.to_process", taken, "anyio", 25.0, "ours"),
        _within(what, taken, 1.5),
    ]


async def python_in_turn(of: Peers, scale: Scale) -> list[Row]:
    """Await calls of `abs` with a small number one after another."""
    many, few = scale.pick(3_000, 100), scale.pick(500, 20)
    taken = await rounds(
        {
            "ours": _in_turn(lambda: of.ours.execute_nif(abs, -5), many),
            "pool": _in_turn(lambda: of.pool(abs, -5), few),
            "anyio": _in_turn(lambda: of.anyio(abs, -5), few),
        },
        scale.rounds,
    )
    what = "Python calls in turn"
    return [
        _faster(what, "ProcessPoolExecutor", taken, "pool", 10.0, "ours"),
        _faster(what, "anyio.to_process", taken, "anyio", 4.0, "ours"),
    ]


async def at_once(of: Peers, scale: Scale) -> list[Row]:
    """Gather 1,000 native calls."""
    repeats = scale.pick(10, 1)
    taken = await rounds(
        {
            "ours": lambda: gathered(lambda: of.ours.execute_nif(wrapped, -5), _AT_ONCE, repeats),
            "threads": lambda: gathered(
                lambda: of.threads.execute_nif(wrapped, -5), _AT_ONCE, repeats
            ),
            "pool": lambda: gathered(lambda: of.pool(native, -5), _AT_ONCE, scale.pick(2, 1)),
        },
        scale.rounds,
    )
    what = "1,000 native calls at once"
    return [
        _faster(what, "ProcessPoolExecutor", taken, "pool", 20.0, "ours"),
        _within(what, taken, 1.2),
    ]


async def large(of: Peers, scale: Scale) -> list[Row]:
    """Pass 8 MB: to a native function that reads the first byte, and to one that returns it all.

    The peers have no other way than the second, so that is what all are compared with. The buffer
    was mapped by an earlier call; bytes are copied for each.
    """
    data = b"x" * _SIZE
    with aionif.Buffer(_SIZE) as shared:
        shared.view()[:] = data
        few = scale.pick(5, 1)
        subjects = {
            "buffer": _in_turn(
                lambda: of.ours.execute_nif(_libc.memchr, shared, b"x"[0], _SIZE),
                scale.pick(2_000, 20),
            ),
            "bytes": _in_turn(
                lambda: of.ours.execute_nif(_libc.memchr, data, b"x"[0], _SIZE),
                scale.pick(20, 2),
                warm=2,
            ),
            "echo": _in_turn(lambda: of.ours.execute_nif(echo, data), few, warm=1),
            "pool": _in_turn(lambda: of.pool(echo, data), few, warm=1),
            "anyio": _in_turn(lambda: of.anyio(echo, data), few, warm=1),
        }
        taken = await rounds(subjects, scale.rounds)
    taken["best"] = [min(pair) for pair in zip(taken["pool"], taken["anyio"], strict=True)]
    than = "the best echo of a peer"
    return [
        _faster("8 MB in an aionif.Buffer", than, taken, "best", 1000.0, "buffer"),
        _faster("8 MB of bytes", than, taken, "best", 10.0, "bytes"),
        _faster("8 MB echoed by a Python call", than, taken, "best", None, "echo"),
    ]


# ---- without an event loop ----


async def futures(of: Peers, scale: Scale) -> list[Row]:
    """Submit calls of `abs` to both executors, one after another and 1,000 at once."""

    def in_turn(executor: Executor, count: int) -> Subject:
        async def subject() -> float:
            start = time.perf_counter_ns()
            for _ in range(count):
                executor.submit(abs, -5).result()
            return (time.perf_counter_ns() - start) / count

        return subject

    def together(executor: Executor) -> Subject:
        async def subject() -> float:
            start = time.perf_counter_ns()
            wait([executor.submit(abs, -5) for _ in range(_AT_ONCE)])
            return (time.perf_counter_ns() - start) / _AT_ONCE

        return subject

    taken = await rounds(
        {
            "ours": in_turn(of.futures, scale.pick(2_000, 50)),
            "pool": in_turn(of.standard, scale.pick(500, 20)),
            "ours at once": together(of.futures),
            "pool at once": together(of.standard),
        },
        scale.rounds,
    )
    than = "ProcessPoolExecutor"
    return [
        _faster("futures in turn", than, taken, "pool", None, "ours"),
        _faster("1,000 futures at once", than, taken, "pool at once", None, "ours at once"),
    ]


# ---- workers ----


async def replaced(scale: Scale) -> list[Row]:
    """Kill the one worker of an executor, and time the next call until its result."""
    async with aionif.NifExecutor(isolation="process", max_workers=1) as executor:

        async def next_result() -> float:
            times = []
            for _ in range(scale.pick(30, 3)):
                await executor.execute_nif(wrapped, -5)
                await asyncio.sleep(0.05)  # for the next spare, as in a program with work to do
                (worker,) = executor._pools.processes()  # noqa: SLF001 - not public, nor meant to be
                start = time.perf_counter_ns()
                os.kill(worker, signal.SIGKILL)
                try:
                    await executor.execute_nif(wrapped, -5)
                except aionif.NifWorkerLost:  # it was given to the worker that died
                    await executor.execute_nif(wrapped, -5)
                times.append((time.perf_counter_ns() - start) / 1e6)
            return statistics.median(times)

        taken = await rounds({"ours": next_result}, scale.rounds)
    name = "processes, worker killed to the next result: p50"
    return [Row(name, "ms", taken["ours"], "low", 1.0, "one worker, idle when it is killed")]


def _resident(pids: list[int]) -> float:
    """Return the MiB of some processes, with what they share counted once: their PSS."""
    total = 0
    for pid in pids:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii").splitlines():
            if line.startswith("Pss:"):
                total += int(line.split()[1]) * 1024
    return total / _MIB


def _family() -> list[int]:
    """Return the zygote and all its children: spares too, and who hears what workers write."""
    pid = int(zygote.of().pid or 0)
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return [pid, *map(int, children)]


async def memory(scale: Scale) -> list[Row]:
    """Compare the zygote alone with itself and workers that have each made a call.

    What one worker adds to the sum is its own, wherever the kernel counts what they share.
    """

    async def added(function: Any, *arguments: Any) -> float:
        await asyncio.sleep(_SETTLE)
        before = _resident(_family())
        async with aionif.NifExecutor(isolation="process", max_workers=_WORKERS) as executor:
            for _ in range(20):
                calls = [executor.execute_nif(function, *arguments) for _ in range(100)]
                await asyncio.gather(*calls)
            await asyncio.sleep(_SETTLE)
            family = _family()
            return (_resident(family) - before) / (len(family) - 2)

    zygote.of().ensure()
    taken = await rounds(
        {"native": lambda: added(wrapped, -5), "python": lambda: added(abs, -5)}, scale.pick(3, 2)
    )
    what = "processes, memory a worker adds to the zygote's"
    how = f"{_WORKERS} workers at the most, and spares; PSS"
    return [
        Row(f"{what}: native calls", "MiB", taken["native"], "low", 3.0, how),
        Row(f"{what}: Python calls", "MiB", taken["python"], "low", None, how),
    ]
