"""Children whose ends a test decides, a clock it sets, and a way to cancel anything anywhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
from anyio.lowlevel import checkpoint

from aionif import ChildSpec, NifSupervisor, SupervisorReport
from tests.support import until

if TYPE_CHECKING:
    from collections.abc import Callable


class Boom(Exception):  # noqa: N818 - short, as it is in every other line
    """What children of tests fail with."""


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Script:
    """Children that log their starts and stops, and end when and how they are told to."""

    def __init__(self) -> None:
        self.log: list[str] = []
        self.reports: list[SupervisorReport] = []
        self.alive: set[str] = set()
        self.fails_to_start: dict[str, int] = {}
        """How often each child is yet to fail to start."""
        self._orders: dict[str, tuple[anyio.Event, list[BaseException | None]]] = {}

    def child(self, name: str, **settings: Any) -> ChildSpec:
        return ChildSpec(id=name, start=self._work, args=(name,), **settings)

    def slow_child(self, name: str, **settings: Any) -> ChildSpec:
        """A child that reports its start, or fails to start."""
        return ChildSpec(id=name, start=self._start_and_work, args=(name,), **settings)

    def children(self, names: str, **settings: Any) -> list[ChildSpec]:
        return [self.child(name, **settings) for name in names]

    def supervisor(self, children: Any, **settings: Any) -> NifSupervisor:
        settings.setdefault("on_report", self.reports.append)
        return NifSupervisor(children, **settings)

    async def _start_and_work(self, name: str, *, task_status: Any) -> None:
        await checkpoint()
        if self.fails_to_start.get(name, 0) > 0:
            self.fails_to_start[name] -= 1
            self.log.append(f"!{name}")
            raise Boom(name)
        await self._work(name, task_status)

    async def _work(self, name: str, status: Any = None) -> None:
        assert name not in self.alive, "two lives at once"
        self.log.append(f"+{name}")
        self.alive.add(name)
        event, order = anyio.Event(), list[BaseException | None]()
        self._orders[name] = event, order
        try:
            if status is not None:
                status.started(name.upper())
            await event.wait()
        finally:
            self.alive.discard(name)
            self.log.append(f"-{name}")
        if order[0] is not None:
            raise order[0]

    def end(self, name: str, how: BaseException | None = None) -> None:
        """Have a child return, or raise `how`."""
        event, order = self._orders.pop(name)
        order.append(how)
        event.set()

    async def crash(self, name: str) -> None:
        """Have a child fail, and wait until it has been started again."""
        lives = self.log.count(f"+{name}")
        self.end(name, Boom(name))
        await until(lambda: self.log.count(f"+{name}") > lives)
        await settle()

    def take(self) -> str:
        """Return the log so far, and clear it."""
        text = " ".join(self.log)
        self.log.clear()
        return text

    def contexts(self) -> list[tuple[str, str]]:
        return [(report.error_context, report.offender["id"]) for report in self.reports]


async def settle() -> None:
    """Let everything happen that is about to."""
    for _ in range(20):
        await checkpoint()


def states(supervisor: NifSupervisor) -> dict[str, str]:
    return {child.id: child.state for child in supervisor.which_children()}


async def cancelled_after(count: int, function: Callable[[], Any]) -> bool:
    """Run `function()` and cancel it after `count` turns of the loop; True if it ended before."""
    ended = False

    async def run() -> None:
        nonlocal ended
        await function()
        ended = True

    with anyio.fail_after(30):
        async with anyio.create_task_group() as group:
            group.start_soon(run)
            for _ in range(count):
                await checkpoint()
            group.cancel_scope.cancel()
    return ended
