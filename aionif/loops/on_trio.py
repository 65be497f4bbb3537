"""The port of a trio run: one system task waits for the port's eventfd."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import outcome
import trio

from aionif.core.native import lib
from aionif.loops.port import Port

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ("TrioPort",)


class _Waiter:
    """A task that waits for one event; `kind` is set if it came before the task could wait."""

    __slots__ = ("kind", "task")

    def __init__(self) -> None:
        self.task: trio.lowlevel.Task | None = None
        self.kind: int | None = None


class TrioPort(Port):
    """A port at a trio run."""

    is_trio = True

    def __init__(self, token: trio.lowlevel.TrioToken) -> None:
        super().__init__(token)
        self._watched = False
        self._sleeping: dict[_Waiter, None] = {}  # in the order they came
        self._over = False  # known when something is to be run in it
        self._watch_in_background()

    def _watch_in_background(self) -> None:
        try:
            trio.lowlevel.spawn_system_task(self._watch, name="aionif")
            self._watched = True
        except RuntimeError:
            self._watched = False  # the run is shutting down: whoever waits, watches (_suspend)

    async def _watch(self) -> None:
        try:
            while self.handle:
                await self._rest(more=self.drain())
        except trio.ClosedResourceError:
            return  # close() said so
        finally:
            self._watched = False
            self._call_another_watcher()

    def _listen(self, descriptor: int) -> None:
        self._processes = os.dup(descriptor)  # one that can be closed with the port
        try:
            trio.lowlevel.spawn_system_task(self._watch_processes, name="aionif processes")
        except RuntimeError:
            return  # the run is shutting down: the watchdog collects in its place

    async def _watch_processes(self) -> None:
        with suppress(trio.ClosedResourceError):
            while self.handle:
                await trio.lowlevel.wait_readable(self._processes)
                lib.aionif_processes_look()
                self.drain_all()  # who watches sleeps at the port, and can't be told to look

    async def _rest(self, *, more: bool) -> None:
        if more:
            await trio.lowlevel.checkpoint()
        else:
            await trio.lowlevel.wait_readable(lib.aionif_port_descriptor(self.handle))

    def new_waiter(self) -> _Waiter:
        return _Waiter()

    def wake(self, waiter: _Waiter, kind: int) -> None:
        waiter.kind = kind
        if waiter.task is not None:
            trio.lowlevel.reschedule(waiter.task, outcome.Value(None))
            waiter.task = None

    async def wait_for(self, waiter: _Waiter) -> int:
        await self._suspend(waiter, lambda: True)
        return waiter.kind or 0

    def enlist(self, call: int, arguments: tuple[Any, ...], route: Any) -> Awaitable[int]:
        waiter = _Waiter()
        self.waiting[call] = (waiter, arguments, route)

        def give_up() -> bool:
            if not route.waits_on_cancel:
                self.waiting.pop(call, None)
                self.let_go(call, arguments, route)
            return not route.waits_on_cancel

        return self._wait(waiter, give_up)

    async def _wait(self, waiter: _Waiter, give_up: Callable[[], bool]) -> int:
        await self._suspend(waiter, give_up)
        return waiter.kind or 0

    async def give_up(self, call: int, arguments: tuple[Any, ...], route: Any) -> None:
        """Nothing is left to do: trio asks, before it cancels, whether the wait may end."""

    async def _suspend(self, waiter: _Waiter, give_up: Callable[[], bool]) -> None:
        while waiter.kind is None:
            if self._watched:
                await self._sleep(waiter, give_up)
            else:
                await self._watch_for(waiter, give_up)

    async def _sleep(self, waiter: _Waiter, give_up: Callable[[], bool]) -> None:
        """Wait for an event, or to be called as a watcher."""
        waiter.task = trio.lowlevel.current_task()
        self._sleeping[waiter] = None

        def abort(_raise_cancel: object) -> trio.lowlevel.Abort:
            if not give_up():
                return trio.lowlevel.Abort.FAILED
            waiter.task = None
            return trio.lowlevel.Abort.SUCCEEDED

        try:
            await trio.lowlevel.wait_task_rescheduled(abort)
        finally:
            self._sleeping.pop(waiter, None)

    async def _watch_for(self, waiter: _Waiter, give_up: Callable[[], bool]) -> None:
        """Watch the port ourselves: trio ends its system tasks before async generators."""
        self._watched = True
        is_patient = False
        try:
            while True:
                more = self.drain()
                if waiter.kind is not None:
                    return  # the bell need not ring again: this may have been the last event of all
                try:
                    with trio.CancelScope(shield=is_patient):
                        await self._rest(more=more)
                except trio.Cancelled:
                    if give_up():
                        raise
                    is_patient = True
        finally:
            self._watched = False
            self._call_another_watcher()

    def _call_another_watcher(self) -> None:
        """Wake one that sleeps: nobody else would look, or ring, for those that are left."""
        for waiter in self._sleeping:
            if waiter.task is not None:
                trio.lowlevel.reschedule(waiter.task, outcome.Value(None))
                waiter.task = None
                return

    def is_cancelling(self) -> bool:
        return False  # every call is a checkpoint here

    async def take_turn(self) -> None:
        await trio.lowlevel.checkpoint()

    def is_over(self) -> bool:
        return self._over

    def call_in_loop(self, function: Callable[[], None]) -> None:
        if trio.lowlevel.in_trio_run() and trio.lowlevel.current_trio_token() is self.loop:
            function()
            return
        try:
            self.loop.run_sync_soon(function)
        except trio.RunFinishedError:
            self._over = True
            function()

    def close(self) -> None:
        if trio.lowlevel.in_trio_run():
            trio.lowlevel.notify_closing(lib.aionif_port_descriptor(self.handle))
            if self.listens:
                trio.lowlevel.notify_closing(self._processes)
        if self.listens:
            os.close(self._processes)
        super().close()
