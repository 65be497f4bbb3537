"""wasmtime (`pip install wasmtime`): traps that are its own, in Python and in calls through aionif.

wasmtime compiles traps to faults: SIGILL for `unreachable`, SIGSEGV for an access out of bounds.
Its handler knows them by the pc and goes on at the entry into wasm, by a changed context.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.hosts.real.trial import Caller, Trial, build, missing, run

WAT = """
(module
  (import "c" "crash" (func $crash))
  (func (export "crash") call $crash)
  (memory (export "memory") 1)
  (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add)
  (func (export "unreachable") unreachable)
  (func (export "bounds") (drop (i32.load (i32.const 0x7fffffff))))
  (func $deep (export "deep") call $deep)
  (func (export "divide") (drop (i32.div_s (i32.const 1) (i32.const 0))))
  (func (export "spin") (loop br 0)))
"""
HOST = "int crash(void) { return *(volatile int *)8; }"
NO_FINALIZER = ctypes.CFUNCTYPE(None, ctypes.c_void_p)(0)
TRAPS = ("unreachable", "bounds", "deep", "divide")


class Program:
    """An instance of the module in a store of its own."""

    def __init__(self, path: str) -> None:
        import wasmtime
        from wasmtime import _ffi as c

        self.wasmtime = wasmtime
        self.store = wasmtime.Store(wasmtime.Engine())
        module = wasmtime.Module(self.store.engine, WAT)
        crash = ctypes.cast(ctypes.CDLL(path).crash, c.wasmtime_func_callback_t)
        host, kind = c.wasmtime_func_t(), wasmtime.FuncType([], [])
        c.wasmtime_func_new(
            self.store._context(), kind.ptr(), crash, None, NO_FINALIZER, ctypes.byref(host)
        )
        imports = [wasmtime.Func._from_raw(host)]
        self.exports = wasmtime.Instance(self.store, module, imports).exports(self.store)

    def direct(self, name: str, *arguments: int) -> str:
        """Call it as Python does, without aionif."""
        try:
            return str(self.exports[name](self.store, *arguments))
        except self.wasmtime.Trap as trap:
            return str(trap.trap_code.name)

    def arguments(self, name: str, *values: int) -> tuple[Any, ...]:
        """Return the C function that calls an export, and its arguments."""
        from wasmtime import _ffi as c

        call = c.dll.wasmtime_func_call
        call.restype = ctypes.c_void_p
        given = (c.wasmtime_val_t * len(values))()
        for place, value in zip(given, values, strict=True):
            place.kind, place.of.i32 = c.WASMTIME_I32, value
        results = (c.wasmtime_val_t * len(values[:1]))()
        trap = ctypes.pointer(ctypes.POINTER(c.wasm_trap_t)())
        self.kept = given, results, trap
        function = ctypes.pointer(self.exports[name]._func)
        return (
            call,
            self.store._context(),
            function,
            given,
            len(given),
            results,
            len(results),
            trap,
        )

    async def called(self, caller: Caller, name: str, *values: int, **options: Any) -> str:
        """Call it through aionif."""
        said = await caller(*self.arguments(name, *values), **options)
        if said != "None":
            return said
        _, results, trap = self.kept
        return "trapped" if trap.contents else " ".join(str(result.of.i32) for result in results)


async def traps_in_python(path: str, order: str) -> None:
    """Traps on the main thread, without a call: before and after the handlers were put in order."""
    if order == "wasmtime-first":
        Program(path)
    import aionif

    program = Program(path)
    libc = ctypes.CDLL(None)
    for _ in range(2):
        print(*[program.direct(name) for name in TRAPS], program.direct("add", 2, 3))
        async with aionif.NifExecutor() as executor:
            await executor.execute_nif(libc.usleep, 1_200_000)


async def traps_in_calls(caller: Caller, path: str, order: str) -> None:
    """Traps of wasm that a call has called; then calls and traps of all kinds again."""
    libc = ctypes.CDLL(None)
    await caller(libc.getpid)
    program = Program(path)
    if order == "wasmtime-behind":
        await reclaim()
    for name in TRAPS:
        print(name, await program.called(caller, name))
    print(await program.called(caller, "add", 2, 3))
    program = Program(path)
    print(await program.called(caller, "add", 2, 3), program.direct("bounds"))


async def crash_of_the_host(caller: Caller, path: str, calls: str) -> None:
    """C that wasm has called crashes, in so many calls; then wasm again, each time in a new store.

    After some ten calls wasmtime, asked for a trap, may follow what they have left on their stacks.
    """
    program = Program(path)
    await reclaim()
    for _ in range(int(calls)):
        print(await program.called(caller, "crash"), flush=True)
        program = Program(path)
    for name in TRAPS:
        print(name, await Program(path).called(caller, name), flush=True)
    program = Program(path)
    print(await program.called(caller, "add", 2, 3), flush=True)
    print(*[program.direct(name) for name in TRAPS], program.direct("add", 2, 3))


async def reclaim() -> None:
    """Have the handlers of aionif put in front again."""
    import aionif

    async with aionif.NifExecutor() as executor:
        await executor.execute_nif(ctypes.CDLL(None).usleep, 1_200_000)


async def deadline(caller: Caller, path: str) -> None:
    """A loop in wasm that never ends; then further calls."""
    program = Program(path)
    print(await program.called(caller, "spin", timeout=0.2))
    program = Program(path)
    print(await program.called(caller, "add", 2, 3), program.direct("bounds"))


def in_worker(path: str, name: str, *arguments: int) -> str:
    """Run in a worker process."""
    return Program(path).direct(name, *arguments)


async def callables(caller: Caller, path: str) -> None:
    """Python callables that run wasm, in worker processes."""
    for name in TRAPS:
        print(name, await caller(in_worker, path, name))
    print(await caller(in_worker, path, "add", 2, 3))
    print("crash", await caller(in_worker, path, "crash"))
    print(await caller(in_worker, path, "spin", timeout=3))
    print(await caller(in_worker, path, "add", 2, 3))


CRASHED = "NifSignal SIGSEGV"
OWN = "UNREACHABLE MEMORY_OUT_OF_BOUNDS STACK_OVERFLOW INTEGER_DIVISION_BY_ZERO"
TAKEN = (
    "unreachable NifSignal SIGILL, bounds NifSignal SIGSEGV, "
    "deep NifSignal SIGILL, divide NifSignal SIGILL"
)
LEFT = "unreachable trapped, bounds trapped, deep trapped, divide trapped"
LATER = "5 MEMORY_OUT_OF_BOUNDS, went on"
AFTER = f"5, {LATER}"
WORKER = (
    "unreachable UNREACHABLE, bounds MEMORY_OUT_OF_BOUNDS, "
    "deep STACK_OVERFLOW, divide INTEGER_DIVISION_BY_ZERO"
)

# On threads wasmtime's handler is in front for ten milliseconds of calls at most: no trial of that.
ASKED = " handlers=library"
TIERS = ("thread", "inline")

TRIALS = (
    *(
        Trial(traps_in_calls, tier + ASKED, f"{LEFT}, {AFTER}", (order,))
        for tier in TIERS
        for order in ("wasmtime-behind", "wasmtime-in-front")
    ),
    *(
        Trial(crash_of_the_host, tier + ASKED, f"{CRASHED}, {LEFT}, 5, {OWN} 5, went on", ("1",))
        for tier in TIERS
    ),
    Trial(
        crash_of_the_host,
        "thread" + ASKED,
        20 * f"{CRASHED}, " + f"{LEFT}, 5, {OWN} 5, went on",
        ("20",),
    ),
    *(Trial(deadline, tier + ASKED, f"NifTimeout, {LATER}") for tier in TIERS),
    Trial(traps_in_python, "none", f"{OWN} 5, {OWN} 5, went on", ("wasmtime-first",)),
    Trial(traps_in_python, "none", f"{OWN} 5, {OWN} 5, went on", ("aionif-first",)),
    Trial(traps_in_calls, "thread", f"{TAKEN}, {AFTER}", ("wasmtime-behind",)),
    Trial(traps_in_calls, "inline", f"{TAKEN}, {AFTER}", ("wasmtime-behind",)),
    Trial(traps_in_calls, "inline", f"{LEFT}, {AFTER}", ("wasmtime-in-front",)),
    Trial(crash_of_the_host, "thread", f"{CRASHED}, {TAKEN}, 5, {OWN} 5, went on", ("1",)),
    Trial(crash_of_the_host, "inline", f"{CRASHED}, {TAKEN}, 5, {OWN} 5, went on", ("1",)),
    Trial(deadline, "thread", f"NifTimeout, {LATER}"),
    Trial(deadline, "inline", f"NifTimeout, {LATER}"),
    Trial(callables, "process", f"{WORKER}, 5, crash {CRASHED}, NifTimeout, 5, went on"),
)


def main() -> int:
    """Build what wasm calls, and try."""
    if importlib.util.find_spec("wasmtime") is None:
        missing("wasmtime (pip install wasmtime)")
    with tempfile.TemporaryDirectory() as place:
        return run(TRIALS, build(Path(place), HOST, package="gcc"))


if __name__ == "__main__":
    sys.exit(main())
