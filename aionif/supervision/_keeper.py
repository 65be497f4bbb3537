"""Children started and stopped one by one, in order: what a supervisor does, without the why.

Two task groups. The children's is opened by the task that serves the supervisor, within a shield:
cancelling whatever encloses the supervisor ends its block, and that has the children stopped one by
one, right to left, instead of all at once. The other holds the block itself and the serving task.
"""

from __future__ import annotations

import math
from contextvars import copy_context
from typing import TYPE_CHECKING

import anyio
from anyio import Event

from aionif.supervision._child import Child, Life

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from anyio.abc import TaskGroup

    from aionif.supervision._report import Reporter
    from aionif.supervision.spec import ChildSpec, Settings

__all__ = ("Keeper",)


class Keeper:
    """The children of one run of a supervisor."""

    def __init__(self, settings: Settings, report: Reporter, clock: Callable[[], float]) -> None:
        self.settings = settings
        self.children: dict[str, Child] = {}  # in the order of their start
        self.ending = False
        self.failure: BaseException | None = None
        self._report = report
        self._clock = clock
        self._starting: Life | None = None
        self._context = copy_context()  # of the block: each child begins with it, whoever starts it
        self._tasks: TaskGroup = anyio.create_task_group()

    def _ended(self, life: Life) -> None:
        """A life is over: called in its own task, as the last thing it does."""
        raise NotImplementedError

    # ---- starting ----

    def _spawn(self, child: Child) -> Life:
        life = child.life = Life(child, self._ended, self._clock())
        start: Callable[..., object] = self._tasks.start_soon
        self._context.run(start, life.run, self._collapsing, name=child.spec.id)
        return life

    def _break_start(self) -> None:
        """Give up a start that is being waited for."""
        if self._starting is not None:
            self._starting.stop(self._grace(self._starting.child.spec))

    def _collapsing(self) -> bool:
        return self._tasks.cancel_scope.cancel_called

    async def _start(self, child: Child) -> BaseException | None:
        """Start a child and wait until it has; return what it failed with."""
        child.retry = None
        life = self._starting = self._spawn(child)
        life.changed = Event()
        try:
            await life.changed.wait()
        finally:
            self._starting = None
        life.changed = None
        if life.started:
            return None
        child.life = None
        error, life.error = life.error, None
        return error  # None: it returned before it had started, as OTP's `ignore`

    async def _start_all(self) -> None:
        for spec in self.settings.children:
            child = self.children[spec.id] = Child(spec)
            error = await self._start(child)
            if error is not None:
                self._report("start_error", spec, "", error)
                if not self.ending:
                    error.add_note(f"{spec.id!r} failed to start in {self.settings.name!r}")
                    self.failure = error
                    self.ending = True
            if self.ending:
                return
            self._drop_ignored(child)

    def _drop_ignored(self, child: Child) -> None:
        if child.life is None and child.spec.restart == "temporary":
            self.drop(child)

    # ---- stopping ----

    def _grace(self, spec: ChildSpec) -> float:
        if spec.shutdown == "brutal_kill":
            return 0.0
        return math.inf if spec.shutdown == "infinity" else float(spec.shutdown)

    async def _stop(self, child: Child) -> None:
        """Stop a child if it runs, and wait until it is gone; report if it did not go in order."""
        if child.retry is not None:
            child.retry.drop()
            child.retry = None
        life = child.life
        if life is None:
            return
        if not life.over:
            await self._end(life)
        child.life = None
        expected = life.reason == "shutdown" or (
            life.reason == "normal" and child.spec.restart != "permanent"
        )
        if not expected:
            self._report("shutdown_error", child.spec, life.reason, life.error)
        life.error = None

    async def _end(self, life: Life) -> None:
        spec = life.child.spec
        grace = self._grace(spec)
        life.changed = Event()
        life.stop(grace)
        with anyio.move_on_after(grace if spec.shutdown != "brutal_kill" else math.inf):
            await life.changed.wait()
        if not life.over:
            self._report("shutdown_error", spec, f"not gone after {grace:g} s; waiting for it")
            await life.changed.wait()
        life.changed = None

    async def _stop_each(self, children: Iterable[Child]) -> None:
        """Stop children one after the other; temporary ones are then forgotten."""
        for child in children:
            await self._stop(child)
            if child.spec.restart == "temporary":
                self.drop(child)

    def drop(self, child: Child) -> None:
        """Forget a child that does not run, with its spec."""
        del self.children[child.spec.id]
