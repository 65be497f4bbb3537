"""Pools of worker processes that other libraries have.

Workers are forked from a server process where the library leaves the choice: that is the fastest
start that is safe in a program with threads. A deadline is the library's own where it has one.
"""

from __future__ import annotations

import asyncio
import importlib
import multiprocessing
from concurrent.futures import ProcessPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from anyio import to_process

from aionif.bench._subjects_threads import within

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aionif.bench.workload import Work

__all__ = (
    "anyio_process",
    "deadpool_executor",
    "loky_executor",
    "pebble_pool",
    "process_pool",
    "trio_parallel_pool",
)

_ENDING = 2.0  # seconds
_QUEUE = 1 << 18  # deadpool's own bound would block the event loop


def _submitting(executor: Any) -> Callable[..., Callable[[], Any]]:
    loop = asyncio.get_running_loop()

    def bind(work: Work, *, timeout: float | None = None) -> Callable[[], Any]:
        function, *arguments = (*work.remote, *work.arguments)
        call = partial(loop.run_in_executor, executor, function, *arguments)
        return within(call, timeout)

    return bind


@asynccontextmanager
async def process_pool(workers: int) -> AsyncIterator[Any]:
    """`loop.run_in_executor` with the standard library's pool."""
    context = multiprocessing.get_context("forkserver")
    pool = ProcessPoolExecutor(workers, mp_context=context)
    yield _submitting(pool)
    pool.shutdown(wait=False, cancel_futures=True)


@asynccontextmanager
async def loky_executor(workers: int) -> AsyncIterator[Any]:
    """`loop.run_in_executor` with the executor that loky keeps, and replaces once it is broken."""
    loky = importlib.import_module("loky")  # optional, as all below: and none has types to check
    pool = loky.get_reusable_executor(max_workers=workers)
    yield _submitting(pool)
    pool.shutdown(wait=False, kill_workers=True)


@asynccontextmanager
async def anyio_process(workers: int) -> AsyncIterator[Any]:
    """`anyio.to_process.run_sync`, with a limiter of as many processes."""
    limiter = anyio.CapacityLimiter(workers)

    def bind(work: Work, *, timeout: float | None = None) -> Callable[[], Any]:
        function, *arguments = (*work.remote, *work.arguments)
        call = partial(to_process.run_sync, function, *arguments, limiter=limiter, cancellable=True)
        return within(call, timeout)

    yield bind


@asynccontextmanager
async def pebble_pool(workers: int) -> AsyncIterator[Any]:
    """`ProcessPool.schedule`, whose future is awaited."""
    pebble = importlib.import_module("pebble")
    context = multiprocessing.get_context("forkserver")
    pool = pebble.ProcessPool(workers, context=context)
    loop = asyncio.get_running_loop()

    def bind(work: Work, *, timeout: float | None = None) -> Callable[[], Any]:
        function, *arguments = (*work.remote, *work.arguments)

        def call() -> Any:
            future = pool.schedule(function, args=arguments, timeout=timeout)
            return asyncio.wrap_future(future, loop=loop)

        return call

    yield bind
    pool.stop()
    with suppress(TimeoutError):  # a thread of its own kills the workers, and takes its time
        await asyncio.to_thread(pool.join, _ENDING)


@asynccontextmanager
async def deadpool_executor(workers: int) -> AsyncIterator[Any]:
    """`Deadpool.submit`, whose future is awaited."""
    deadpool = importlib.import_module("deadpool")
    pool = deadpool.Deadpool(workers, max_backlog=_QUEUE)
    loop = asyncio.get_running_loop()

    def bind(work: Work, *, timeout: float | None = None) -> Callable[[], Any]:
        def call() -> Any:
            future = pool.submit(*work.remote, *work.arguments, deadpool_timeout=timeout)
            return asyncio.wrap_future(future, loop=loop)

        return call

    yield bind
    pool.shutdown(wait=False, cancel_futures=True)


@asynccontextmanager
async def trio_parallel_pool(workers: int) -> AsyncIterator[Any]:
    """`trio_parallel.run_sync`, with a limiter of as many processes."""
    trio, trio_parallel = map(importlib.import_module, ("trio", "trio_parallel"))
    limiter = trio.CapacityLimiter(workers)

    def bind(work: Work, *, timeout: float | None = None) -> Callable[[], Any]:
        call = partial(
            trio_parallel.run_sync,
            *work.remote,
            *work.arguments,
            limiter=limiter,
            kill_on_cancel=True,
        )
        return within(call, timeout)

    yield bind
