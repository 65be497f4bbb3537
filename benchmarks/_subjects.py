"""The functions that are called, and the two ways of calling them: ours and a thread pool."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cffi

import aionif
from aionif.testing.gallery import library_path

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

__all__ = ("Sides", "crasher", "direct", "sides", "silent_log", "wrapped")

_LABS = "long labs(long);"

_ffi = cffi.FFI()
_ffi.cdef(_LABS)
direct: Any = _ffi.dlopen(None).labs
"""`labs` of libc: as near to an empty function as a real library has one."""

wrapped: Any = aionif.load(None, _LABS).labs
"""The same function through aionif."""


def crasher() -> Any:
    """Return the function of the gallery that reads from address 16."""
    return aionif.load(library_path("c"), "int gallery_segv_read(void);").gallery_segv_read


@dataclass(frozen=True, slots=True)
class Sides:
    """One call of `labs`, through aionif and through the thread pool; both with their defaults."""

    executor: aionif.NifExecutor
    ours: Callable[[], Awaitable[int]]
    pool: Callable[[], Awaitable[int]]


@asynccontextmanager
async def sides() -> AsyncIterator[Sides]:
    """Open both executors, and have each make a first call."""
    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor() as threads:
        async with aionif.NifExecutor() as executor:

            def ours() -> Awaitable[int]:
                return executor.execute_nif(wrapped, -5)

            def pool() -> Awaitable[int]:
                return loop.run_in_executor(threads, direct, -5)

            for _ in range(100):
                await ours()
                await pool()
            yield Sides(executor, ours, pool)


def silent_log() -> None:
    """Log nothing of aionif: the measure is of crashes, not of where a log goes."""
    logging.getLogger("aionif").setLevel(logging.CRITICAL)
