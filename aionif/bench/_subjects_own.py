"""aionif's own tiers, as subjects."""

from __future__ import annotations

from contextlib import ExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import aionif
from aionif.bench.subjects import Refusal

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aionif.bench.workload import Work

__all__ = ("buffered", "filled", "inline", "processes", "threads")

# The queues of the others have no bound, so all that is sent at once must find room in ours.
_QUEUE = 1 << 18


@asynccontextmanager
async def inline(_workers: int) -> AsyncIterator[Any]:
    """Calls in the thread of the event loop, on a guarded stack."""

    def bind(work: Work, *, timeout: float | None = None) -> Callable[[], Any]:
        call = partial(aionif.call_nif, _native(work), *work.arguments)
        return call if timeout is None else partial(call, timeout=timeout)

    yield bind


def _native(work: Work) -> Any:
    if work.nif is None:
        raise Refusal("it calls native functions alone")
    return work.nif


@asynccontextmanager
async def _executor(workers: int, isolation: Literal["thread", "process"]) -> AsyncIterator[Any]:
    executor = aionif.NifExecutor(
        isolation=isolation, max_workers=workers, max_queue=_QUEUE, shutdown_timeout=0.1
    )
    async with executor:

        def bind(work: Work, *, timeout: float | None = None) -> Callable[[], Any]:
            remote = isolation == "process" and work.nif is None
            function, *first = work.remote if remote else (_native(work),)
            call = partial(executor.execute_nif, function, *first, *work.arguments)
            return call if timeout is None else partial(call, timeout=timeout)

        yield bind


threads = partial(_executor, isolation="thread")
processes = partial(_executor, isolation="process")


@asynccontextmanager
async def _with_buffer(workers: int, *, fills: bool) -> AsyncIterator[Any]:
    executor = aionif.NifExecutor(isolation="process", max_workers=workers, max_queue=_QUEUE)
    with ExitStack() as buffers:
        async with executor:

            def bind(work: Work, *, timeout: float | None = None) -> Callable[[], Any]:
                data, *rest = work.arguments or (None,)
                if not isinstance(data, bytes):
                    raise Refusal("there is no argument to lie in a Buffer")
                buffer = buffers.enter_context(aionif.Buffer(len(data)))
                buffer.fill(data)
                call = partial(executor.execute_nif, work.nif, buffer, *rest, timeout=timeout)
                return partial(_filling, buffer, data, call) if fills else call

            yield bind


buffered = partial(_with_buffer, fills=False)
filled = partial(_with_buffer, fills=True)


def _filling(buffer: aionif.Buffer, data: bytes, call: Callable[[], Any]) -> Any:
    buffer.fill(data)
    return call()
