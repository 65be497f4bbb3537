"""A Go library (`apt-get install golang-go`), built with -buildmode=c-shared.

Go makes panics of faults in its own code, runs it on stacks of its own, and preempts it by SIGURG.
Its handlers are installed when the library is loaded; what is no fault of Go code they pass on.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.hosts.real.trial import SECONDS, Caller, Trial, missing, run

MILLISECONDS = 200


def load(path: str) -> ctypes.CDLL:
    """Return the library, with no function that takes what it was not given."""
    library = ctypes.CDLL(path)
    for name in "NilDereference", "Panic", "CrashInC", "SpinInC", "Spin":
        getattr(library, name).argtypes = []
    for name in "NilDereference", "Panic", "SpinInC", "Spin":
        getattr(library, name).restype = None
    return library


async def settle() -> None:
    """Have the handlers of aionif put in front."""
    import aionif

    async with aionif.NifExecutor() as executor:
        await executor.execute_nif(ctypes.CDLL(None).usleep, 1_200_000)


async def go_in_python(path: str, order: str) -> None:
    """No call is made of it: the main thread alone, before and after the handlers are in order."""
    if order == "aionif-first":
        import aionif  # noqa: F401 - its handlers are there before Go's
    library = load(path)
    for _ in range(2):
        print(library.Recovered(5), library.Divided(0), library.Work(MILLISECONDS))
        await settle()


async def prepared(caller: Caller, path: str, order: str) -> ctypes.CDLL:
    """Return the library, its handlers in front of aionif's or behind."""
    await caller(ctypes.CDLL(None).getpid)  # the workers are there, and the handlers in order
    library = load(path)
    if order == "go-behind":
        await settle()
    return library


async def further(caller: Caller, library: ctypes.CDLL) -> None:
    """Further calls of all that ought to work."""
    said = [await caller(library.Add, 2, 3, timeout=3) for _ in range(3)]
    print("add", *said, "work", await caller(library.Work, MILLISECONDS, timeout=5), flush=True)
    print("main thread", library.Add(2, 3), library.Work(MILLISECONDS), flush=True)


async def works(caller: Caller, path: str, order: str) -> None:
    """Nothing goes wrong: goroutines, collections, preemption, stacks that grow."""
    library = await prepared(caller, path, order)
    alarms: list[int] = []
    signal.signal(signal.SIGALRM, lambda *_: alarms.append(1))
    signal.setitimer(signal.ITIMER_REAL, 0.01, 0.01)
    print(await caller(library.Work, MILLISECONDS), await caller(library.Deep, 10_000))
    if caller.tier == "thread":
        calls = [caller(library.Work, MILLISECONDS) for _ in range(4)]
        print(*await asyncio.gather(*calls))
    signal.setitimer(signal.ITIMER_REAL, 0)
    print("alarms" if alarms else "no alarm")
    await further(caller, library)


async def recovered(caller: Caller, path: str, order: str) -> None:
    """Faults that Go recovers from."""
    library = await prepared(caller, path, order)
    print("recovered", await caller(library.Recovered, 5), flush=True)
    print("divided", await caller(library.Divided, 0), flush=True)
    await further(caller, library)


async def failing(caller: Caller, path: str, order: str, function: str) -> None:
    """One call that crashes or panics; then others."""
    library = await prepared(caller, path, order)
    print(await caller(getattr(library, function)), flush=True)
    await further(caller, library)


async def deadline(caller: Caller, path: str, function: str) -> None:
    """One call that does not end; then others."""
    library = load(path)
    print(await caller(library.Add, 2, 3), flush=True)
    print(await caller(getattr(library, function), timeout=0.2), flush=True)
    await further(caller, library)


def in_worker(path: str, function: str, *arguments: int) -> int:
    """Run in a worker process."""
    result: int = getattr(load(path), function)(*arguments)
    return result


async def functions_in_workers(caller: Caller, path: str) -> None:
    """Functions of the library, in worker processes."""
    library = load(path)
    print("works", await caller(library.Work, MILLISECONDS), await caller(library.Recovered, 5))
    print("add", *[await caller(library.Add, 2, 3, timeout=5) for _ in range(3)])
    for function in library.NilDereference, library.Panic, library.CrashInC:
        print(await caller(function, timeout=5), await caller(library.Work, 100, timeout=10))
    for function in library.Spin, library.SpinInC:
        print(await caller(function, timeout=1), await caller(library.Work, 100, timeout=10))


async def workers(caller: Caller, path: str) -> None:
    """Go in Python callables, in worker processes."""
    print(await caller(in_worker, path, "Recovered", 5), await caller(in_worker, path, "Work", 100))
    for function in "NilDereference", "Panic", "CrashInC":
        print(function, await caller(in_worker, path, function))
    for function in "Spin", "SpinInC":
        print(function, await caller(in_worker, path, function, timeout=2))
    print(await caller(in_worker, path, "Add", 2, 3))


TIERS = "thread", "inline"
ORDERS = "go-in-front", "go-behind"
RIGHT = "add 5 5 5 work 1, main thread 5 1, went on"

ASKED = " handlers=library"
OWN = f"recovered 5, divided 1, {RIGHT}"

TRIALS = (
    *(Trial(recovered, tier + ASKED, OWN, ("go-behind",)) for tier in TIERS),
    Trial(failing, "thread" + ASKED, "NifSignal SIGABRT, *", ("go-behind", "NilDereference")),
    Trial(go_in_python, "none", "5 1 1, 5 1 1, went on", ("aionif-first",)),
    Trial(go_in_python, "none", "5 1 1, 5 1 1, went on", ("go-first",)),
    *(
        Trial(works, tier, f"1 10000, {together}alarms, {RIGHT}", (order,))
        for tier, together in (("thread", "1 1 1 1, "), ("inline", ""))
        for order in ORDERS
    ),
    Trial(recovered, "inline", OWN, ("go-in-front",)),
    *(Trial(recovered, tier, "recovered NifSignal SIGSEGV, *", ("go-behind",)) for tier in TIERS),
    *(
        Trial(failing, "thread", f"NifSignal {sign}, *", ("go-behind", function))
        for function, sign in (
            ("NilDereference", "SIGSEGV"),
            ("Panic", "SIGABRT"),
            ("CrashInC", "SIGSEGV"),
        )
    ),
    Trial(deadline, "thread", f"5, NifTimeout, {RIGHT}", ("Spin",)),
    Trial(deadline, "thread", f"5, NifTimeout, {RIGHT}", ("SpinInC",)),
    Trial(deadline, "inline", "5, hung", ("Spin",)),
    Trial(
        functions_in_workers,
        "process",
        "works 1 5, add 5 5 5, NifSignal SIGABRT 1, NifSignal SIGABRT 1, NifSignal SIGSEGV 1, "
        "NifTimeout 1, NifTimeout 1, went on",
    ),
    Trial(
        workers,
        "process",
        "5 1, NilDereference NifSignal SIGABRT, Panic NifSignal SIGABRT, "
        "CrashInC NifSignal SIGSEGV, Spin NifTimeout, SpinInC NifTimeout, 5, went on",
    ),
)


def main() -> int:
    """Build and try."""
    if not shutil.which("go"):
        missing("go (apt-get install golang-go)")
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "libtried.so"
        source = Path(__file__).with_suffix(".go")
        command: list[Any] = ["go", "build", "-buildmode=c-shared", "-o", path, source]
        environment = {**os.environ, "GO111MODULE": "off", "CGO_ENABLED": "1"}
        subprocess.run(command, check=True, env=environment, timeout=5 * SECONDS)
        return run(TRIALS, path)


if __name__ == "__main__":
    sys.exit(main())
