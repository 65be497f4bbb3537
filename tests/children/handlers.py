"""A program with another library's handler for SIGSEGV in it, and with aionif or without.

    handlers.py  with|without  before|after|reclaimed  counts|jumps|exits  inside|outside  LIBRARY

The library's handler is installed before aionif's, after it, or after it and with aionif's in front
again. It prints what comes of a fault inside a native call, or outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

presence, order, kind, place, library = sys.argv[1:]
neighbour = ctypes.CDLL(library)


@contextlib.asynccontextmanager
async def company() -> AsyncIterator[None]:
    """aionif with an executor that runs, where it is to be present."""
    if presence == "without":
        yield
        return
    import aionif

    libc = aionif.load(None, "int usleep(unsigned);")
    async with aionif.NifExecutor() as executor:
        await executor.execute_nif(libc.usleep, 1)
        if order != "before":
            neighbour.install(kind.encode())
        if order == "reclaimed":
            await executor.execute_nif(libc.usleep, 60_000)
        yield


def crash_inside() -> None:
    """Inline, where no watchdog changes the order of handlers meanwhile."""
    import aionif

    native = aionif.load(library, "void crash(void);")
    for _ in range(2):
        try:
            aionif.call_nif(native.crash)
        except aionif.NifSignal as error:
            print(error.signal.name, error.address, neighbour.counted(), flush=True)


async def main() -> None:
    async with company():
        print("crashing", flush=True)
        if place == "inside":
            crash_inside()
        else:
            if kind == "jumps":
                print("jumped", [neighbour.probe() for _ in range(5)], flush=True)
            neighbour.crash()
    print("alive", flush=True)


if order == "before" or presence == "without":
    neighbour.install(kind.encode())
asyncio.run(main())
