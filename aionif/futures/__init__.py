"""A `concurrent.futures.Executor` whose workers may crash: the process tier without an event loop.

A drop-in for `concurrent.futures.ProcessPoolExecutor`. Where that one breaks, with every call it
has, here a worker that is killed or crashes fails its own call alone, with the NifError that says
how it ended, and is replaced.
"""

from __future__ import annotations

import os
import signal
import weakref
from concurrent.futures import Executor
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeVar

from aionif.executor import NifExecutor
from aionif.futures.driver import Driver
from aionif.policy import NifPolicy
from aionif.process.child_python import run_each

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from concurrent.futures import Future
    from multiprocessing.context import BaseContext
    from typing import ParamSpec

    from aionif.executor import Statistics

    _P = ParamSpec("_P")

__all__ = ("NifProcessPoolExecutor",)

_T = TypeVar("_T")

_AHEAD = 1  # calls for each worker that the core has in hand beside the one that runs


class NifProcessPoolExecutor(Executor):
    """Worker processes that run Python callables and native functions, each call a Future.

    max_workers: processes at the most, started as calls need them; by default the CPUs there are.
    mp_context: for programs that pass one. Workers are forked from a process of aionif's own that
        was started afresh, so they find what "spawn" and "forkserver" promise; "fork" is refused.
    initializer, initargs: called in each worker before its first call.
    max_tasks_per_child: a worker is replaced after so many calls.
    policy: for calls whose function has none of its own.

    Functions of `aionif.load()`, cffi and ctypes can be submitted as they are.

    Raises:
        ValueError: a number is out of range, or the context is "fork". TypeError: the initializer
            can't be called, or a number is none.
    """

    def __init__(  # noqa: PLR0913 - settings; the first four by position as in the standard one
        self,
        max_workers: int | None = None,
        mp_context: BaseContext | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        policy: NifPolicy | None = None,
    ) -> None:
        _check(max_workers, mp_context, initializer, max_tasks_per_child)
        self._max_workers = max_workers or _count_cpus()
        policy = policy or NifPolicy()
        self._executor = NifExecutor(
            isolation="process",
            max_workers=self._max_workers,
            policy=policy,
            initializer=initializer,
            initargs=initargs,
            max_calls_per_worker=max_tasks_per_child,
        )
        self._driver = Driver(self._executor, policy, self._max_workers * (1 + _AHEAD))
        weakref.finalize(self, self._driver.close).atexit = False

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Have `fn(*args, **kwargs)` called in a worker; return its future.

        The future's exception is that of `fn`, with its remote traceback as the cause, or a
        NifError: NifCrash and NifWorkerLost where the worker died of the call, NifLimitExceeded,
        NifArgumentError where something can't be pickled.

        Raises:
            BrokenProcessPool: no worker could be started, as the initializer fails.
            RuntimeError: the executor was shut down, or the interpreter ends.
            NifRejected: there is no descriptor for it; the next call tries again.
        """
        return self._driver.submit(fn, args, kwargs)

    def map(
        self,
        fn: Callable[..., _T],
        *iterables: Iterable[Any],
        timeout: float | None = None,
        chunksize: int = 1,
        **options: Any,
    ) -> Iterator[_T]:
        """Return an iterator over `map(fn, *iterables)`, called in workers.

        timeout: seconds from now for all results. chunksize: arguments that go to a worker in one
        piece. buffersize (where the running Python has it): pieces submitted before their results
        are taken.

        Raises:
            TimeoutError: from the iterator, where a result is not there in time.
            ValueError: chunksize is less than 1.
        """
        if chunksize < 1:
            raise ValueError("chunksize must be >= 1.")
        if chunksize == 1:
            return super().map(fn, *iterables, timeout=timeout, **options)
        chunks = _cut(zip(*iterables, strict=False), chunksize)
        pieces = super().map(partial(run_each, fn), chunks, timeout=timeout, **options)
        return _joined(pieces)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002 - its place in the base class
        """Accept nothing more, and free the workers when the last call has ended.

        wait: return only then. cancel_futures: cancel the calls that have not begun.
        """
        self._driver.close(cancels=cancel_futures)
        if wait:
            self._driver.join()

    def terminate_workers(self) -> None:
        """Shut down, and send each worker SIGTERM; their calls get BrokenProcessPool."""
        self._driver.end_workers(signal.SIGTERM)

    def kill_workers(self) -> None:
        """Shut down, and kill each worker that has a call; these calls get BrokenProcessPool."""
        self._driver.end_workers(signal.SIGKILL)

    def statistics(self) -> Statistics:
        """Return counts since the executor was made, and its state now."""
        return self._executor.statistics()


def _check(
    max_workers: object, context: BaseContext | None, initializer: object, max_tasks: object
) -> None:
    """Raise what the standard executor raises."""
    if max_workers is not None and (not isinstance(max_workers, int) or max_workers <= 0):
        raise ValueError("max_workers must be greater than 0")
    if initializer is not None and not callable(initializer):
        raise TypeError("initializer must be a callable")
    if max_tasks is not None:
        if not isinstance(max_tasks, int):
            raise TypeError("max_tasks_per_child must be an integer")
        if max_tasks <= 0:
            raise ValueError("max_tasks_per_child must be >= 1")
    if context is not None and context.get_start_method(allow_none=False) == "fork":
        raise ValueError(
            "workers can't be forks of this process, with its threads and their locks; "
            'leave mp_context out, or pass that of "forkserver" or "spawn"'
        )


def _count_cpus() -> int:
    usable = getattr(os, "process_cpu_count", os.cpu_count)
    return usable() or 1


def _cut(items: Iterator[tuple[Any, ...]], size: int) -> Iterator[list[tuple[Any, ...]]]:
    while piece := list(islice(items, size)):
        yield piece


def _joined(pieces: Iterator[list[_T]]) -> Iterator[_T]:
    """Return the results one by one; each is let go of when it is given."""
    for piece in pieces:
        piece.reverse()
        while piece:
            yield piece.pop()
