"""From ten calls to a hundred thousand in flight: what each costs, in time and in memory."""

from __future__ import annotations

import asyncio
import gc
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aionif
from benchmarks._measure import Row, Scale, Subject, rounds
from benchmarks._subjects import wrapped

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ("memory", "time_each")

_GATE = "long read(int, void *, unsigned long);"
_QUEUE = 1 << 20
_ROOT = Path(__file__).resolve().parent.parent


def _executor() -> aionif.NifExecutor:
    return aionif.NifExecutor(max_workers=1, max_queue=_QUEUE)


async def _behind_a_gate(executor: aionif.NifExecutor, read: Any, calls: int) -> float:
    """Queue calls behind one that reads from an empty pipe, then let it go; ns a call."""
    source, sink = os.pipe()
    gate = asyncio.ensure_future(executor.execute_nif(read, source, bytearray(1), 1))
    await asyncio.sleep(0.002)
    start = time.perf_counter_ns()
    tasks = [asyncio.ensure_future(executor.execute_nif(wrapped, -5)) for _ in range(calls)]
    await asyncio.sleep(0)  # each task runs up to where it is suspended
    os.write(sink, b"x")
    await asyncio.gather(gate, *tasks)
    taken = time.perf_counter_ns() - start
    os.close(source)
    os.close(sink)
    return taken / calls


async def _behind_nothing(calls: int) -> float:
    """Do the same with as many bare futures, all set at once: what asyncio takes; ns each."""
    futures: list[asyncio.Future[None]] = []
    start = time.perf_counter_ns()
    tasks = [asyncio.ensure_future(_bare(futures)) for _ in range(calls)]
    await asyncio.sleep(0)
    for future in futures:
        future.set_result(None)
    await asyncio.gather(*tasks)
    return (time.perf_counter_ns() - start) / calls


async def time_each(scale: Scale) -> list[Row]:
    """Suspend N tasks on calls, for N from 10 to 100,000, then let all calls run.

    The one worker is held up by a call that reads from an empty pipe, so that all N are in flight
    at the same time, and the loop has to wake every task. Small N are repeated. The row is the
    dearest N over the cheapest. Tasks and futures of asyncio's own cost more each, too, when there
    are more of them (the garbage collector walks them all, and they leave the caches): the same
    with bare futures is beside it, and the second row is what a call adds to those.
    """
    sizes = [10, 100, 1_000, 10_000, 100_000] if not scale.quick else [10, 100, 1_000]
    read = aionif.load(None, _GATE).read
    async with _executor() as executor:

        async def subject(once: Callable[[], Awaitable[float]], calls: int) -> float:
            repeats = max(1, scale.pick(2_000, 100) // calls)
            gc.collect()
            return statistics.fmean([await once() for _ in range(repeats)])

        def ours(calls: int) -> Subject:
            return lambda: subject(lambda: _behind_a_gate(executor, read, calls), calls)

        def bare(calls: int) -> Subject:
            return lambda: subject(lambda: _behind_nothing(calls), calls)

        subjects = {f"ours {size}": ours(size) for size in sizes}
        subjects |= {f"bare {size}": bare(size) for size in sizes}
        taken = await rounds(subjects, scale.pick(5, 2))
    return _by_size(sizes, taken)


def _by_size(sizes: list[int], taken: dict[str, list[float]]) -> list[Row]:
    ours = [taken[f"ours {size}"] for size in sizes]
    bare = [taken[f"bare {size}"] for size in sizes]
    added = [[a - b for a, b in zip(*pair, strict=True)] for pair in zip(ours, bare, strict=True)]

    def spread(costs: list[list[float]]) -> list[float]:
        return [max(by_size) / max(min(by_size), 1.0) for by_size in zip(*costs, strict=True)]

    def detail(costs: list[list[float]]) -> str:
        medians = [f"{statistics.median(cost) / 1000:.1f}" for cost in costs]
        return f"us at {sizes[0]:,} to {sizes[-1]:,}: {' '.join(medians)}"

    return [
        Row("10 to 100,000 in flight: cost a call, dearest over cheapest", "x", spread(ours), "low",
            1.3, detail(ours)),
        Row("the same of bare futures: asyncio itself", "x", spread(bare), "low", None,
            detail(bare)),
        Row("the same of what a call adds to a bare future", "x", spread(added), "low", None,
            detail(added)),
    ]  # fmt: skip


# ---- memory ----


def _resident() -> int:
    with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123 - no allocation of paths
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


async def _bare(futures: list[asyncio.Future[None]]) -> None:
    future = asyncio.get_running_loop().create_future()
    futures.append(future)
    await future


async def _held(make: Callable[[], Awaitable[Any]], calls: int) -> int:
    """Return the bytes that `calls` suspended tasks take."""
    gc.collect()
    before = _resident()
    tasks = [asyncio.ensure_future(make()) for _ in range(calls)]
    await asyncio.sleep(0)
    held = _resident() - before
    del tasks
    return held


async def _memory_of(subject: str, calls: int) -> None:
    """In a process of its own: print what `calls` suspended tasks of `subject` take, and leave."""
    if subject == "bare":
        futures: list[asyncio.Future[None]] = []
        print(await _held(lambda: _bare(futures), calls), flush=True)
    else:
        executor = _executor()
        for _ in range(100):
            await executor.execute_nif(wrapped, -5)
        read = aionif.load(None, _GATE).read
        source, _ = os.pipe()
        gate = asyncio.ensure_future(executor.execute_nif(read, source, bytearray(1), 1))
        await asyncio.sleep(0.01)
        print(await _held(lambda: executor.execute_nif(wrapped, -5), calls), flush=True)
        gate.cancel()
    os._exit(0)  # tearing down all these tasks is not what is measured


def in_child(subject: str, calls: int) -> None:
    """What the child process runs."""
    asyncio.run(_memory_of(subject, calls))


async def _child(subject: str, calls: int) -> float:
    # Wherever this package was found: it comes last, as the checkout has an aionif without a core.
    code = f"import sys; sys.path.append({str(_ROOT)!r}); from benchmarks import in_flight; "
    command = [sys.executable, "-P", "-c", f"{code}in_flight.in_child({subject!r}, {calls})"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)  # noqa: ASYNC221, S603
    return int(done.stdout) / calls


async def memory(scale: Scale) -> list[Row]:
    """Resident memory of N suspended calls, less that of N tasks that await a bare future.

    Each in a process of its own, so that neither finds memory the other has left.
    """
    calls = scale.pick(100_000, 5_000)
    taken = await rounds(
        {"ours": lambda: _child("ours", calls), "bare": lambda: _child("bare", calls)},
        scale.pick(3, 2),
    )
    samples = [a - b for a, b in zip(taken["ours"], taken["bare"], strict=True)]
    ours, bare = (statistics.median(taken[key]) for key in ("ours", "bare"))
    return [
        Row(f"{calls:,} in flight: bytes each beyond task and future", "B", samples, "low", 1024,
            f"{ours:.0f} - {bare:.0f} B"),
    ]  # fmt: skip
