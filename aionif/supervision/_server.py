"""The inside of a running supervisor: its mailbox, the task that serves it, and OTP's decisions.

As a supervisor of OTP it does one thing after the other: an end of a child, a request, a restart
that is due. So no two of them ever meet half-way, whoever asks and whoever is cancelled meanwhile:
a request that has been taken up is carried out, also when nobody waits for it any more.

Who sleeps can be spared the trip: while the serving task waits for an empty mailbox, whatever needs
no waiting (to start a plain child, to forget one that ended) is done on the spot, in the task that
brings it. That is as if the serving task had been woken first, and makes it affordable to run each
request of a service as a child.

An end of a child that comes after its life was already taken from it (it was stopped, or was
deleted) says nothing new: `child.life is not life`.
"""

from __future__ import annotations

import random
from collections import deque
from typing import TYPE_CHECKING, Any, Literal

import anyio
from anyio import CancelScope, Event

from aionif.calls.window import Window
from aionif.errors import NifArgumentError, NifClosed, NifRejected
from aionif.supervision._child import Child, Life
from aionif.supervision._keeper import Keeper
from aionif.supervision.errors import MaxRestartsExceeded, RestartRecord, describe
from aionif.telemetry import registry

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from anyio.abc import TaskGroup

    from aionif.supervision._report import Reporter
    from aionif.supervision.spec import ChildSpec, Settings

__all__ = ("Server", "state_of")


class _Request:
    """Something to do for somebody who waits."""

    __slots__ = ("action", "argument", "done", "error", "value")

    def __init__(self, action: Callable[[Any], Awaitable[Any]], argument: Any) -> None:
        self.action = action
        self.argument = argument
        self.done = Event()
        self.value: Any = None
        self.error: BaseException | None = None


class _Retry:
    """A restart that is due, once it is in the mailbox.

    counted: it is in the window already. error: what the last start failed with.
    """

    __slots__ = ("child", "counted", "error", "scope")

    def __init__(self, child: Child, *, counted: bool, error: BaseException | None) -> None:
        self.child = child
        self.counted = counted
        self.error = error
        self.scope = CancelScope()

    def drop(self) -> None:
        """Have it never come."""
        self.scope.cancel()


class Server(Keeper):
    """One run of a supervisor."""

    def __init__(
        self, settings: Settings, report: Reporter, clock: Callable[[], float], host: TaskGroup
    ) -> None:
        super().__init__(settings, report, clock)
        self.ready = Event()
        self.restarts = 0
        self._host = host
        self._block_left = False
        self._window: Window[RestartRecord] = Window(settings.max_seconds)
        self._mail: deque[Life | _Request | _Retry] = deque()
        self._asleep: Event | None = None

    # ---- the serving task ----

    async def serve(self) -> None:
        """Run until told to stop, or until it gives up."""
        try:
            with CancelScope(shield=True):
                async with self._tasks:
                    await self._start_all()
                    self.ready.set()
                    while not self.ending:
                        await self._take_mail()
                    await self._stop_each(reversed(list(self.children.values())))
        finally:
            self.ending = True
            self.ready.set()
            self.children.clear()
            self._refuse_mail()
            if not self._block_left:
                self._host.cancel_scope.cancel()

    async def _take_mail(self) -> None:
        if not self._mail:
            self._asleep = Event()
            await self._asleep.wait()
            self._asleep = None
            return
        match self._mail.popleft():
            case Life() as life:
                await self._on_end(life)
            case _Retry() as retry:
                await self._on_retry(retry)
            case request:
                await self._on_request(request)

    async def _on_request(self, request: _Request) -> None:
        try:
            request.value = await request.action(request.argument)
        except Exception as error:  # noqa: BLE001 - it is the caller's
            request.error = error
        request.done.set()

    def _refuse_mail(self) -> None:
        for item in self._mail:
            if isinstance(item, _Request):
                item.error = NifClosed(resource="supervisor")
                item.done.set()
        self._mail.clear()

    def _post(self, item: Life | _Request | _Retry) -> None:
        self._mail.append(item)
        if self._asleep is not None:
            self._asleep.set()

    def leave(self) -> None:
        """Have it stop, for its block was left: also in the middle of a start."""
        self.ending = self._block_left = True
        if self._asleep is not None:
            self._asleep.set()
        self._break_start()

    async def ask(self, action: Callable[[Any], Awaitable[Any]], argument: Any) -> Any:
        """Have the serving task run `action(argument)`; return or raise what comes of it."""
        if self.ending:
            raise NifClosed(resource="supervisor")
        request = _Request(action, argument)
        self._post(request)
        await request.done.wait()
        error, request.error = request.error, None
        if error is None:
            return request.value
        try:
            raise error
        finally:
            del error  # its traceback holds this frame

    # ---- requests ----

    def start_at_once(self, spec: ChildSpec) -> bool:
        """Start a child that need not be waited for, if nothing else is going on."""
        if spec.reports_start or self._asleep is None or self._mail or self.ending:
            return False
        self._spawn(self._add(spec))
        return True

    async def start_child(self, spec: ChildSpec) -> Any:
        """Add a child and start it; return what it gave to `started`."""
        child = self._add(spec)
        error = await self._start(child)
        if error is not None:
            self.drop(child)
            error.add_note(f"{spec.id!r} failed to start in {self.settings.name!r}")
            raise error
        return self._value_of(child)

    def _add(self, spec: ChildSpec) -> Child:
        present = self.children.get(spec.id)
        if present is not None:
            raise _misused(spec.id, f"is {state_of(present)} already", "Choose an id of its own.")
        most = self.settings.max_children
        if most is not None and len(self.children) >= most:
            raise NifRejected(
                reason=f"supervisor {self.settings.name!r} has its {most} children",
                remedy="Wait for one to end, or raise max_children.",
            )
        child = self.children[spec.id] = Child(spec)
        return child

    def _value_of(self, child: Child) -> Any:
        self._drop_ignored(child)
        return None if child.life is None else child.life.value

    async def terminate_child(self, name: str) -> None:
        """Stop a child; a temporary one is forgotten, of any other the spec is kept."""
        await self._stop_each([self._find(name)])

    async def restart_child(self, name: str) -> Any:
        """Start a child that is stopped; return what it gave to `started`."""
        child = self._find_stopped(name)
        error = await self._start(child)
        if error is not None:
            raise error
        return self._value_of(child)

    async def delete_child(self, name: str) -> None:
        """Forget a child that is stopped."""
        self.drop(self._find_stopped(name))

    def _find(self, name: object) -> Child:
        child = self.children.get(name) if isinstance(name, str) else None
        if child is None:
            raise _misused(name, "is not a child", "supervisor.which_children() lists them.")
        return child

    def _find_stopped(self, name: object) -> Child:
        child = self._find(name)
        if (state := state_of(child)) != "stopped":
            raise _misused(name, f"is {state}", "Call terminate_child() first.")
        return child

    # ---- ends of children ----

    def _ended(self, life: Life) -> None:
        if self.ending or life.stopping or life.child.life is not life:
            return  # whoever stops it looks at it
        if self._asleep is None or self._mail or not self._settle(life):
            self._post(life)

    async def _on_end(self, life: Life) -> None:
        child = life.child
        if child.life is not life or self._settle(life):
            return
        self._note_end(life)
        error, life.error = life.error, None
        if not _is_restarted(child.spec, life):
            self._forget(life)
            self.ending = True  # auto_shutdown
            return
        backoff = self.settings.backoff
        if backoff is not None and self._clock() - life.since >= backoff.reset_after:
            child.failures = 0
        child.life = None
        await self._restart(child, life.reason, error)

    def _settle(self, life: Life) -> bool:
        """Take note of an end if that is all there is to do."""
        if _is_restarted(life.child.spec, life) or self._ends_all(life.child):
            return False
        self._note_end(life)
        life.error = None
        self._forget(life)
        return True

    def _note_end(self, life: Life) -> None:
        spec = life.child.spec
        if life.reason == "abnormal" or spec.restart == "permanent":
            self._report("child_terminated", spec, life.reason, life.error)

    def _forget(self, life: Life) -> None:
        life.child.life = None
        if life.child.spec.restart == "temporary":
            self.drop(life.child)

    def _ends_all(self, child: Child) -> bool:
        """Whether `child`, which ends for good, is what auto_shutdown waits for."""
        if not child.spec.significant:
            return False
        if self.settings.auto_shutdown == "any_significant":
            return True
        return not any(
            other.spec.significant and other is not child and state_of(other) != "stopped"
            for other in self.children.values()
        )

    # ---- restarts ----

    async def _restart(self, child: Child, reason: str, error: BaseException | None) -> None:
        """Count a restart, and make it: at once, or after the backoff."""
        text = reason if error is None else describe(error)
        record = RestartRecord(at=self._clock(), child=child.spec.id, reason=text)
        if self._window.add(record.at, record) > self.settings.max_restarts:
            self._give_up(child, error)
            return
        self.restarts += 1
        registry.count_supervisor_restart()
        child.failures += 1
        group = self._group_of(child)
        await self._stop_each(reversed(group))
        if self.settings.backoff is None:
            await self._start_each(group)
        else:
            chance = random.random()  # noqa: S311 - to spread restarts, not a secret
            delay = self.settings.backoff.delay(child.failures, chance)
            retry = child.retry = _Retry(child, counted=True, error=None)
            self._tasks.start_soon(self._post_after, retry, delay)

    def _give_up(self, child: Child, error: BaseException | None) -> None:
        self._report("shutdown", child.spec, "reached_max_restart_intensity")
        self.failure = MaxRestartsExceeded(
            supervisor=self.settings.name,
            child=child.spec.id,
            max_restarts=self.settings.max_restarts,
            max_seconds=self.settings.max_seconds,
            history=self._window.history(),
        )
        self.failure.__cause__ = error
        self.ending = True

    def _group_of(self, child: Child) -> list[Child]:
        """Return what is restarted with `child`, in the order of the starts."""
        if self.settings.strategy == "one_for_one":
            return [child]
        children = list(self.children.values())
        if self.settings.strategy == "one_for_all":
            return children
        return children[children.index(child) :]

    async def _start_each(self, group: list[Child]) -> None:
        """Start what was stopped, left to right, up to the first that fails to."""
        for child in group:
            if self.ending:
                return
            if child.spec.id not in self.children:
                continue  # temporary: it is not brought back
            error = await self._start(child)
            if error is not None:
                self._report("start_error", child.spec, "", error)
                retry = child.retry = _Retry(child, counted=False, error=error)
                self._post(retry)  # behind what waits already: a request to stop it, perhaps
                return

    async def _post_after(self, retry: _Retry, delay: float) -> None:
        with retry.scope:
            await anyio.sleep(delay)
            self._post(retry)

    async def _on_retry(self, retry: _Retry) -> None:
        child = retry.child
        if child.retry is not retry:
            return  # stopped, or started again with its siblings, meanwhile
        if not retry.counted:
            error, retry.error = retry.error, None
            await self._restart(child, "start_error", error)
            return
        group = self._group_of(child)
        await self._stop_each(reversed(group))
        await self._start_each(group)


def _is_restarted(spec: ChildSpec, life: Life) -> bool:
    if spec.restart == "transient":
        return life.reason == "abnormal"
    return spec.restart == "permanent"


def state_of(child: Child) -> Literal["running", "restarting", "stopped"]:
    """Return the state of a child, as ChildInfo has it."""
    if child.life is not None:
        return "running"
    return "stopped" if child.retry is None else "restarting"


def _misused(name: object, problem: str, remedy: str) -> NifArgumentError:
    return NifArgumentError(argument="id", value=name, problem=problem, remedy=remedy)
