"""A direct call, and threads: what runs native code in the program's own process."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
from anyio import to_thread as anyio_to_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from aionif.bench.workload import Work

__all__ = ("anyio_thread", "direct", "thread_pool", "to_thread", "within")


def within(call: Callable[[], Awaitable[Any]], timeout: float | None) -> Callable[[], Any]:
    """Return the call with a deadline of the event loop's, for a library that has none itself."""
    if timeout is None:
        return call

    async def limited() -> Any:
        with anyio.fail_after(timeout):
            return await call()

    return limited


@asynccontextmanager
async def direct(_workers: int) -> AsyncIterator[Any]:
    """Nothing between the caller and the function."""

    def bind(work: Work, *, timeout: float | None = None) -> Callable[[], Any]:
        del timeout  # nobody would keep it
        return partial(work.direct, *work.arguments)

    yield bind


@asynccontextmanager
async def thread_pool(workers: int) -> AsyncIterator[Any]:
    """`loop.run_in_executor`."""
    loop = asyncio.get_running_loop()
    pool = ThreadPoolExecutor(workers)

    def bind(work: Work, *, timeout: float | None = None) -> Callable[[], Any]:
        call = partial(loop.run_in_executor, pool, work.direct, *work.arguments)
        return within(call, timeout)

    yield bind
    pool.shutdown(wait=False)  # a thread in a call that never returns would be waited for


@asynccontextmanager
async def to_thread(workers: int) -> AsyncIterator[Any]:
    """`asyncio.to_thread`, with the loop's own pool made as large as those of the others."""
    pool = ThreadPoolExecutor(workers)
    asyncio.get_running_loop().set_default_executor(pool)

    def bind(work: Work, *, timeout: float | None = None) -> Callable[[], Any]:
        return within(partial(asyncio.to_thread, work.direct, *work.arguments), timeout)

    yield bind
    pool.shutdown(wait=False)


@asynccontextmanager
async def anyio_thread(workers: int) -> AsyncIterator[Any]:
    """`anyio.to_thread.run_sync`, with a limiter of as many threads."""
    limiter = anyio.CapacityLimiter(workers)

    def bind(work: Work, *, timeout: float | None = None) -> Callable[[], Any]:
        call = partial(
            anyio_to_thread.run_sync,
            work.direct,
            *work.arguments,
            limiter=limiter,
            abandon_on_cancel=True,  # or the caller waits for what never returns
        )
        return within(call, timeout)

    yield bind
