"""A child of a supervisor, and one life of it: from its start to its end, and how it ended.

Python can't kill a task. What OTP does with an exit signal is done here with cancellation, and what
a process does in `terminate/2` is done in a `finally`, under `shutdown_scope()`: a shield whose
deadline belongs to the supervisor. It ends when the child's `shutdown` seconds have passed, at
once for "brutal_kill", never for "infinity". A child that shields itself by other means, or runs a
native call that is waited for, is waited for too: the ways out would be a second life beside the
first, or a task that outlives its supervisor. It is reported as overdue instead.
"""

from __future__ import annotations

import math
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Literal, Protocol

import anyio
from anyio import CancelScope, get_cancelled_exc_class

from aionif.default import execute_nif
from aionif.supervision.errors import MaxRestartsExceeded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aionif.supervision.spec import ChildSpec

__all__ = ("Child", "Life", "NifShutdown", "Reason", "shutdown_scope")

Reason = Literal["normal", "shutdown", "abnormal"]


class NifShutdown(Exception):  # noqa: N818 - an orderly end, not an error
    """Raised by a child to end as if it had been told to: OTP's `{shutdown, Reason}`.

    A permanent child is restarted nevertheless, a transient one is not, and nothing is reported
    for those that are not. Give it a reason, for the report of a permanent child.
    """


class Retry(Protocol):
    """A restart to come."""

    def drop(self) -> None:
        """Have it never come."""


class Child:
    """A child as its supervisor keeps it: the specification, and its present life if it has one.

    retry: a restart that is due, or under way; only with no life.
    failures: in a row, for the backoff.
    """

    __slots__ = ("__weakref__", "failures", "life", "retry", "spec")

    def __init__(self, spec: ChildSpec) -> None:
        self.spec = spec
        self.life: Life | None = None
        self.retry: Retry | None = None
        self.failures = 0


class _Shields:
    """The shutdown scopes of one life, and when they end.

    Apart from Life, since it is in the context of the child's task, and contexts are kept for long:
    by each timer the task has set, on asyncio even when the timer was cancelled.
    """

    __slots__ = ("active", "until")

    def __init__(self) -> None:
        self.active: list[CancelScope] | None = None
        self.until = math.inf

    def end_by(self, deadline: float) -> None:
        """Have all of them end then, present and future ones."""
        self.until = deadline
        for scope in self.active or ():
            scope.deadline = min(scope.deadline, deadline)


class Life:
    """One run of a child, in a task of its own.

    over: the task has nothing more to do. reason, error: how it ended, then.
    stopping: its supervisor has told it to end.
    changed: set when it has started or is over; there only while somebody waits for that.
    """

    __slots__ = (
        "__weakref__",
        "changed",
        "child",
        "error",
        "on_end",
        "over",
        "reason",
        "scope",
        "shields",
        "since",
        "started",
        "stopping",
        "value",
    )

    def __init__(self, child: Child, on_end: Callable[[Life], None], since: float) -> None:
        self.child = child
        self.on_end = on_end
        self.since = since
        self.scope = CancelScope()
        self.shields = _Shields()
        self.started = self.over = self.stopping = False
        self.reason: Reason = "abnormal"
        self.error: BaseException | None = None
        self.value: Any = None
        self.changed: anyio.Event | None = None

    async def run(self, collapsing: Callable[[], bool]) -> None:
        """Run it; what it raises becomes its reason. `collapsing()`: all tasks are being ended."""
        _shields.set(self.shields)
        try:
            with self.scope:
                await self._work()
            self._ended(*self._returned())
        except NifShutdown as error:
            self._ended("shutdown", error)
        except MaxRestartsExceeded as error:
            # As a supervisor of OTP that gives up: it exits with the reason shutdown.
            mine = self.child.spec.kind == "supervisor"
            self._ended("shutdown" if mine else "abnormal", error)
        except Exception as error:  # noqa: BLE001 - whatever a child fails with
            self._ended("abnormal", error)
        except get_cancelled_exc_class() as error:
            # Not by us: on asyncio anybody can cancel a task, or have it await a cancelled future.
            if collapsing():
                raise
            self._ended("abnormal", error)
        finally:
            if not self.over:
                self._ended("abnormal", None)

    def _returned(self) -> tuple[Reason, None]:
        if self.scope.cancelled_caught or (self.stopping and not self.started):
            return "shutdown", None
        return ("shutdown" if self.child.spec.kind == "supervisor" else "normal"), None

    async def _work(self) -> None:
        spec = self.child.spec
        if self.stopping:
            return
        if not spec.reports_start:
            self.report_start()
            if spec.kind == "nif":
                await execute_nif(spec.start, *spec.args)
            else:
                await spec.start(*spec.args)
        elif spec.kind == "supervisor":
            await spec.start.run_as_child(self.report_start)
        else:
            await spec.start(*spec.args, task_status=_Status(self))

    def report_start(self, value: Any = None) -> None:
        """Note that it has started, and tell whoever waits for that."""
        self.started = True
        self.value = value
        if self.changed is not None:
            self.changed.set()

    def _ended(self, reason: Reason, error: BaseException | None) -> None:
        self.reason = reason
        self.error = error
        self.over = True
        if self.changed is not None:
            self.changed.set()
        self.on_end(self)

    def stop(self, grace: float) -> None:
        """Tell it to end; its clean-up under `shutdown_scope` has `grace` seconds."""
        self.stopping = True
        self.shields.end_by(anyio.current_time() + grace)
        self.scope.cancel()


class _Status(anyio.abc.TaskStatus[Any]):
    """What a child calls when it has started, as for anyio's `TaskGroup.start`."""

    def __init__(self, life: Life) -> None:
        self._life = life

    def started(self, value: Any = None) -> None:
        if self._life.started:
            raise RuntimeError("called 'started' twice on the same task status")
        self._life.report_start(value)


_shields: ContextVar[_Shields] = ContextVar("aionif_shutdown_scopes")


@contextmanager
def shutdown_scope() -> Iterator[CancelScope]:
    """Let a supervised child clean up when it is stopped, for as long as its spec allows.

        try:
            await serve()
        finally:
            with aionif.shutdown_scope():
                await connection.aclose()

    What is awaited inside is not cancelled until the `shutdown` seconds of the child have passed
    since it was told to stop; with "brutal_kill" it is cancelled at once, with "infinity" never.
    Then the block is left; `scope.cancelled_caught` tells. Outside of a supervised child it
    protects nothing.
    """
    shields = _shields.get(None)
    if shields is None:
        with CancelScope() as scope:
            yield scope
        return
    if shields.active is None:
        shields.active = []
    with CancelScope(shield=True, deadline=shields.until) as scope:
        shields.active.append(scope)
        try:
            yield scope
        finally:
            shields.active.remove(scope)
