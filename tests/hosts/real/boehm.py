"""libgc (`apt-get install libgc-dev`): a collector that looks for pointers on threads' stacks.

It knows a thread's stack by what libc says, and looks from the stack pointer to its base. A call
runs on a stack of its own.
"""

from __future__ import annotations

import asyncio
import ctypes
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from tests.hosts.real.trial import Caller, Trial, build, run

ROUNDS = 3


def initialised(path: str) -> ctypes.CDLL:
    """Return the library, the collector initialised on the main thread."""
    library = ctypes.CDLL(path)
    library.initialise()
    return library


async def collect(caller: Caller, path: str, function: str) -> None:
    """Lists in one call after the other."""
    library = initialised(path)
    for _ in range(3):
        print(await caller(getattr(library, function), ROUNDS), flush=True)
    print("main thread", library.on_thread_as_it_is(ROUNDS))


async def collect_at_once(caller: Caller, path: str, function: str) -> None:
    """Lists in several calls at the same time."""
    library = initialised(path)
    calls = [caller(getattr(library, function), ROUNDS) for _ in range(8)]
    print(*await asyncio.gather(*calls), flush=True)
    print("main thread", library.on_thread_as_it_is(ROUNDS))


async def initialise_in_a_call(caller: Caller, path: str) -> None:
    """GC_INIT is made by a call."""
    library = ctypes.CDLL(path)
    print(await caller(library.initialise_and_list, ROUNDS), flush=True)


async def crash(caller: Caller, path: str, function: str) -> None:
    """A crash on a registered thread; then collections elsewhere."""
    library = initialised(path)
    print(await caller(getattr(library, function)), flush=True)
    print("main thread", library.on_thread_as_it_is(ROUNDS), flush=True)
    print(await caller(library.on_stack_that_it_was_told, ROUNDS))


async def deadline(caller: Caller, path: str, on_timeout: str, function: str) -> None:
    """Allocations without end; then more."""
    policy = replace(caller.policy, on_timeout=on_timeout)
    library = initialised(path)
    for _ in range(5):
        said = await caller(getattr(library, function), timeout=0.1, policy=policy)
        print(said, flush=True)
    print(await caller(library.on_stack_that_it_was_told, ROUNDS, timeout=10), flush=True)
    print("main thread", library.on_thread_as_it_is(ROUNDS))


def in_worker(path: str, function: str) -> int:
    """Run in a worker process."""
    library = initialised(path)
    result: int = getattr(library, function)(ROUNDS)
    return result


async def workers(caller: Caller, path: str) -> None:
    """Functions of the library, and Python callables that use it, in worker processes."""
    library = ctypes.CDLL(path)
    print("function", await caller(library.initialise_and_list, ROUNDS, timeout=5))
    for function in "on_thread_as_it_is", "crash", "on_thread_as_it_is":
        print("callable", await caller(in_worker, path, function, timeout=20))
    print("deadline", await caller(library.allocate_told, timeout=1))
    print("callable", await caller(in_worker, path, "on_thread_as_it_is", timeout=20))


TOLD = "on_stack_that_it_was_told"
WRONG = "[!0]*"  # a crash in a collection: all threads stay stopped, or the program ends
RIGHT = "0, 0, 0, main thread 0, went on"

TOGETHER = "0 0 0 0 0 0 0 0, main thread 0, went on"
OWN = " stack=thread"
TIERS = ("thread", "inline")
REGISTERED, ENDLESS = "crash_registered", "allocate_registered"
STOPPED = 5 * "NifTimeout, "

TRIALS = (
    *(
        Trial(collect, tier + OWN, RIGHT, (function,))
        for tier in TIERS
        for function in ("on_registered_thread", TOLD)
    ),
    Trial(collect, "inline" + OWN, RIGHT, ("on_thread_as_it_is",)),
    Trial(collect_at_once, "thread" + OWN, TOGETHER, ("on_registered_thread",)),
    *(Trial(initialise_in_a_call, tier + OWN, "0, went on") for tier in TIERS),
    *(
        Trial(crash, tier + OWN, "NifSignal SIGSEGV, main thread 0, 0, went on", (REGISTERED,))
        for tier in TIERS
    ),
    *(
        Trial(deadline, tier + OWN, f"{STOPPED}0, main thread 0, went on", ("abort", ENDLESS))
        for tier in TIERS
    ),
    *(
        Trial(collect, tier, expected, (function,))
        for tier in TIERS
        for function, expected in (
            ("on_thread_as_it_is", WRONG),
            ("on_registered_thread", WRONG),
            (TOLD, RIGHT),
        )
    ),
    Trial(collect_at_once, "thread", WRONG, ("on_registered_thread",)),
    Trial(collect_at_once, "thread", TOGETHER, (TOLD,)),
    Trial(initialise_in_a_call, "thread", "NifSignal SIGSEGV, went on"),
    Trial(initialise_in_a_call, "inline", "NifSignal SIGSEGV, went on"),
    Trial(crash, "inline", "NifSignal SIGSEGV, main thread 60000, 0, went on", ("crash_told",)),
    Trial(
        workers,
        "process",
        "function NifSignal SIGSEGV, callable 0, callable NifSignal SIGSEGV, callable 0, "
        "deadline NifTimeout, callable 0, went on",
    ),
    Trial(deadline, "thread", f"{STOPPED}0, main thread 0, went on", ("abandon", "allocate_told")),
)


def main() -> int:
    """Build and try."""
    with tempfile.TemporaryDirectory() as place:
        source = Path(__file__).with_suffix(".c").read_text(encoding="utf-8")
        return run(TRIALS, build(Path(place), source, "-lgc", package="libgc-dev"))


if __name__ == "__main__":
    sys.exit(main())
