"""NifTaskGroup: a task group in which a NifError ends its own task and no other.

A group that cancels all siblings when one task fails is right about bugs: nobody knows what state
they left. A native crash that was contained is not one of these. It is the end of one call, and the
task that made it. Every other exception cancels the group, as anyio's does.

A failure that cancels nothing could go unseen. So each is kept until somebody looks at it, through
the handle of its call. What is left when the group ends is raised as an ExceptionGroup; a group
with `on_failure` passes on each one that nobody waits for, as it comes. A group may live as long as
its program, so it keeps a bounded number: the oldest beyond that are logged, and counted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self, TypeGuard

import anyio
from anyio import CancelScope, Event
from anyio.abc import TaskStatus

from aionif import log
from aionif.default import execute_nif
from aionif.errors import NifError
from aionif.errors.checks import check_callable, check_seconds
from aionif.errors.defaults import DEFAULT
from aionif.policy import check_policy
from aionif.supervision._report import Handler
from aionif.supervision.errors import NifCancelled, describe

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Generator
    from types import TracebackType

    from aionif.executor import NifExecutor
    from aionif.policy import NifPolicy

__all__ = ("NifHandle", "NifTaskGroup")

Failure = NifError | ExceptionGroup[NifError]
Outcome = Literal["running", "returned", "failed", "cancelled"]

_MOST_KEPT = 1000
"""Failures that a group without `on_failure` keeps for its end."""


class NifHandle:
    """A native call that a NifTaskGroup has started: await it for its result or error.

    It can be awaited by any number of tasks, also after the group's end. A task that is cancelled
    while it awaits the handle does not cancel the call.
    """

    def __init__(self, group: NifTaskGroup) -> None:
        self._group = group
        self._scope = CancelScope()
        self._done = Event()
        self._outcome: Outcome = "running"
        self._result: Any = None
        self._error: NifError | None = None
        self._waiting = 0
        self._raised = False

    def __await__(self) -> Generator[Any, Any, Any]:
        return self._wait().__await__()

    @property
    def outcome(self) -> Outcome:
        """How the call stands; a "failed" that was read counts as looked at."""
        if self._outcome == "failed":
            self._group._seen(self)  # noqa: SLF001 - its own
        return self._outcome

    @property
    def error(self) -> NifError | None:
        """What the call failed with; None if it did not, or not yet.

        A failure that was read counts as looked at.
        """
        self._group._seen(self)  # noqa: SLF001 - its own
        return self._error

    def cancel(self) -> None:
        """Cancel the call, as the policy's `on_cancel` says; who awaits it gets NifCancelled."""
        self._scope.cancel()

    async def _wait(self) -> Any:
        self._waiting += 1
        try:
            await self._done.wait()
        except BaseException:
            self._waiting -= 1
            if self._error is not None and not self._waiting:
                self._group._unseen(self, self._error)  # noqa: SLF001 - its own
            raise
        self._waiting -= 1
        if self._outcome == "cancelled":
            raise NifCancelled
        if self._error is None:
            return self._result
        self._group._seen(self)  # noqa: SLF001 - its own
        error = self._for_one_more()
        try:
            del self  # its traceback holds this frame, and the handle holds the error
            raise error
        finally:
            del error

    def _for_one_more(self) -> NifError:
        """Return the error, or a copy: no two tasks are to share one traceback."""
        assert self._error is not None  # noqa: S101 - asked by the one that checks it
        if not self._raised:
            self._raised = True
            return self._error
        from copy import copy  # noqa: PLC0415 - seldom needed

        return copy(self._error)

    async def _run(self, fn: Any, args: tuple[Any, ...], options: dict[str, Any]) -> None:
        try:
            with self._scope:
                self._result = await execute_nif(fn, *args, **options)
                self._outcome = "returned"
        except NifError as error:
            # Without this frame, which held the handle.
            self._error = error.with_traceback(error.__traceback__ and error.__traceback__.tb_next)
            self._outcome = "failed"
            if not self._waiting:
                self._group._unseen(self, error)  # noqa: SLF001 - its own
        finally:
            if self._outcome == "running":
                self._outcome = "cancelled"  # or the group is coming down; then it ended the same
            self._done.set()
            # From Python 3.12 on frames of the traceback lead back to this one.
            del self


class NifTaskGroup:
    """A task group, as anyio's, in which a NifError ends its own task and no other.

    on_failure: called with each NifError that nobody awaits, at once. If it raises, it is detached.
        None: they are raised at the end as an ExceptionGroup, those that were looked at left out.

    Any other exception cancels the group. A NifError that leaves the block itself is raised when
    the tasks have ended; it cancels none of them. An ExceptionGroup of nothing but NifErrors counts
    as one.

    Raises:
        NifArgumentError: on_failure can't be called.
    """

    def __init__(self, *, on_failure: Callable[[Failure], object] | None = None) -> None:
        if on_failure is not None:
            check_callable("on_failure", on_failure)
        self._group = anyio.create_task_group()
        self._handler = None if on_failure is None else Handler(on_failure, "on_failure")
        self._kept: dict[object, Failure] = {}  # by handle, oldest first
        self._dropped = 0

    @property
    def cancel_scope(self) -> CancelScope:
        """Cancels the whole group."""
        return self._group.cancel_scope

    def start_soon(
        self, func: Callable[..., Awaitable[Any]], *args: Any, name: object = None
    ) -> None:
        """Run `func(*args)` in a new task, as anyio's `start_soon`."""
        self._group.start_soon(self._contain, func, args, name=name or _name_of(func))

    async def start(
        self, func: Callable[..., Awaitable[Any]], *args: Any, name: object = None
    ) -> Any:
        """Run `func(*args, task_status=...)` in a new task, and wait until it calls `started()`.

        Returns what it gave to `started()`.

        Raises:
            Exception: what it raised before that, NifError included.
        """
        return await self._group.start(self._contain_start, func, args, name=name or _name_of(func))

    def start_nif(
        self,
        fn: Any,
        *args: Any,
        timeout: float | None = DEFAULT,
        policy: NifPolicy | None = None,
        executor: NifExecutor | None = None,
        name: object = None,
    ) -> NifHandle:
        """Make the native call `fn(*args)` in a new task; arguments as for `execute_nif`.

        Errors of the call, NifArgumentError included, come with the handle.
        """
        check_policy(policy)
        if timeout is not None:
            check_seconds("timeout", timeout)
        handle = NifHandle(self)
        options = {"timeout": timeout, "policy": policy, "executor": executor}
        self._group.start_soon(handle._run, fn, args, options, name=name or _name_of(fn))  # noqa: SLF001
        return handle

    # ---- failures ----

    async def _contain(self, func: Callable[..., Awaitable[Any]], args: tuple[Any, ...]) -> None:
        try:
            await func(*args)
        except (NifError, ExceptionGroup) as error:
            if not self._keeps(error):
                raise

    async def _contain_start(
        self,
        func: Callable[..., Awaitable[Any]],
        args: tuple[Any, ...],
        *,
        task_status: TaskStatus[Any],
    ) -> None:
        status = _Status(task_status)
        try:
            await func(*args, task_status=status)
        except (NifError, ExceptionGroup) as error:
            # Before it has started, the caller of start() waits for what it raises.
            if not status.has_started or not self._keeps(error):
                raise

    def _keeps(self, error: NifError | ExceptionGroup[Any]) -> bool:
        """Keep a failure of a task that has no handle; False if it is not only NifErrors."""
        if contained := _is_contained(error):
            self._unseen(object(), error)
        return contained

    def _unseen(self, key: object, failure: Failure) -> None:
        """Nobody waits for a failure: pass it on, or keep it until somebody looks or it ends."""
        if self._handler is not None and self._handler(failure):
            return
        self._kept[key] = failure
        if len(self._kept) > _MOST_KEPT:
            self._log(self._kept.pop(next(iter(self._kept))))
            self._dropped += 1

    def _seen(self, key: object) -> None:
        self._kept.pop(key, None)

    def _log(self, failure: Failure) -> None:
        Handler(_log_failure, "log")(failure)

    # ---- its block ----

    async def __aenter__(self) -> Self:
        await self._group.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        try:
            if _is_contained(error):
                self._kept[self] = error  # of the block, which is a task like the others
                swallows = True
                await self._group.__aexit__(None, None, None)
            else:
                swallows = bool(await self._group.__aexit__(kind, error, traceback))
        except BaseExceptionGroup as raised:
            failures = self._take()
            if not failures:
                raise
            raise raised.derive([*raised.exceptions, *failures]) from None
        except BaseException:
            self._log_all()
            raise
        if error is not None and not swallows:  # as some versions of anyio say the same
            self._log_all()
        elif failures := self._take():
            raise ExceptionGroup(self._headline(len(failures)), failures) from None
        return swallows

    def _log_all(self) -> None:
        """The block is cancelled from outside: no other exception may take the place of that."""
        for failure in self._take():
            self._log(failure)

    def _headline(self, count: int) -> str:
        more = f", and {self._dropped} that were logged" if self._dropped else ""
        return f"{count} failed and nobody looked{more}"

    def _take(self) -> list[Failure]:
        failures = list(self._kept.values())
        self._kept.clear()
        return failures


class _Status(TaskStatus[Any]):
    """Notes whether a task has started."""

    def __init__(self, inner: TaskStatus[Any]) -> None:
        self._inner = inner
        self.has_started = False

    def started(self, value: Any = None) -> None:
        self._inner.started(value)
        self.has_started = True


def _is_contained(error: BaseException | None) -> TypeGuard[Failure]:
    """Whether an exception is made of nothing but NifErrors."""
    if isinstance(error, ExceptionGroup):
        return error.split(NifError)[1] is None
    return isinstance(error, NifError)


def _log_failure(failure: Failure) -> None:
    log.warn("task_group_failure", reason=describe(failure))


def _name_of(func: Any) -> str | None:
    name = getattr(func, "__qualname__", None) or getattr(func, "name", None)
    return name if isinstance(name, str) else None
