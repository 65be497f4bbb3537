"""`python -m benchmarks.bursts [--seconds N] [--seed N] [--loop NAME]`: does every await end?

Rounds of an executor that is opened and closed, on threads, on processes, or both. In each some
bursts of 1 to 5,000 calls, of which some have timeouts and some are cancelled, while the loop
blocks for random times and workers, and now and then the zygote, are killed. Sometimes the executor
is closed in the middle. Each burst has a bound; one that is not over by then is a failure.
"""

from __future__ import annotations

import argparse
import ctypes
import math
import os
import random
import signal
import sys
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

import aionif
from benchmarks._subjects import silent_log

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("Soak", "soak")

_BOUND = 60.0  # seconds for one burst: hundreds of times what the slowest took
_MOST_CALLS = 5_000
_LONGEST_BLOCK = 300_000  # microseconds
_LIBC = aionif.load(None, "long labs(long); int usleep(unsigned);")
_block = ctypes.PyDLL(None).usleep  # with the GIL


@dataclass
class Soak:
    """What has happened so far; ends: of calls, by name."""

    rounds: int = 0
    calls: int = 0
    kills: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    longest: float = 0.0  # seconds that a burst took
    stuck: list[str] = field(default_factory=list)


class _Round:
    """One executor and its bursts."""

    def __init__(self, choice: random.Random, found: Soak) -> None:
        self.choice = choice
        self.found = found
        self.isolation: Any = choice.choice(["thread", "process", "process", "auto"])

    async def run(self) -> None:
        workers = self.choice.randint(1, 4)
        executor = aionif.NifExecutor(
            isolation=self.isolation, max_workers=workers, shutdown_timeout=1
        )
        async with executor:
            for _ in range(self.choice.randint(1, 4)):
                await self.burst(executor)
        self.found.rounds += 1

    async def burst(self, executor: aionif.NifExecutor) -> None:
        count = round(math.exp(self.choice.uniform(0, math.log(_MOST_CALLS))))
        began, before = time.monotonic(), self.found.ends.total()
        with anyio.move_on_after(_BOUND) as bound:
            async with anyio.create_task_group() as tasks:
                for _ in range(count):
                    tasks.start_soon(self.one, executor)
                tasks.start_soon(self.disturb, executor)
        if bound.cancelled_caught:
            missing = count - (self.found.ends.total() - before)
            self.found.stuck.append(
                f"{self.isolation}: {missing} of {count} calls: {executor.statistics()}"
            )
        self.found.calls += count
        self.found.longest = max(self.found.longest, time.monotonic() - began)

    async def one(self, executor: aionif.NifExecutor) -> None:
        kind = self.choice.random()
        timeout = self.choice.uniform(0.001, 0.1) if kind < 0.1 else None
        patience = self.choice.uniform(0.001, 0.1) if kind > 0.9 else math.inf
        sleeps = self.choice.random() < 0.02
        function, argument = (_LIBC.usleep, 2_000) if sleeps else (_LIBC.labs, -7)
        end = "cancelled"
        with anyio.move_on_after(patience):
            try:
                result = await executor.execute_nif(function, argument, timeout=timeout)
                end = "returned" if result == (0 if sleeps else 7) else "wrong"
            except aionif.NifError as error:
                end = type(error).__name__
        self.found.ends[end] += 1

    async def disturb(self, executor: aionif.NifExecutor) -> None:
        """Block the loop, kill workers, close the executor."""
        for _ in range(self.choice.randint(0, 20)):
            await anyio.sleep(self.choice.uniform(0, 0.01))
            kind = self.choice.random()
            if kind < 0.1:
                _block(self.choice.randint(0, _LONGEST_BLOCK))
            elif kind < 0.98:
                self.kill()
            else:
                await executor.aclose()

    def kill(self) -> None:
        zygotes = list(_children(os.getpid()))
        workers = [worker for zygote in zygotes for worker in _children(zygote)]
        targets = zygotes if self.choice.random() < 0.05 else workers
        if targets:
            with suppress(ProcessLookupError):
                os.kill(self.choice.choice(targets), signal.SIGKILL)
                self.found.kills += 1


def _children(of: int) -> Iterator[int]:
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            pid = int(entry.name)
            status = (entry / "stat").read_text(encoding="utf-8")
            state, parent = status.rpartition(")")[2].split()[:2]
            if int(parent) == of and state != "Z":
                yield pid


async def soak(seconds: float, seed: int, *, says: bool = False) -> Soak:
    """Run rounds for so long, or until an await does not end; says: print a line now and then."""
    choice = random.Random(seed)  # noqa: S311 - the same rounds for the same seed
    found = Soak()
    began = said = time.monotonic()
    while not found.stuck and time.monotonic() - began < seconds:
        await _Round(choice, found).run()
        if says and time.monotonic() - said > 10:
            said = time.monotonic()
            print(f"{said - began:6.0f} s  {_line(found)}", flush=True)
    return found


def _line(found: Soak) -> str:
    ends = ", ".join(f"{name} {count:,}" for name, count in sorted(found.ends.items()))
    return (
        f"{found.rounds:,} rounds, {found.calls:,} calls, {found.kills:,} kills, "
        f"longest burst {found.longest:.1f} s: {ends}"
    )


def main() -> int:
    """Exit status: 1 if an await did not end."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bursts", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="N")
    parser.add_argument("--loop", choices=("asyncio", "uvloop", "trio"), default="asyncio")
    options = parser.parse_args()
    silent_log()

    async def run() -> Soak:
        return await soak(options.seconds, options.seed, says=True)

    backend = "trio" if options.loop == "trio" else "asyncio"
    uses = {"use_uvloop": True} if options.loop == "uvloop" else {}
    found = anyio.run(run, backend=backend, backend_options=uses)
    print(_line(found))
    print("\n".join(found.stuck) or "every await ended")
    return bool(found.stuck or found.ends["wrong"])


if __name__ == "__main__":
    sys.exit(main())
