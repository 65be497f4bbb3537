"""Calls on worker processes for programs without an event loop: each call is a Future.

The core announces the end of a call at a port. Here one thread waits for the port's descriptor, as
an event loop does for its own, and settles futures. Requests are made by the thread that submits:
a call that is over while the core watches it has its result in the future before `submit` returns,
and no other thread was woken for it.

What was submitted waits here, first come, first served, until the core has room for it by the
window. A future is cancelled only while it waits here; from then on it counts as running, though
its worker may have a call before it. So the window is as small as keeps workers busy.

One thread at a time feeds the core (`_feeding`), or calls would overtake each other while their
arguments are pickled. Pickling runs anybody's code, this executor's `submit` included, so it is
done without the lock. What `submit` then adds is met by the feeder that is at work already.

The lock is held from a request until its future is listed as waiting: the thread that hears of the
end must find it. It is reentrant, as a finalizer may submit at any moment.

The thread knows the driver, not the executor of the user. When nobody has that one any more, the
driver is told to end, and its thread ends with the last call.
"""

from __future__ import annotations

import os
import select
import signal
import threading
from collections import deque
from concurrent.futures import Future, InvalidStateError
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import WeakSet

from aionif.calls.submit import capture, completed, converted, lack_of, prepared, refusal, result_of
from aionif.core.native import call_slot, ffi, lib
from aionif.errors import NifRejected
from aionif.loops.on_thread import ThreadPort
from aionif.process.remote import lives_on
from aionif.system.shortage import explain

if TYPE_CHECKING:
    from collections.abc import Callable

    from aionif.calls.submit import Route
    from aionif.executor import NifExecutor
    from aionif.policy import NifPolicy

__all__ = ("Driver",)

_OVER = (lib.AIONIF_RETURNED, lib.AIONIF_YIELD)
_ENDED = "the worker processes of this executor were ended"


class _Item(NamedTuple):
    """What was submitted."""

    future: Future[Any]
    function: Any
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]


class _Call(NamedTuple):
    """What the core was asked for."""

    item: _Item
    number: int
    arguments: tuple[Any, ...]
    route: Route


class Driver:
    """The calls of one executor, and the thread that hears of their ends."""

    def __init__(self, executor: NifExecutor, policy: NifPolicy, window: int) -> None:
        self._executor = executor
        self._policy = policy
        self._window = window
        self._lock = threading.RLock()
        self._waiting: deque[_Item] = deque()
        self._under_way = 0
        self._feeding = False
        self._refusal: Exception | None = None  # why nothing more is taken
        self._end_signal = 0  # of kill_workers or terminate_workers
        self._signalled: set[int] = set()
        self._port: ThreadPort | None = None
        self._bell = -1
        self._thread: threading.Thread | None = None
        _drivers.add(self)

    # ---- from any thread ----

    def submit(
        self, function: Any, arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> Future[Any]:
        """Have a call made; return its future.

        Raises:
            BrokenProcessPool: no worker could be started. RuntimeError: this is closed.
        """
        future: Future[Any] = Future()
        with self._lock:
            if self._refusal is not None:
                raise type(self._refusal)(*self._refusal.args)
            if self._thread is None:
                self._start()
            self._waiting.append(_Item(future, function, arguments, keywords))
        self._feed()
        return future

    def close(self, reason: str = "shutdown", *, cancels: bool = False) -> None:
        """Take nothing more; cancels: what waits is cancelled. The thread ends after the rest."""
        with self._lock:
            if self._refusal is None:
                self._refusal = RuntimeError(f"cannot schedule new futures after {reason}")
            dropped = list(self._waiting) if cancels else []
            if cancels:
                self._waiting.clear()
            if self._thread is None:
                self._executor.close_now()
            self._ring()
        for item in dropped:
            item.future.cancel()
            item.future.set_running_or_notify_cancel()

    def join(self) -> None:
        """Wait until all is over; not from a future's callback, where it returns at once."""
        thread = self._thread
        if thread is not None and thread is not threading.current_thread():
            thread.join()

    def end_workers(self, number: int) -> None:
        """Close, and end the calls under way by sending the workers a signal."""
        self.close(cancels=True)
        with self._lock:
            if self._port is not None and self._port.handle:
                self._end_signal = number
                self._signal_workers()
                self._ring()

    def _signal_workers(self) -> None:
        """With the lock. Once more after each news: a worker that starts was not known before."""
        for pool in self._executor._pools:  # noqa: SLF001 - its front
            lib.aionif_pool_close(pool, ffi.NULL)
            if self._end_signal == signal.SIGKILL:
                lib.aionif_pool_end_calls(pool)
            else:
                for process in self._executor._pools.processes_of(pool) - self._signalled:  # noqa: SLF001
                    self._signalled.add(process)
                    lib.aionif_pool_signal(pool, process, self._end_signal)

    def forked(self) -> None:
        """In the child of a fork: thread and workers are the parent's."""
        self._lock = threading.RLock()
        if self._thread is None:  # it was never used: nothing in it is the parent's
            return
        self._refusal = RuntimeError("cannot schedule new futures after a fork")
        self._bell, self._port, self._thread = -1, None, None
        self._waiting.clear()

    def _ring(self) -> None:
        if self._bell >= 0:
            os.eventfd_write(self._bell, 1)

    # ---- from the queue to the core ----

    def _feed(self) -> None:
        with self._lock:
            if self._feeding:
                return
            self._feeding = True
        try:
            while (item := self._take()) is not None:
                self._begin(item)
                del item  # or it would live until the next one comes
        except BaseException:  # an interrupt: of this call, the others still want a feeder
            with self._lock:
                self._feeding = False
                self._ring()
            raise

    def _take(self) -> _Item | None:
        """Return what is next, if there is room. None ends the feeding, under the same lock."""
        with self._lock:
            while self._waiting and self._under_way < self._window:
                item = self._waiting.popleft()
                if item.future.set_running_or_notify_cancel():
                    self._under_way += 1
                    return item
            self._feeding = False
            return None

    def _begin(self, item: _Item) -> None:
        route = None
        try:
            route = self._route_of(item)
            item = item._replace(arguments=completed(route, item.arguments))
            arguments = prepared(route, item.arguments)
            with self._lock:
                is_over, result = self._request(item, route, arguments)
            if not is_over:
                return
            result = converted(route, result, arguments, item.arguments, call_slot())
        except BaseException as error:
            self._end(item, None, error, route)
            if isinstance(error, KeyboardInterrupt):
                raise
        else:
            self._end(item, result, None)

    def _route_of(self, item: _Item) -> Route:
        function: Any = item.function
        if item.keywords:
            function = partial(function, **item.keywords)
        # The executor keeps the routes that come without a policy, and with them the function. A
        # bound method or a partial must not be kept: somebody waits for what it holds to be freed.
        if lives_on(function):
            known = self._executor._routes.get(function)  # noqa: SLF001 - its front
            return known or self._executor._find_route(function, None)  # noqa: SLF001
        return self._executor._find_route(function, self._policy)  # noqa: SLF001

    def _request(self, item: _Item, route: Route, arguments: tuple[Any, ...]) -> tuple[bool, Any]:
        """Ask the core; return whether the call is over already, and what came of it."""
        port, own = self._port, call_slot()
        if port is None:
            raise RuntimeError("the executor was closed")
        kept, own.port = own.port, port.handle  # the thread may have an event loop, with its own
        try:
            result = capture(route, own, arguments, route.timeout)
        finally:
            own.port = kept
        if own.outcome == lib.AIONIF_PENDING:
            call = _Call(item, own.call, arguments, route)
            port.waiting[call.number] = (call, arguments, route)
            return False, None
        if own.outcome not in _OVER:
            raise refusal(route, own, own.outcome, route.timeout)
        return True, result

    def _end(
        self, item: _Item, result: Any, error: BaseException | None, route: Route | None = None
    ) -> None:
        if route is not None and route.permit is not None:
            route.permit.withdraw()
        with self._lock:
            self._under_way -= 1
            if self._refusal is not None:
                self._ring()
        with suppress(InvalidStateError):  # somebody else has set it
            if error is None:
                item.future.set_result(result)
                return
            if self._end_signal:
                error = _because(BrokenProcessPool(_ENDED), error)
            error.__traceback__ = None  # its frames hold what was passed
            item.future.set_exception(error)

    # ---- the thread ----

    def _start(self) -> None:
        port = ThreadPort(self)
        try:
            port.listen()
            self._bell = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            thread = threading.Thread(target=self._run, args=(port,), name="aionif-futures")
            self._port = port
            thread.start()
        except (OSError, RuntimeError, NifRejected) as problem:
            self._port = None
            self._leave(port)
            if not isinstance(problem, OSError):
                raise
            reason, remedy = explain(problem.errno or 0, "eventfd")
            raise NifRejected(reason=reason, remedy=remedy) from problem
        self._thread = thread

    def _run(self, port: ThreadPort) -> None:
        try:
            self._serve(port)
        except BaseException as problem:  # nobody else settles futures: none must wait for ever
            text = f"the thread that settles futures has failed: {problem!r}"
            self._break(text)
            with self._lock:
                under_way = [waiting[0] for waiting in port.waiting.values()]
            for call in under_way:
                self._end(call.item, None, BrokenProcessPool(text))
            raise

    def _serve(self, port: ThreadPort) -> None:
        port.bind_thread()
        poll = select.poll()
        for descriptor in (lib.aionif_port_descriptor(port.handle), port.processes, self._bell):
            poll.register(descriptor, select.POLLIN)
        while not self._is_over():
            for descriptor, _ in poll.poll():
                if descriptor == port.processes:
                    lib.aionif_processes_look()
                elif descriptor == self._bell:
                    with suppress(BlockingIOError):
                        os.eventfd_read(descriptor)
            while self._deliver(port):
                pass
        self._executor.close_now()
        with self._lock:
            port.drain_all()  # what came last: notices
            self._leave(port)

    def _leave(self, port: ThreadPort) -> None:
        port.close()
        if self._bell >= 0:
            os.close(self._bell)
        self._bell = -1

    def _is_over(self) -> bool:
        with self._lock:
            busy = self._waiting or self._under_way or self._feeding
            return self._refusal is not None and not busy

    def _deliver(self, port: ThreadPort) -> bool:
        """Settle what has ended and fill its place; True: look again before waiting."""
        with self._lock:
            more = port.drain()
            ended, port.ended = port.ended, []
            if self._end_signal:
                self._signal_workers()
        ended.reverse()
        while ended:  # each let go of as soon as it is settled
            self._settle(port, *ended.pop())
        self._feed()
        return more

    def _settle(self, port: ThreadPort, call: _Call, kind: int) -> None:
        item, number, arguments, route = call
        try:
            result = result_of(route, port, number, kind, route.timeout)
            result = converted(route, result, arguments, item.arguments, port.slot)
        except BaseException as error:  # noqa: BLE001 - the future's, whatever it is
            # What the system lacks may be there for the next call; a setup that fails fails again.
            if kind == lib.AIONIF_EVENT_UNSERVED and not lack_of(route.pool):
                self._break(str(error))
                error = _because(BrokenProcessPool(str(error)), error)
            self._end(item, None, error, route)
        else:
            self._end(item, result, None)

    def _break(self, problem: str) -> None:
        """No worker starts: whoever waits is told, and so is who comes later."""
        with self._lock:
            self._refusal = BrokenProcessPool(problem)
            dropped = list(self._waiting)
            self._waiting.clear()
        for item in dropped:
            if item.future.set_running_or_notify_cancel():
                item.future.set_exception(BrokenProcessPool(problem))


def _because(error: BaseException, cause: BaseException) -> BaseException:
    cause.__traceback__ = None
    error.__cause__ = cause
    return error


_drivers: WeakSet[Driver] = WeakSet()


def _at_exit() -> None:
    """Let pending calls end: the interpreter joins threads only after this."""
    drivers = list(_drivers)
    for driver in drivers:
        driver.close("interpreter shutdown")
    for driver in drivers:
        driver.join()


def _after_fork_in_child() -> None:
    for driver in list(_drivers):
        driver.forked()


# As the standard library's own executors do: atexit itself comes after the threads are joined.
_register: Callable[..., None] = threading._register_atexit  # type: ignore[attr-defined] # noqa: SLF001
_register(_at_exit)
os.register_at_fork(after_in_child=_after_fork_in_child)
