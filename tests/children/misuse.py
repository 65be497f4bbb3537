"""A program whose native code misuses the heap, and that goes on to use it.

    misuse.py  LIBRARY  thread|inline  FUNCTION  SIZE...

For each size a process of its own calls the function twice and then has every thread there is, and
new ones, take and give back 10,000 blocks. It prints what came of the calls, and "works" if all
blocks were as they had been left; then how the process ended: 0 says that it went on.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import sys
import threading
from typing import Any

import aionif

path, tier, function = sys.argv[1:4]
BLOCKS, THREADS, SECONDS = 10_000, 4, 60

library = aionif.load(path, f"void {function}(size_t); size_t use_heap(size_t);")
use_heap_directly = ctypes.CDLL(path).use_heap
use_heap_directly.argtypes = [ctypes.c_size_t]
use_heap_directly.restype = ctypes.c_size_t


async def misuse(executor: aionif.NifExecutor, size: int) -> str:
    try:
        if tier == "inline":
            aionif.call_nif(getattr(library, function), size)
        else:
            await executor.execute_nif(getattr(library, function), size)
    except aionif.NifError as error:
        return type(error).__name__
    return "result"


async def use_heap(executor: aionif.NifExecutor) -> list[object]:
    """On all workers, on new threads, on this one. How many blocks were spoilt, each time."""
    calls = [executor.execute_nif(library.use_heap, BLOCKS, timeout=SECONDS) for _ in range(8)]
    spoilt: list[Any] = await asyncio.gather(*calls, return_exceptions=True)
    threads = [
        threading.Thread(target=lambda: spoilt.append(use_heap_directly(BLOCKS)), daemon=True)
        for _ in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join, SECONDS)
    spoilt.append(use_heap_directly(BLOCKS))
    return spoilt


async def main(size: int) -> None:
    async with aionif.NifExecutor(max_workers=THREADS) as executor:
        said = [await misuse(executor, size) for _ in range(2)]
        spoilt = await use_heap(executor)
        said.append("works" if spoilt == [0] * 13 else str(spoilt))
    print(*said, flush=True, end=" ")


for size in map(int, sys.argv[4:]):
    child = os.fork()
    if child == 0:
        asyncio.run(main(size))
        os._exit(0)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    print(status, flush=True)
