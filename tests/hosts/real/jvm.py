"""A JVM (`apt-get install default-jdk-headless`): its own faults beside those of calls.

A JVM makes exceptions of faults: a read through null, the pages below a stack. Its handler knows
them by the thread and the pc. It goes on at another pc, or at the same one where it has unprotected
a page. What is not its own it shows to the handler that was there before it, and where there was
none it ends the program.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.hosts.real.trial import SECONDS, Caller, Trial, build, missing, run

HERE = Path(__file__).parent
NULLS, COLLECTIONS = 20_000, 200


class Machine:
    """The library with the JVM in it, started on the thread that makes this."""

    def __init__(self, path: str) -> None:
        self.library = ctypes.CDLL(path)
        self.java = self.library.java
        self.java.argtypes = [ctypes.c_char_p, ctypes.c_int]
        self.library.start_jvm.argtypes = [ctypes.c_char_p, ctypes.c_char_p]
        self.library.crash.argtypes = self.library.spin.argtypes = []
        java = str(home() / "lib/server/libjvm.so").encode()
        code = self.library.start_jvm(java, str(Path(path).parent).encode())
        if code:
            sys.exit(f"the JVM did not start: {code}")

    def direct(self) -> str:
        """What Java does on this thread, without aionif."""
        asked = (b"nulls", NULLS), (b"deep", 3), (b"collect", COLLECTIONS)
        return " ".join(str(self.java(*question)) for question in asked)


def home() -> Path:
    """Return the directory of the JDK that `javac` belongs to."""
    compiler = shutil.which("javac")
    if compiler is None:
        missing("javac (apt-get install default-jdk-headless)")
    return Path(compiler).resolve().parents[1]


async def settle() -> None:
    """Have the handlers of aionif put in front."""
    import aionif

    async with aionif.NifExecutor() as executor:
        await executor.execute_nif(ctypes.CDLL(None).usleep, 1_200_000)


async def java_in_python(path: str, order: str) -> None:
    """No call is made of it: the main thread alone, before and after the handlers are in order."""
    if order == "aionif-first":
        import aionif  # noqa: F401 - its handlers are there before the JVM's
    machine = Machine(path)
    print(machine.direct())
    await settle()
    print(machine.direct())


async def java_in_calls(caller: Caller, path: str) -> None:
    """Java in calls, on whatever thread and stack they have."""
    machine = Machine(path)
    await settle()
    print("nulls", await caller(machine.java, b"nulls", NULLS))
    print("collect", await caller(machine.java, b"collect", COLLECTIONS))
    print("again", await caller(machine.java, b"nulls", NULLS), machine.direct())


async def overflow_in_calls(caller: Caller, path: str) -> None:
    """Recursion in Java, in a call."""
    machine = Machine(path)
    await settle()
    print("deep", await caller(machine.java, b"deep", 3))
    print(machine.direct())


async def crash_beside(path: str, order: str, tier: str) -> None:
    """A crash of C that has nothing to do with Java, with a JVM in the process."""
    if order == "aionif-first":
        import aionif
    machine = Machine(path)
    import aionif

    async with aionif.NifExecutor() as executor:
        caller = Caller(tier, executor)
        for _ in range(2):
            print(await caller(machine.library.crash))
        await settle()
        print(await caller(machine.library.crash), machine.direct())


async def crash_below_java(caller: Caller, path: str) -> None:
    """A crash of C that Java has called, in a call; then Java again."""
    machine = Machine(path)
    await settle()
    print(await caller(machine.java, b"crash", 0), flush=True)
    print(machine.direct())


async def deadline_in_c(caller: Caller, path: str) -> None:
    """A loop in C; then Java again."""
    machine = Machine(path)
    print(await caller(machine.library.spin, timeout=0.2))
    print(machine.direct())


async def deadline_in_java(caller: Caller, path: str) -> None:
    """A loop in Java; then Java again, collections too."""
    machine = Machine(path)
    print(await caller(machine.java, b"spin", 1, timeout=0.2), flush=True)
    print(machine.java(b"nulls", NULLS), flush=True)
    print(machine.direct())


def in_worker(path: str, method: str, argument: int) -> Any:
    """Run in a worker process."""
    global _machine  # noqa: PLW0603 - one JVM for each process
    _machine = _machine or Machine(path)
    if method == "crash":
        return _machine.library.crash()
    return _machine.java(method.encode(), argument)


_machine: Machine | None = None


async def workers(caller: Caller, path: str) -> None:
    """Java in Python callables, in worker processes."""
    for method, argument in ("nulls", NULLS), ("deep", 3), ("collect", COLLECTIONS), ("crash", 0):
        print(method, await caller(in_worker, path, method, argument))
    print("spin", await caller(in_worker, path, "spin", 1, timeout=5))
    print("nulls", await caller(in_worker, path, "nulls", NULLS))


RIGHT = f"{NULLS} 3 1"
CRASHED = "NifSignal SIGSEGV"
CANT_ATTACH = "-2"
OVERFLOWS = "-4"  # the JVM takes the call's stack for one that is at its end

BOTH = " handlers=library stack=thread"
TIERS = ("thread", "inline")

TRIALS = (
    *(
        Trial(function, tier + BOTH, f"{said}{RIGHT}, went on")
        for tier in TIERS
        for function, said in (
            (java_in_calls, f"nulls {NULLS}, collect 1, again {NULLS} "),
            (overflow_in_calls, "deep 3, "),
            (deadline_in_c, "NifTimeout, "),
        )
    ),
    *(Trial(crash_below_java, tier + BOTH, f"{CRASHED}, died of SIG*") for tier in TIERS),
    Trial(deadline_in_java, "thread" + BOTH, f"NifTimeout, {NULLS}, {RIGHT}, went on"),
    Trial(deadline_in_java, "inline" + BOTH, "hung"),
    Trial(java_in_python, "none", f"{RIGHT}, {RIGHT}, went on", ("aionif-first",)),
    Trial(java_in_python, "none", f"{RIGHT}, {RIGHT}, went on", ("jvm-first",)),
    *(
        Trial(function, tier, f"{name} {said}, *{RIGHT}, went on")
        for function, name in ((java_in_calls, "nulls"), (overflow_in_calls, "deep"))
        for tier, said in (("thread", CANT_ATTACH), ("inline", OVERFLOWS))
    ),
    *(
        Trial(
            crash_beside, "none", f"{CRASHED}, {CRASHED}, {CRASHED} {RIGHT}, went on", (order, tier)
        )
        for order in ("aionif-first", "jvm-first")
        for tier in TIERS
    ),
    Trial(crash_below_java, "thread", f"{CANT_ATTACH}, {RIGHT}, went on"),
    Trial(crash_below_java, "inline", f"{OVERFLOWS}, {RIGHT}, went on"),
    Trial(deadline_in_c, "thread", f"NifTimeout, {RIGHT}, went on"),
    Trial(deadline_in_c, "inline", f"NifTimeout, {RIGHT}, went on"),
    Trial(deadline_in_java, "thread", f"{CANT_ATTACH}, {NULLS}, {RIGHT}, went on"),
    Trial(deadline_in_java, "inline", f"{OVERFLOWS}, {NULLS}, {RIGHT}, went on"),
    Trial(
        workers,
        "process",
        f"nulls {NULLS}, deep 3, collect 1, crash {CRASHED}, "
        f"spin NifTimeout, nulls {NULLS}, went on",
    ),
)


def main() -> int:
    """Build and try."""
    include = home() / "include"
    with tempfile.TemporaryDirectory() as place:
        source = (HERE / "jvm.c").read_text(encoding="utf-8")
        directories = f"-I{include}", f"-I{include}/linux"
        path = build(Path(place), source, *directories, package="default-jdk-headless")
        command: list[Any] = ["javac", "-d", place, HERE / "Tried.java"]
        subprocess.run(command, check=True, timeout=SECONDS)
        return run(TRIALS, path)


if __name__ == "__main__":
    sys.exit(main())
