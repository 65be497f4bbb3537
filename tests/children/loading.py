"""A program whose native code crashes inside the dynamic linker, and that goes on to load.

    loading.py  callback|dlopen  LIBRARY

The call is of the library's function that crashes in a callback of dl_iterate_phdr(), or dlopen()
of the library. It is made twice; then a worker, a new thread and this one each load something.
"""

from __future__ import annotations

import asyncio
import ctypes
import sys
import threading
from typing import TYPE_CHECKING

import aionif

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

kind, library = sys.argv[1:]
SECONDS = 30

libc = aionif.load("libc.so.6", "void *dlopen(const char *, int);")


def calls(executor: aionif.NifExecutor) -> Callable[[], Awaitable[object]]:
    if kind == "callback":
        crash = aionif.load(library, "int crash_in_callback(void);").crash_in_callback
        return lambda: executor.execute_nif(crash)
    return lambda: executor.execute_nif(libc.dlopen, library.encode(), 2)


async def main() -> None:
    async with aionif.NifExecutor(max_workers=2) as executor:
        call = calls(executor)
        for _ in range(2):
            try:
                print("returned" if await call() else "failed", flush=True)
            except aionif.NifSignal as crash:
                print(crash.signal.name, *crash.report.taint, flush=True)
        loaded = await executor.execute_nif(libc.dlopen, b"libm.so.6", 2, timeout=SECONDS)
        print("a worker", bool(loaded), flush=True)
        thread = threading.Thread(target=ctypes.CDLL, args=("libm.so.6",), daemon=True)
        thread.start()
        await asyncio.to_thread(thread.join, SECONDS)
        print("a thread", not thread.is_alive(), executor.statistics().retired, flush=True)
    ctypes.CDLL("libresolv.so.2")
    print("end", flush=True)


asyncio.run(main())
