"""The port of an asyncio or uvloop event loop: one `add_reader` for as long as it is open."""

from __future__ import annotations

import asyncio
import os
from asyncio import _get_running_loop  # None where none runs: cheap
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from aionif.core.native import lib
from aionif.loops.port import Port

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("AsyncioPort",)


class AsyncioPort(Port):
    """A port at an asyncio or uvloop event loop."""

    is_trio = False

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        loop.add_reader(lib.aionif_port_descriptor(self.handle), self._look)

    def _listen(self, descriptor: int) -> None:
        # Of its own: a descriptor can have one reader a loop, but is one of the whole process.
        self._processes = os.dup(descriptor)
        self.loop.add_reader(self._processes, self._look_at_processes)

    def _look_at_processes(self) -> None:
        lib.aionif_processes_look()
        self._look()

    def _look(self) -> None:
        if self.handle:
            is_due = True  # after an exception, too
            try:
                is_due = self.drain()
            finally:
                if is_due:
                    self.loop.call_soon(self._look)

    def new_waiter(self) -> asyncio.Future[int]:
        future: asyncio.Future[int] = self.loop.create_future()
        return future

    def wake(self, waiter: asyncio.Future[int], kind: int) -> None:
        if not waiter.done():
            waiter.set_result(kind)

    async def wait_for(self, waiter: asyncio.Future[int]) -> int:
        return await waiter

    def enlist(self, call: int, arguments: tuple[Any, ...], route: Any) -> asyncio.Future[int]:
        future: asyncio.Future[int] = self.loop.create_future()
        self.waiting[call] = (future, arguments, route)
        return future

    async def give_up(self, call: int, arguments: tuple[Any, ...], route: Any) -> None:
        if route.waits_on_cancel:
            while call in self.waiting:
                with suppress(asyncio.CancelledError):  # the first one is raised in the end
                    await self.enlist(call, arguments, route)
        self.waiting.pop(call, None)
        self.let_go(call, arguments, route)

    def is_cancelling(self) -> bool:
        task = asyncio.current_task(self.loop)
        return task is not None and task.cancelling() > 0

    async def take_turn(self) -> None:
        await asyncio.sleep(0)

    def owe_turn(self) -> None:
        if not self.turn_is_due:
            self.turn_is_due = True
            self.loop.call_soon(self._turned)  # where calls are rare it comes before the next one

    def _turned(self) -> None:
        self.turn_is_due = False

    def is_over(self) -> bool:
        return bool(self.loop.is_closed())

    def call_in_loop(self, function: Callable[[], None]) -> None:
        if self.loop is _get_running_loop() or self.is_over():
            function()
        else:
            self.loop.call_soon_threadsafe(function)

    def close(self) -> None:
        if not self.is_over():
            self.loop.remove_reader(lib.aionif_port_descriptor(self.handle))
            if self.listens:
                self.loop.remove_reader(self._processes)
        if self.listens:
            os.close(self._processes)
        super().close()
