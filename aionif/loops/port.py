"""How the end of a call reaches the task that waits for it.

The core keeps a port for each event loop: a queue of events, and an eventfd that it writes to only
when the loop is, or is about to be, asleep. `drain` takes the events of one wake-up with one call
of the core. Where more are to come, the loop has to look again before it sleeps; only when its
queue was seen empty is the bell armed. A burst of calls so costs one wake-up.

A Port is one event loop in one thread: the core's port, and the thread's call slot. asyncio (and
uvloop) watches the eventfd with one `add_reader` for the life of the port, which costs a third of
awaiting its readiness each time. trio has a system task that waits for it.
"""

from __future__ import annotations

import errno
import threading
from collections import deque
from typing import TYPE_CHECKING, Any

from aionif.core.native import Slot, call_slot, ffi, lib
from aionif.errors import NifRejected
from aionif.loops import core_events
from aionif.system.shortage import explain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ("Port", "function_names", "local", "orphans")

_RETURNED = lib.AIONIF_EVENT_RETURNED
_STILL_RUNNING = (lib.AIONIF_EVENT_RUN_TIMEOUT, lib.AIONIF_EVENT_LOST)

# Arguments of calls nobody waits for any more, until native code has let go of them. For the whole
# process: the loop that hears of the end need not be the one that made the call.
orphans: dict[int, tuple[Any, ...]] = {}

function_names: dict[int, str] = {}  # of every plan in use, for events of the core


class _Local(threading.local):
    port: Port | None = None


local = _Local()
"""Of the thread: the port of its event loop."""


class _Place:
    """Of a task in a line; waiter is None while it is its turn."""

    __slots__ = ("waiter",)

    def __init__(self) -> None:
        self.waiter: Any = None


class Port:
    """One event loop in one thread. Subclasses know how its tasks wait."""

    is_trio: bool
    room = 1024  # for events that one call of the core brings

    def __init__(self, loop: Any) -> None:
        self.loop = loop
        self.thread = threading.get_ident()
        self.slot: Slot = call_slot()
        self.handle = lib.aionif_port_open()
        if self.handle == ffi.NULL:
            reason, remedy = explain(ffi.errno, "eventfd")
            raise NifRejected(reason=reason, remedy=remedy)
        self.turn_is_due = self.is_trio  # there, every call is a checkpoint
        self.default: Any = None  # the loop's own executor, and what closes it with the loop
        self.guard: Any = None
        self.listens = False  # to worker processes
        self.users = 0  # executors; the last one to leave closes the port
        self.waiting: dict[int, tuple[Any, tuple[Any, ...], Any]] = {}  # waiter, arguments, route
        self.lines: dict[int, deque[_Place]] = {}  # by pool: tasks that wait for its queue
        self.idle: dict[int, Callable[[], None]] = {}  # what to do when a closing pool is idle
        self._events = ffi.new("uint64_t[]", self.room)

    def bind_thread(self) -> None:
        """Bind the thread's call slot to this loop's port."""
        self.thread = threading.get_ident()
        self.slot = call_slot()
        self.slot.port = self.handle
        local.port = self

    def listen(self) -> None:
        """Look at worker processes too, from now on."""
        if not self.listens:
            try:
                self._listen(lib.aionif_processes_descriptor())
            except OSError as problem:  # none was to be had, or no duplicate of it
                reason, remedy = explain(errno.EMFILE, "epoll")
                raise NifRejected(reason=reason, remedy=remedy) from problem
            self.listens = True

    def _listen(self, descriptor: int) -> None:
        raise NotImplementedError

    def drain(self) -> bool:
        """Deliver events. True: the bell is not armed, so there has to be another look."""
        answer = lib.aionif_collect(self.handle, self._events, self.room)
        events = iter(ffi.unpack(self._events, answer >> 1))
        try:
            self._deliver(events)
        except BaseException as problem:
            self._deliver_rest(events, problem)
            raise
        return bool(answer & 1)

    def _deliver(self, events: Iterator[int]) -> None:
        waiting = self.waiting
        for event in events:
            kind = event & 0xFF
            waiter = waiting.pop(event >> 8, None)
            if waiter is not None:
                if kind in _STILL_RUNNING:
                    orphans[event >> 8] = waiter[1:]
                self.wake(waiter[0], kind)
            elif kind != _RETURNED:
                self._other(kind, event >> 8)

    def _deliver_rest(self, events: Iterator[int], problem: BaseException) -> None:
        """Tell everyone else, whatever went wrong with one: nobody tells them later."""
        while True:
            try:
                self._deliver(events)
            except BaseException as another:  # noqa: BLE001 - reported with the first one
                problem.add_note(f"and then: {another!r}")
            else:
                return

    def _other(self, kind: int, value: int) -> None:
        if kind == lib.AIONIF_EVENT_RELEASED:
            orphans.pop(value, None)
        elif kind == lib.AIONIF_EVENT_CAPACITY:
            self._call_first_in_line(value)
        elif kind == lib.AIONIF_EVENT_IDLE:
            self.idle.pop(value, lambda: None)()
        elif kind == lib.AIONIF_EVENT_CORE:
            core_events.report_all(function_names)

    def _call_first_in_line(self, pool: int) -> None:
        line = self.lines.get(pool)
        if line and line[0].waiter is not None:
            waiter, line[0].waiter = line[0].waiter, None
            self.wake(waiter, 0)

    def let_go(self, call: int, arguments: tuple[Any, ...], route: Any) -> None:
        """Nobody waits for this call any more; keep what it uses as long as it runs."""
        if not lib.aionif_cancel(call):
            orphans[call] = (arguments, route)

    async def stand_in_line(self, pool: Any, attempt: Callable[[], bool]) -> None:
        """Repeat `attempt`, a request to a pool, until it is taken: first come, first served.

        Only the first in line tries, and who leaves calls the next: were all woken for whom there
        is room, the loop would be free to run them in any order, as trio does.
        """
        key = int(ffi.cast("uintptr_t", pool))
        line = self.lines.setdefault(key, deque())
        place = _Place()
        line.append(place)
        try:
            while not (line[0] is place and attempt()):
                place.waiter = self.new_waiter()
                await self.wait_for(place.waiter)  # a request that is refused orders the event
        finally:
            line.remove(place)
            self._call_first_in_line(key)
            if not line:
                del self.lines[key]

    def drain_all(self) -> None:
        """Deliver all that has ended; this comes to an end, as nothing is submitted meanwhile."""
        while self.handle and self.drain():
            pass

    def close(self) -> None:
        """Give the port back. In the port's own thread."""
        self.handle, port = ffi.NULL, self.handle
        if local.port is self:
            local.port = None
            self.slot.port = ffi.NULL
        lib.aionif_port_close(port)

    # ---- what differs between the loops ----

    def new_waiter(self) -> Any:
        """Return something that one task can wait for."""
        raise NotImplementedError

    def wake(self, waiter: Any, kind: int) -> None:
        """Let the task that waits for `waiter` go on with `kind`."""
        raise NotImplementedError

    async def wait_for(self, waiter: Any) -> int:
        """Wait until `waiter` is woken."""
        raise NotImplementedError

    def enlist(self, call: int, arguments: tuple[Any, ...], route: Any) -> Any:
        """Return what the task is to await: the kind of the event that ends its call."""
        raise NotImplementedError

    async def give_up(self, call: int, arguments: tuple[Any, ...], route: Any) -> None:
        """End the wait of a task that was cancelled, as the call's policy says."""
        raise NotImplementedError

    def is_cancelling(self) -> bool:
        """Whether the task may have a cancellation that it has not met."""
        raise NotImplementedError

    async def take_turn(self) -> None:
        """Give way to other tasks, and meet a cancellation that is pending."""
        raise NotImplementedError

    def owe_turn(self) -> None:
        """Have the next call give way to other tasks, unless the loop has turned by then."""

    def is_over(self) -> bool:
        """Whether the loop is closed for good."""
        raise NotImplementedError

    def call_in_loop(self, function: Callable[[], None]) -> None:
        """Run `function` in the loop's thread; from any thread."""
        raise NotImplementedError
