"""`python -m benchmarks.soak [--crashes N] [--aborts N] [--json]`: does anything add up?

Crashes of every kind in one process, then calls of a loop of malloc and free that are stopped at
their deadline. After a warm-up of a tenth, resident memory, descriptors, threads and mappings have
to stay where they are, and no stopped call may take a lock with it.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import random
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aionif
from aionif.testing import gallery
from benchmarks._subjects import silent_log

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("Abortions", "Crashes", "Holding", "abortions", "crashes")

_TASKS = 8
_WORKERS = 2
_TIMEOUT = 0.5e-3  # seconds: a loop of malloc is well under way
_PATIENCE = 10.0  # seconds; a call is asked to end for some 5 s
_SAMPLES = 10
_KINDS = ("NifSignal", "NifStackOverflow", "NifPanic", "NifExit")

# What these leave behind is their own: nobody can free it for them.
LEAKING = frozenset({
    "malloc_locked",  # a lock for good, and with it a thread
    "cxx_throwing_destructor",  # an exception that std::terminate() was called for
    "cxx_noexcept",
    "cxx_what_crashes",  # an exception that can't be asked what it is
    "rust_panic_literal",  # the payload: a panic must not be ended from outside of Rust
    "rust_panic_format",
    "rust_index_out_of_bounds",
    "rust_panic_any",
    "rust_extern_c",
})  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Holding:
    """What the process holds after so many crashes; resident memory in KiB."""

    crashes: int
    resident: int
    descriptors: int
    threads: int
    mappings: int


@dataclass(frozen=True, kw_only=True)
class Crashes:
    """The crash part: the first sample is taken after the warm-up."""

    kinds: int
    count: int
    seconds: float
    retired: int
    samples: list[Holding]

    def growth(self) -> dict[str, int]:
        """Return how much the last sample is above the first."""
        first, last = asdict(self.samples[0]), asdict(self.samples[-1])
        return {key: last[key] - first[key] for key in first if key != "crashes"}


@dataclass(frozen=True, kw_only=True)
class Abortions:
    """The timeout part: `count` calls were running at their deadline, and were asked to end.

    abandoned: none of the policy's attempts met the loop outside of libc; later ones may have.
    wedged: threads that are left when all is over.
    """

    count: int
    seconds: float
    aborted: int
    abandoned: int
    retired: int
    wedged: int


def _threads() -> int:
    return sum(1 for _ in Path("/proc/self/task").iterdir())


def _holding(done: int) -> Holding:
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return Holding(
        crashes=done,
        resident=int(fields["VmRSS"].split()[0]),
        descriptors=sum(1 for _ in Path("/proc/self/fd").iterdir()),
        threads=int(fields["Threads"]),
        mappings=Path("/proc/self/maps").read_bytes().count(b"\n"),
    )


async def _settled(executor: aionif.NifExecutor, done: int, threads: int | None) -> Holding:
    """Take the least of some samples, all of them with every worker there.

    A worker whose thread has ended is replaced when a call needs it, so as many calls are made at
    once as there may be workers. A thread that leaves, or that tries locks after a crash, is there
    for a moment yet: while there are more than `threads`, samples are taken, for some seconds.
    """
    sleep = aionif.load("libc.so.6", "int usleep(unsigned);").usleep
    await asyncio.gather(*(executor.execute_nif(sleep, 5_000) for _ in range(_WORKERS)))
    gc.collect()
    found = _holding(done)
    samples, end = 0, time.monotonic() + _PATIENCE
    while samples < 20 or (threads and found.threads > threads and time.monotonic() < end):
        samples += 1
        await asyncio.sleep(0.01)
        found = min(found, _holding(done), key=lambda it: (it.threads, it.mappings, it.resident))
    return found


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what assert() and libc write about themselves off the terminal."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 2)
    os.close(nowhere)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _functions() -> list[tuple[Any, tuple[Any, ...]]]:
    chosen = [s for s in gallery.available() if s.outcome in _KINDS and s.name not in LEAKING]
    libraries = {
        language: aionif.load(
            gallery.library_path(language),
            "".join(s.cdef for s in chosen if s.language == language),
        )
        for language in {s.language for s in chosen}
    }
    return [(getattr(libraries[s.language], s.symbol), s.arguments) for s in chosen]


async def crashes(count: int) -> Crashes:
    """Crash `count` times, in every way in turn, in shuffled order and several at once."""
    functions = _functions()
    samples: list[Holding] = []
    started = time.perf_counter()
    with _quiet():
        async with aionif.NifExecutor(max_workers=_WORKERS) as executor:

            async def some(seed: int, share: int) -> None:
                order = random.Random(seed)  # noqa: S311 - the same order on every run
                for _ in range(share):
                    function, arguments = order.choice(functions)
                    try:
                        await executor.execute_nif(function, *arguments)
                    except aionif.NifCrash:
                        continue
                    raise AssertionError("a call that must crash has returned")

            done = 0
            for step in range(_SAMPLES):
                share = max(1, count // _SAMPLES // _TASKS)
                await asyncio.gather(*(some(step * _TASKS + task, share) for task in range(_TASKS)))
                done += share * _TASKS
                first = samples[0].threads if samples else None
                samples.append(await _settled(executor, done, first))
            retired = executor.statistics().retired
    return Crashes(
        kinds=len(functions),
        count=done,
        seconds=time.perf_counter() - started,
        retired=retired,
        samples=samples,
    )


async def abortions(count: int) -> Abortions:
    """Stop `count` calls of an endless loop of malloc and free, each while it runs.

    There are more workers than tasks, as a call that waits for one would end in the queue.
    """
    cdef = gallery.SPECIMENS["spin_malloc"].cdef
    function = aionif.load(gallery.library_path("c"), cdef).gallery_spin_malloc
    policy = aionif.NifPolicy(max_lost_threads=count)
    threads = _threads()
    started = time.perf_counter()
    async with aionif.NifExecutor(max_workers=2 * _WORKERS, policy=policy) as executor:

        async def some() -> None:
            running = 0
            while running < count // _WORKERS:
                try:
                    await executor.execute_nif(function, timeout=_TIMEOUT)
                except aionif.NifTimeout as error:
                    running += error.phase == "run"

        await asyncio.gather(*(some() for _ in range(_WORKERS)))
        seconds = time.perf_counter() - started
    deadline = time.monotonic() + _PATIENCE
    while _threads() > threads and time.monotonic() < deadline:  # noqa: ASYNC110
        await asyncio.sleep(0.01)
    found = executor.statistics()
    return Abortions(
        count=count // _WORKERS * _WORKERS,
        seconds=seconds,
        aborted=found.aborted,
        abandoned=found.abandoned,
        retired=found.retired,
        wedged=_threads() - threads,
    )


def _crash_table(found: Crashes) -> Iterator[str]:
    yield (
        f"{found.count:,} crashes of {found.kinds} kinds in {found.seconds:.1f} s, "
        f"{found.retired} threads retired"
    )
    yield f"{'crashes':>10} {'resident':>12} {'descriptors':>12} {'threads':>8} {'mappings':>9}"
    for row in found.samples:
        resident = f"{row.resident:,} KiB"
        yield (
            f"{row.crashes:>10,} {resident:>12} {row.descriptors:>12} {row.threads:>8} "
            f"{row.mappings:>9}"
        )
    growth = found.growth()
    yield "growth after warm-up: " + ", ".join(f"{key} {value:+}" for key, value in growth.items())


def _abort_table(found: Abortions) -> Iterator[str]:
    yield (
        f"{found.count:,} loops of malloc stopped in {found.seconds:.1f} s: "
        f"{found.aborted:,} aborted, {found.abandoned} abandoned, {found.retired} retired, "
        f"{found.wedged} wedged"
    )


def main() -> int:
    """Run both parts. The exit status does not depend on the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--crashes", type=int, default=100_000, metavar="N")
    parser.add_argument("--aborts", type=int, default=10_000, metavar="N")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args()
    silent_log()
    crashed = asyncio.run(crashes(options.crashes)) if options.crashes else None
    aborted = asyncio.run(abortions(options.aborts)) if options.aborts else None
    if options.json:
        parts = {
            "crashes": crashed and {**asdict(crashed), "growth": crashed.growth()},
            "aborts": aborted and asdict(aborted),
        }
        print(json.dumps(parts, indent=1))
    else:
        lines = [*_crash_table(crashed)] if crashed else []
        lines += _abort_table(aborted) if aborted else ()
        print("\n".join(lines))
    return 0


if __name__ == "__main__":
    sys.exit(main())
