"""NifSupervisor: a tree of tasks that are started again when they fail, with OTP's semantics."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Self
from weakref import WeakSet

import anyio
from anyio import get_cancelled_exc_class

from aionif.errors import NifClosed
from aionif.errors.checks import check_callable
from aionif.supervision._report import Reporter, SupervisorReport
from aionif.supervision._server import Server, state_of
from aionif.supervision.spec import (
    AutoShutdown,
    Backoff,
    ChildCounts,
    ChildInfo,
    ChildSpec,
    Settings,
    Strategy,
    Supervisor,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from types import TracebackType

    from anyio.abc import TaskGroup

__all__ = ("NifSupervisor", "running")


class NifSupervisor(Supervisor):
    """Starts its children left to right, restarts those that fail, stops them right to left.

    children: what is started when the block is entered. More can be added later.
    strategy: what is restarted with a child: "one_for_one", it alone; "one_for_all", all of them;
        "rest_for_one", those started after it.
    max_restarts, max_seconds: so many restarts within so many seconds are made, of all children
        together. At one more it gives up: it stops all, and raises MaxRestartsExceeded.
    max_children: how many it may have, running or not; None for any number.
    auto_shutdown: whether it ends when "any_significant" child has ended for good, or when
        "all_significant" ones have.
    backoff: what to wait before a restart; None for nothing.
    name: for reports and errors.
    on_report: called with each SupervisorReport, beside the log. If it raises, it is detached.
    clock: seconds, for the window of restarts.

    It runs as long as the block of `async with` it is entered with, and none of its tasks outlives
    that. When it ends by itself, the block is cancelled. It can be entered again afterwards, and
    begins anew then. As a child of another supervisor it is entered by that one.

    Raises:
        NifArgumentError: a setting can't be used; it names the setting.
    """

    def __init__(  # noqa: PLR0913 - settings, by keyword
        self,
        children: Iterable[ChildSpec] = (),
        *,
        strategy: Strategy = "one_for_one",
        max_restarts: int = 3,
        max_seconds: float = 5.0,
        max_children: int | None = None,
        auto_shutdown: AutoShutdown = "never",
        backoff: Backoff | None = None,
        name: str = "supervisor",
        on_report: Callable[[SupervisorReport], object] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        check_callable("clock", clock)
        if on_report is not None:
            check_callable("on_report", on_report)
        self._settings = Settings(
            name=name,
            strategy=strategy,
            max_restarts=max_restarts,
            max_seconds=max_seconds,
            max_children=max_children,
            auto_shutdown=auto_shutdown,
            backoff=backoff,
            children=children,  # type: ignore[arg-type] # made a tuple there
        )
        self._report = Reporter(name, on_report)
        self._clock = clock
        self._server: Server | None = None
        self._host: TaskGroup | None = None
        self._earlier_restarts = 0

    def __repr__(self) -> str:
        return f"<NifSupervisor {self.name!r}>"

    @property
    def name(self) -> str:
        """As it was given."""
        return self._settings.name

    @property
    def strategy(self) -> Strategy:
        """As it was given."""
        return self._settings.strategy

    @property
    def restarts(self) -> int:
        """Restarts since it was made: one for each failure, however many children it restarted.

        The one too many, after which it gave up, is not among them.
        """
        return self._earlier_restarts + (self._server.restarts if self._server else 0)

    # ---- its block ----

    async def __aenter__(self) -> Self:
        """Start the children, left to right; each has started before the next one is.

        Raises:
            Exception: what a child failed to start with; those before it were stopped.
            RuntimeError: it is running already.
        """
        if self._host is not None:
            raise RuntimeError(f"supervisor {self.name!r} is running already")
        self._host = anyio.create_task_group()
        try:
            await self._host.__aenter__()
            server = Server(self._settings, self._report, self._clock, self._host)
            self._server = server
            self._host.start_soon(server.serve, name=self.name)
        except BaseException:
            self._host = None
            raise
        try:
            await server.ready.wait()
        except BaseException as error:
            if not await self.__aexit__(type(error), error, error.__traceback__):
                raise
        else:
            if server.failure is None:
                _running.add(self)
                return self
            await self.__aexit__(None, None, None)
        raise NifClosed(resource="supervisor")  # not reached: __aexit__ has raised the failure

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool:
        host, server = self._host, self._server
        assert host is not None  # noqa: S101 - entered
        assert server is not None  # noqa: S101
        server.leave()
        try:
            if isinstance(error, get_cancelled_exc_class()):
                swallows = bool(await host.__aexit__(kind, error, traceback))
            else:  # not for the group, which would wrap it
                swallows = False
                await host.__aexit__(None, None, None)
        finally:
            # From Python 3.12 on frames of the traceback lead back to this one.
            del error, traceback
            self._host = self._server = None
            self._earlier_restarts += server.restarts
            _running.discard(self)
            failure, server.failure = server.failure, None
            if failure is not None:
                try:
                    raise failure
                finally:
                    del failure  # its traceback holds this frame
        return swallows

    async def run_as_child(self, started: Callable[[Any], None]) -> None:
        """Run as a child: until cancelled, or until it ends by itself."""
        async with self:
            started(self)
            await anyio.sleep_forever()

    def _present(self) -> Server:
        if self._server is None or self._server.ending:
            raise NifClosed(resource="supervisor")
        return self._server

    # ---- its children ----

    async def start_child(self, child: ChildSpec) -> Any:
        """Add a child and start it; return what it gave to `task_status.started()`.

        A request that was taken up already is carried out even if it is cancelled. Where nothing
        has to be waited for, this returns without a turn of the event loop, as `start_soon`.

        Raises:
            Exception: what the child failed to start with; it is not kept then.
            NifRejected: there are `max_children` already.
            NifArgumentError: the spec can't be used, or there is a child of this id.
            NifClosed: the supervisor does not run.
        """
        self._settings.check(child)
        server = self._present()
        if server.start_at_once(child):
            return None
        return await server.ask(server.start_child, child)

    async def terminate_child(self, id: str) -> None:  # noqa: A002 - OTP's word
        """Stop a child and wait until it is gone; its spec is kept, unless it is temporary.

        Raises:
            NifArgumentError: there is no such child.
            NifClosed: the supervisor does not run.
        """
        server = self._present()
        await server.ask(server.terminate_child, id)

    async def restart_child(self, id: str) -> Any:  # noqa: A002 - the same
        """Start a child that is stopped; return what it gave to `task_status.started()`.

        Raises:
            Exception: what it failed to start with; it stays stopped.
            NifArgumentError: there is no such child, or it is running or restarting.
            NifClosed: the supervisor does not run.
        """
        server = self._present()
        return await server.ask(server.restart_child, id)

    async def delete_child(self, id: str) -> None:  # noqa: A002 - the same
        """Forget a child that is stopped.

        Raises:
            NifArgumentError: there is no such child, or it is running or restarting.
            NifClosed: the supervisor does not run.
        """
        server = self._present()
        await server.ask(server.delete_child, id)

    def which_children(self) -> tuple[ChildInfo, ...]:
        """Return the children in the order of their start; none if it does not run."""
        server = self._server
        children = list(server.children.values()) if server else []  # at once: threads may look
        return tuple(
            ChildInfo(
                id=child.spec.id,
                state=state_of(child),
                type=child.spec.type,
                supervisor=child.spec.start if child.spec.kind == "supervisor" else None,
            )
            for child in children
        )

    def count_children(self) -> ChildCounts:
        """Return counts of the children."""
        children = self.which_children()
        supervisors = sum(child.type == "supervisor" for child in children)
        return ChildCounts(
            specs=len(children),
            active=sum(child.state == "running" for child in children),
            supervisors=supervisors,
            workers=len(children) - supervisors,
        )


_running: WeakSet[NifSupervisor] = WeakSet()


def running() -> tuple[NifSupervisor, ...]:
    """Return the supervisors of this process that run, inner ones too, in no order."""
    return tuple(_running)
