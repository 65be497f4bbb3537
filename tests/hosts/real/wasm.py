"""wasmtime (`pip install wasmtime`): traps that are its own, in Python and in calls through aionif.

wasmtime compiles traps to faults: SIGILL for `unreachable`, SIGSEGV for a memory access out of bounds.
Its handler knows them by the pc and goes on at the wasm entry, by a changed context.
"""

from __future__ import annotations

import ctypes
import importlib.util
import sys
from pathlib import Path
from typing import Any

from tests.hosts.real.trial import Caller, Trial, missing, run

WAT = """
(module
  (memory (export "memory") 1)
  (func (export "add") (param i32 i32) (result i32) local.get 0 local.get 1 i32.add)
  (func (export "unreachable") unreachable)
  (func (export "bounds") (drop (i32.load (i32.const 0x7fffffff))))
  (func $deep (export "deep") call $deep)
  (func (export "divide") (drop (i32.div_s (i32.const 1) (i32.const 0))))
  (func (export "spin") (loop br 0)))
"""
TRAPS = ("unreachable", "bounds", "deep", "divide")


class Program:
    """An instance of the module in a store of its own."""

    def __init__(self) -> None:
        import wasmtime

        self.wasmtime = wasmtime
        self.store = wasmtime.Store(wasmtime.Engine())
        module = wasmtime.Module(self.store.engine, WAT)
        self.exports = wasmtime.Instance(self.store, module, []).exports(self.store)

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
            call, self.store._context(), function, given, len(given), results, len(results), trap,
        )

    async def called(self, caller: Caller, name: str, *values: int, **options: Any) -> str:
        """Call it through aionif."""
        said = await caller(*self.arguments(name, *values), **options)
        if said != "None":
            return said
        _, results, trap = self.kept
        return "trapped" if trap.contents else str([result.of.i32 for result in results])


async def traps_in_python(path: str, order: str) -> None:
    """Traps on the main thread, without a call: before and after the handlers were put in order."""
    if order == "wasmtime-first":
        Program()
    import aionif

    program = Program()
    libc = ctypes.CDLL(None)
    for _ in range(2):
        print(*[program.direct(name) for name in TRAPS], program.direct("add", 2, 3))
        async with aionif.NifExecutor() as executor:
            await executor.execute_nif(libc.usleep, 1_200_000)


async def traps_in_calls(caller: Caller, path: str, order: str) -> None:
    """Traps of wasm that a call has called; then calls and traps of all kinds again."""
    libc = ctypes.CDLL(None)
    await caller(libc.getpid)
    program = Program()
    if order == "wasmtime-behind":
        await reclaim()
    for name in TRAPS:
        print(name, await program.called(caller, name))
    print(await program.called(caller, "add", 2, 3))
    program = Program()
    print(await program.called(caller, "add", 2, 3), program.direct("bounds"))


async def reclaim() -> None:
    """Have the handlers of aionif put in front again."""
    import aionif

    async with aionif.NifExecutor() as executor:
        await executor.execute_nif(ctypes.CDLL(None).usleep, 1_200_000)


async def deadline(caller: Caller, path: str) -> None:
    """A loop in wasm that never ends; then further calls."""
    program = Program()
    print(await program.called(caller, "spin", timeout=0.2))
    program = Program()
    print(await program.called(caller, "add", 2, 3), program.direct("bounds"))


def in_worker(name: str, *arguments: int) -> str:
    """Run in a worker process."""
    return Program().direct(name, *arguments)


async def callables(caller: Caller, path: str) -> None:
    """Python callables that run wasm, in worker processes."""
    for name in TRAPS:
        print(name, await caller(in_worker, name))
    print(await caller(in_worker, "add", 2, 3))
    print(await caller(in_worker, "spin", timeout=0.5))
    print(await caller(in_worker, "add", 2, 3))


TRIALS = (
    Trial(traps_in_python, "none", "", ("wasmtime-first",)),
    Trial(traps_in_python, "none", "", ("aionif-first",)),
    Trial(traps_in_calls, "thread", "", ("wasmtime-in-front",)),
    Trial(traps_in_calls, "thread", "", ("wasmtime-behind",)),
    Trial(traps_in_calls, "inline", "", ("wasmtime-in-front",)),
    Trial(traps_in_calls, "inline", "", ("wasmtime-behind",)),
    Trial(deadline, "thread", ""),
    Trial(deadline, "inline", ""),
    Trial(callables, "process", ""),
)

if __name__ == "__main__":
    if importlib.util.find_spec("wasmtime") is None:
        missing("wasmtime (pip install wasmtime)")
    sys.exit(run(TRIALS, Path()))
