"""Executors: their settings, their opening and closing."""

from __future__ import annotations

import os
import sys
import warnings
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self
from weakref import WeakSet

import anyio

from aionif.calls.pools import Pools, Statistics
from aionif.calls.process_routes import make_setup
from aionif.calls.routing import Router
from aionif.calls.session import NifSession
from aionif.calls.strands import forget_strands
from aionif.calls.timeouts import checked_timeout
from aionif.core.native import ffi, lib
from aionif.core.taints import taints_now
from aionif.errors import NifArgumentError, NifClosed
from aionif.errors.checks import check_choice, check_count, check_names, check_seconds
from aionif.loops import current
from aionif.loops.current import current_port
from aionif.policy import Isolation, NifPolicy, check_policy, check_tier
from aionif.telemetry import registry
from aionif.telemetry.failures import tell_suppressed

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager
    from types import TracebackType

    from aionif.loops.port import Port


__all__ = ("NifExecutor", "NifSession", "Statistics")

_DEFAULT_POLICY = NifPolicy()
_DEFAULT_QUEUE = 4096
_SHUTDOWN_TIMEOUT = 10.0
_MARGIN = 2.0  # seconds beyond the attempts to stop a call


class NifExecutor(Router):
    """Workers that run native calls, and the queue before them.

    isolation: "thread" runs calls on worker threads; "inline" in the caller's own thread, where
        short functions are fastest and a long one blocks the event loop; "process" on worker
        processes, which contain whatever a call does, and which run Python callables too; "auto"
        runs each function on threads until it first crashes, and on processes from then on.
    max_workers: threads or processes at the most; they are started as calls need them.
    max_queue: calls that may wait for a worker. With more, `execute_nif` waits for room, or
        raises NifRejected, as `on_full` says.
    stack_size: bytes of stack for a call, in place of the policy's.
    policy: for calls whose function has none of its own.
    shutdown_timeout: seconds that closing waits for running calls, before it stops them.
    initializer, initargs: for worker processes: called in each before its first call. If it raises,
        the worker is lost; after several such starts in a row, calls get NifRejected.
    preload: for worker processes: names of modules that each imports at its start.
    max_calls_per_worker: a worker process is replaced after so many calls.
    timeout: seconds, waiting in the queue included, for calls for which nothing nearer says any.

    Use it as an async context manager, from any number of event loops.

    Raises:
        NifArgumentError: a setting is out of range; it names the setting.
    """

    def __init__(  # noqa: PLR0913 - settings, by keyword
        self,
        *,
        isolation: Isolation = "thread",
        max_workers: int | None = None,
        max_queue: int = _DEFAULT_QUEUE,
        stack_size: int | None = None,
        policy: NifPolicy | None = None,
        on_full: Literal["wait", "reject"] = "wait",
        shutdown_timeout: float = _SHUTDOWN_TIMEOUT,
        name: str = "aionif",
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        preload: tuple[str, ...] = (),
        max_calls_per_worker: int | None = None,
        timeout: float | None = None,
    ) -> None:
        super().__init__()
        check_choice("isolation", isolation, ("thread", "inline", "process", "auto"))
        check_choice("on_full", on_full, ("wait", "reject"))
        if max_workers is None:
            max_workers = min(32, (os.cpu_count() or 1) + 4)
        check_count("max_workers", max_workers, 1)
        check_count("max_queue", max_queue, 1)
        check_names("preload", preload)
        check_seconds("shutdown_timeout", shutdown_timeout)
        check_policy(policy)
        self._isolation = isolation
        self._runs_python = isolation in ("process", "auto")
        self._moved: set[int] = set()  # addresses of functions that have crashed, with "auto"
        if max_calls_per_worker is not None:
            check_count("max_calls_per_worker", max_calls_per_worker, 1)
        self._setup = make_setup(initializer, initargs, preload, max_calls_per_worker)
        self._timeout = checked_timeout(timeout, policy)
        self._policy = _with_stack(policy or _DEFAULT_POLICY, stack_size)
        check_tier(self._policy, isolation)
        if not self._runs_python:
            _check_unused(isolation, initializer, preload, max_calls_per_worker)
        self._rejects = on_full == "reject"
        self._shutdown_timeout = shutdown_timeout
        self._pools = Pools(max_workers=max_workers, max_queue=max_queue, name=name)
        self._closed = False
        self._sessions: set[NifSession] = set()
        _open.add(self)

    def submit(self, *_: object, **__: object) -> NoReturn:
        """Raise NifArgumentError: this is no executor of concurrent.futures.

        Those are in `aionif.futures`, for `loop.run_in_executor` for one.
        """
        raise NifArgumentError(
            argument="executor",
            value=type(self),
            problem="has calls that are awaited, and no futures",
            remedy="Write `await executor.execute_nif(fn, ...)`, or use an executor of "
            "aionif.futures.",
        )

    def session(
        self, *, policy: NifPolicy | None = None
    ) -> AbstractAsyncContextManager[NifSession]:
        """Open a session: its calls run one at a time, always on the same thread.

        Handles that native code keeps per thread stay valid in it; in a worker process, so do the
        pointers that its calls return. A call that crashes ends the session; calls after it raise
        NifClosed. With isolation="auto", sessions are on threads.

        Raises:
            NifArgumentError: the executor runs calls inline, where there is no worker to keep.
        """
        if self._isolation == "inline":
            raise NifArgumentError(
                argument="isolation",
                value="inline",
                problem="has no workers for a session",
                remedy='Open the executor with isolation="thread".',
            )
        check_policy(policy)
        if self._isolation != "process":  # "auto" has its sessions on threads
            check_tier(policy or self._policy, "thread")
        return _Opening(self, policy or self._policy)

    def _join(self, port: Port) -> None:
        if self._closed:
            raise NifClosed(resource="executor")
        if self._runs_python:
            port.listen()
        self._ports.add(port)
        port.users += 1

    def _forked(self) -> None:
        """In the child of a fork: the workers are the parent's, so this is closed if it has any."""
        if not self._ports and not list(self._pools):
            return
        self._closed = True
        self._routes.clear()
        self._ports.clear()
        for session in self._sessions:
            session._forked()  # noqa: SLF001 - their owner
        self._pools.forget()

    def statistics(self) -> Statistics:
        """Return counts since the executor was opened, and its state now."""
        return self._pools.statistics(taints_now())

    # ---- closing ----

    async def __aenter__(self) -> Self:
        if self._closed:
            raise NifClosed(resource="executor")
        self._setup = self._setup.renewed()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Close: calls in the queue get NifClosed, running ones have `shutdown_timeout` to return.

        After that they are stopped, or their threads abandoned, and their tasks get NifClosed.
        Closing twice is harmless.
        """
        if self._closed:
            return
        self._shut()
        with anyio.CancelScope(shield=True):
            try:
                await self._wind_down()
            finally:
                self._pools.stop()
                self._leave_ports()
                tell_suppressed()

    def _shut(self) -> None:
        """Accept nothing more: no route may lead to a pool that is about to be freed."""
        self._closed = True
        self._routes.clear()
        while self._sessions:
            self._sessions.pop()._close()  # noqa: SLF001 - their owner

    async def _wind_down(self) -> None:
        if not list(self._pools):
            return
        port = current_port()
        with anyio.move_on_after(self._shutdown_timeout):
            for pool in self._pools:
                await _until_idle(pool, port)
            return
        for pool in self._pools:
            lib.aionif_pool_end_calls(pool)
        with anyio.move_on_after(self._policy.abort_attempts / 1000 + _MARGIN):
            for pool in self._pools:
                await _until_idle(pool, port)

    def __del__(self) -> None:
        """Close what somebody has dropped: its workers would stay until the program's end."""
        if getattr(self, "_closed", True) or sys.is_finalizing():
            return
        if self._ports or list(self._pools):
            warnings.warn(
                f"an executor, name={self._pools.name!r}, was dropped and not closed; "
                "use `async with`, or await its aclose()",
                ResourceWarning,
                source=self,
                stacklevel=1,
            )
            self.close_now()

    def close_now(self) -> None:
        """Close without waiting: for a loop that is closed already, and can't await."""
        if not self._closed:
            self._shut()
            for pool in self._pools:
                lib.aionif_pool_close(pool, ffi.NULL)
                lib.aionif_pool_end_calls(pool)
            self._pools.stop()
            self._leave_ports()
            tell_suppressed()

    def _leave_ports(self) -> None:
        while self._ports:
            port = self._ports.pop()
            port.call_in_loop(lambda port=port: current.leave(port))  # type: ignore[misc]


class _Opening:
    """A session that `async with` will open."""

    def __init__(self, executor: NifExecutor, policy: NifPolicy) -> None:
        self._executor = executor
        self._policy = policy
        self._session: NifSession | None = None

    async def __aenter__(self) -> NifSession:
        self._session = NifSession(self._executor, self._policy)
        self._executor._sessions.add(self._session)  # noqa: SLF001 - a part of it
        return self._session

    async def __aexit__(self, *_: object) -> None:
        session = self._session
        if session is not None:
            self._executor._sessions.discard(session)  # noqa: SLF001
            session._close()  # noqa: SLF001 - its owner

    def __getattr__(self, name: str) -> NoReturn:
        raise AttributeError(
            f"the session is not open, so it has no {name!r}; write `async with "
            "executor.session() as session:`",
            name=name,
            obj=self,
        )

    def __await__(self) -> NoReturn:
        raise NifArgumentError(
            argument="session",
            value="await executor.session()",
            problem="is not opened by await",
            remedy="Write `async with executor.session() as session:`.",
        )


_open: WeakSet[NifExecutor] = WeakSet()


def _check_unused(
    isolation: Isolation,
    initializer: Callable[..., object] | None,
    preload: tuple[str, ...],
    max_calls: int | None,
) -> None:
    """Raise NifArgumentError for a setting of worker processes, where there are none."""
    given = {"initializer": initializer, "preload": preload, "max_calls_per_worker": max_calls}
    for name, value in given.items():
        if value:
            raise NifArgumentError(
                argument=name,
                value=value,
                problem=f'is for worker processes, and isolation="{isolation}" has none',
                remedy='Use isolation="process", or leave it out.',
            )


def _with_stack(policy: NifPolicy, stack_size: int | None) -> NifPolicy:
    if stack_size is None:
        return policy
    from dataclasses import replace  # noqa: PLC0415 - only where it is asked for

    return replace(policy, stack_size=stack_size)


async def _until_idle(pool: Any, port: Port) -> None:
    waiter = port.new_waiter()
    port.idle[int(ffi.cast("uintptr_t", pool))] = lambda: port.wake(waiter, 0)
    if not lib.aionif_pool_close(pool, port.handle):
        await port.wait_for(waiter)


def _after_fork_in_child() -> None:
    for executor in list(_open):
        executor._forked()  # noqa: SLF001 - of this module's own class
    registry.forget_all()
    forget_strands()
    current.forget_all()


os.register_at_fork(after_in_child=_after_fork_in_child)
