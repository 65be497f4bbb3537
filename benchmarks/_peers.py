"""The process pools that the process tier is measured against, and one call of each."""

from __future__ import annotations

import asyncio
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from anyio import to_process

import aionif
from aionif.futures import NifProcessPoolExecutor
from benchmarks._subjects import direct

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

__all__ = ("Peers", "echo", "native", "peers")

WORKERS = 2


def native(number: int) -> int:
    """Call `labs` in a worker of a peer, which can't be given the function itself."""
    result: int = direct(number)
    return result


def echo(data: bytes) -> bytes:
    """Return what was given."""
    return data


@dataclass(frozen=True, slots=True)
class Peers:
    """All with two workers: the process tier, the thread tier, and the pools of others."""

    ours: aionif.NifExecutor
    threads: aionif.NifExecutor
    futures: NifProcessPoolExecutor
    pool: Callable[..., Awaitable[Any]]
    anyio: Callable[..., Awaitable[Any]]
    standard: ProcessPoolExecutor


@asynccontextmanager
async def peers() -> AsyncIterator[Peers]:
    """Open all executors."""
    loop = asyncio.get_running_loop()
    # A fork of this process, the default before Python 3.14, would copy its threads' locks.
    context = multiprocessing.get_context("spawn")
    with (
        ProcessPoolExecutor(WORKERS, mp_context=context) as standard,
        NifProcessPoolExecutor(WORKERS) as futures,
    ):
        async with (
            aionif.NifExecutor(isolation="process", max_workers=WORKERS) as ours,
            aionif.NifExecutor(max_workers=WORKERS) as threads,
        ):

            def pool(function: Callable[..., Any], *arguments: Any) -> Awaitable[Any]:
                return loop.run_in_executor(standard, function, *arguments)

            def anyio(function: Callable[..., Any], *arguments: Any) -> Awaitable[Any]:
                return to_process.run_sync(function, *arguments)

            yield Peers(ours, threads, futures, pool, anyio, standard)
