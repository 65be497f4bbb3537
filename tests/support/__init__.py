"""Helpers of the tests: event loops, libraries compiled on the spot, child processes, counts."""

from __future__ import annotations

import asyncio
import os
import resource
import subprocess
import sys
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio

from aionif import load
from aionif.loops.port import orphans
from aionif.testing import gallery

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aionif import NifExecutor, NifLibrary
    from aionif.executor import NifSession

BACKENDS = ("asyncio", "uvloop", "trio")

DEADLINE = 60.0
"""Seconds for one run of an event loop, or one child process; far more than any needs."""

SETTLING = 10.0
"""Seconds that what has ended gets to be gone from the lists of the kernel, on a busy machine."""

POLL = 0.001
"""Seconds between two looks at something that has no event of its own."""


# ---- event loops ----


def run_on(
    backend: str,
    function: Callable[..., Awaitable[Any]],
    *arguments: Any,
    deadline: float = DEADLINE,
) -> Any:
    """Run `function(*arguments)` in a new event loop; TimeoutError if it does not end in time."""

    async def main() -> Any:
        with anyio.fail_after(deadline):
            return await function(*arguments)

    if backend == "trio":
        import trio

        return trio.run(main)
    with asyncio.Runner(loop_factory=_loop_factory(backend)) as runner:
        return runner.run(main())


def _loop_factory(backend: str) -> Callable[[], asyncio.AbstractEventLoop] | None:
    if backend == "uvloop":
        import uvloop

        return uvloop.new_event_loop
    assert backend == "asyncio"
    return None


async def until(condition: Callable[[], bool], seconds: float = DEADLINE) -> None:
    """Return once `condition()` holds; TimeoutError if it does not within `seconds`."""
    with anyio.fail_after(seconds):
        while not condition():  # noqa: ASYNC110 - what it looks at sets no event
            await anyio.sleep(POLL)


def wait_until(condition: Callable[[], bool], seconds: float = DEADLINE) -> None:
    """Do the same without an event loop."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError
        time.sleep(POLL)


earlier_calls: set[int] = set()
"""Calls of earlier tests that never return."""


def kept_for_calls() -> set[int]:
    """Return this test's calls nobody waits for, whose arguments are still kept."""
    return orphans.keys() - earlier_calls


async def gather(*functions: Callable[[], Awaitable[Any]]) -> list[Any]:
    """Run all of them at once; return their results, or the exceptions in their places."""
    results: list[Any] = [None] * len(functions)

    async def keep(index: int, function: Callable[[], Awaitable[Any]]) -> None:
        try:
            results[index] = await function()
        except Exception as error:  # noqa: BLE001 - it is the result
            results[index] = error

    async with anyio.create_task_group() as group:
        for index, function in enumerate(functions):
            group.start_soon(keep, index, function)
    return results


# ---- native libraries ----


def noted(direct: Any) -> list[int]:
    """Return what calls of the probe library's `note` were given, in their order."""
    return [direct.noted(place) for place in range(direct.count_noted())]


async def noted_in_turn(
    count: int, caller: NifExecutor | NifSession, executor: NifExecutor, probe: Any, gate: Any
) -> list[int]:
    """Queue so many calls of `note`, one by one, behind one at the gate; return what they noted."""
    gate.forget_notes()
    async with anyio.create_task_group() as group:
        group.start_soon(caller.execute_nif, probe.wait_at_gate, 0)
        await until(lambda: gate.count_at_gate() == 1)
        for number in range(count):
            group.start_soon(caller.execute_nif, probe.note, number)
            await until(lambda n=number: executor.statistics().queued > n)  # type: ignore[misc]
        gate.open_gate()
    return noted(gate)


PROBE_CDEF = """
    void sleep_ms(int);
    long add(long, long);
    double half(double);
    const char *text(void);
    void nothing(void);
    int set_errno(int, int);
    int get_errno(int);
    int thread_id(void);
    int calls_on_this_thread(void);
    long sum_twice(const unsigned char *, long, int);
    void close_gate(void);
    void open_gate(void);
    int count_at_gate(void);
    void forget_gate(void);
    int wait_at_gate(int);
    int note(int);
    int noted(int);
    int count_noted(void);
    void forget_notes(void);
    int enter(int);
    void crash_together(int);
"""


def build_library(
    directory: Path, source: str, *flags: str, name: str = "probe", compiler: str = "gcc"
) -> Path:
    """Compile C (or with compiler="g++", C++) into `lib<name>.so` in `directory`."""
    suffix = ".cc" if compiler == "g++" else ".c"
    code, library = directory / f"{name}{suffix}", directory / f"lib{name}.so"
    code.write_text(textwrap.dedent(source))
    command = [compiler, "-O1", "-g", "-shared", "-fPIC", "-pthread", *flags]
    subprocess.run([*command, code, "-o", library], check=True, timeout=DEADLINE)
    return library


def load_gallery(language: gallery.Language = "c") -> NifLibrary:
    """Return one part of the crash gallery with all its functions declared."""
    specimens = [s for s in gallery.available() if s.language == language]
    return load(gallery.library_path(language), "".join(s.cdef for s in specimens))


def long_double(ffi: Any, digits: int, exponent: int = 0) -> Any:
    """Return a cffi long double with all 64 bits of `digits`, more than a double can have."""
    box = ffi.new("long double *")
    x87 = (digits | 1 << 63).to_bytes(8, "little") + (16383 + exponent).to_bytes(2, "little")
    ffi.memmove(box, x87, len(x87))
    return box[0]


# ---- child processes ----

_IMPORT_AND_CALL = """
import importlib, sys
checkout, module, name, *arguments = sys.argv[1:]
sys.path.append(checkout)
getattr(importlib.import_module(module), name)(*arguments)
"""


def run_child(
    function: Callable[..., None], *arguments: str, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Call a function of a test module in an interpreter of its own, without a core dump.

    It should print something before it does what may kill the process: a child that died earlier
    must not pass for one that died of it.
    """
    place = (str(Path(__file__).parents[2]), function.__module__, function.__qualname__)
    return subprocess.run(
        [sys.executable, "-c", _IMPORT_AND_CALL, *place, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
        env={**os.environ, **environment},
        preexec_fn=no_core_dump,
    )


def no_core_dump() -> None:
    """Turn core dumps off for this process."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


# ---- what a process holds ----


class Holdings(NamedTuple):
    """What must not grow: counts of threads, open descriptors and memory mappings."""

    threads: int
    descriptors: int
    mappings: int


def holdings() -> Holdings:
    """Count what this process holds now."""
    with Path("/proc/self/maps").open(encoding="utf-8", errors="surrogateescape") as maps:
        mappings = sum(1 for _ in maps)
    threads, descriptors = (len(list(Path(f"/proc/self/{of}").iterdir())) for of in ("task", "fd"))
    return Holdings(threads, descriptors, mappings)


def assert_nothing_leaks(function: Callable[[], object], *, times: int = 5) -> None:
    """Call `function` until it has what it keeps for good, then more often: nothing must be added.

    A thread that was joined may be listed for a moment yet, so the counts get time to settle.
    """
    for _ in range(3):
        function()
    before = holdings()
    for _ in range(times):
        function()
    deadline = time.monotonic() + SETTLING
    while grown := _grown(before, after := holdings()):
        assert time.monotonic() < deadline, (grown, before, after)
        time.sleep(POLL)


def _grown(before: Holdings, after: Holdings) -> list[str]:
    return [key for key, then in before._asdict().items() if getattr(after, key) > then]
