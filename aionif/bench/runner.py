"""Running a plan: round by round, one child process after another."""

from __future__ import annotations

import shlex
import signal
import sys
from collections import deque
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import anyio

from aionif.bench import machine
from aionif.bench._cell import Order
from aionif.bench._children import Ending, run_child
from aionif.bench.behaviour import observe
from aionif.bench.plan import EVENTS, SIDE_BY_SIDE, Event, refusal, tried
from aionif.bench.result import Behaviour, Cell, Results
from aionif.bench.scenarios import Scenario, facts_of
from aionif.bench.subjects import Subject, describe, is_installed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aionif.bench.plan import Batch, Plan

    Progress = Callable[[Cell | Behaviour, int], object]

__all__ = ("measure", "run")

_CHILD = "aionif.bench._cell"


async def run(
    plan: Plan,
    *,
    progress: Progress | None = None,
    interrupted: Callable[[Results], object] | None = None,
    stop: anyio.Event | None = None,
) -> Results:
    """Measure what the plan says, and return what was found.

    progress: called with each cell and each behaviour once it is there, and with how many are left.
    stop: if it is set, the run ends early: what was found by then is returned, with complete=False.
    interrupted: called with the same if the run is cancelled, before the cancellation goes on.

    Every child process, and all that it has started, is gone when this returns or raises.
    """
    session = _Session(plan, progress, stop or anyio.Event())
    try:
        await session.go()
    except BaseException:
        if interrupted is not None:
            interrupted(session.results(complete=False))
        raise
    return session.results(complete=not session.stop.is_set())


def measure(plan: Plan, *, progress: Progress | None = None) -> Results:
    """Do the same without an event loop. Ctrl-C ends the run early, and the results are returned.

    Only for the main thread.
    """

    async def main() -> Results:
        stop = anyio.Event()
        async with anyio.create_task_group() as group:
            group.start_soon(_set_on_interrupt, stop)
            results = await run(plan, progress=progress, stop=stop)
            group.cancel_scope.cancel()
        return results

    return anyio.run(main)


async def _set_on_interrupt(stop: anyio.Event) -> None:
    with anyio.open_signal_receiver(signal.SIGINT) as signals:
        async for _ in signals:
            stop.set()


class _Session:
    """A run that goes on, and what it has found so far."""

    def __init__(self, plan: Plan, progress: Progress | None, stop: anyio.Event) -> None:
        self.plan = plan
        self.stop = stop
        self._progress = progress
        self._quiet = machine.Quiet(plan.workers)
        self._machine = machine.facts()
        self._created = datetime.now(UTC).isoformat(timespec="seconds")
        self._cells: list[Cell] = []
        self._behaviours: list[Behaviour] = []
        self._turns = machine.turns_a_microsecond()
        self._absent = list(_not_measured(plan))
        self._left = len(self._absent) + _count(plan)

    def results(self, *, complete: bool) -> Results:
        """Return what was found so far."""
        plan = self.plan
        return Results(
            machine=self._machine,
            command=shlex.join(["aionif", *sys.argv[1:]]),
            created=self._created,
            rounds=plan.rounds,
            seed=plan.seed,
            quick=plan.quick,
            subjects=tuple(map(describe, plan.subjects)),
            scenarios=tuple(map(facts_of, plan.scenarios)),
            cells=tuple(self._cells),
            behaviours=tuple(self._behaviours),
            warnings=self._quiet.warnings(),
            complete=complete,
        )

    async def go(self) -> None:
        """Do all of it, or what there is time for until `stop` is set."""
        async with anyio.create_task_group() as group:
            group.start_soon(self._cancel_on_stop, group.cancel_scope)
            for cell in self._absent:
                self._keep(cell)
            for turn in range(self.plan.rounds):
                self._quiet.look()
                for batch in self.plan.batches(turn):
                    await self._measure(batch, turn)
            self._quiet.look()
            await self._try_behaviours()
            group.cancel_scope.cancel()

    async def _cancel_on_stop(self, scope: anyio.CancelScope) -> None:
        await self.stop.wait()
        scope.cancel()

    def _keep(self, done: Cell | Behaviour) -> None:
        if isinstance(done, Cell):
            self._cells.append(done)
        else:
            self._behaviours.append(done)
        self._left -= 1
        if self._progress is not None:
            self._progress(done, self._left)

    # ---- cells ----

    async def _measure(self, batch: Batch, turn: int) -> None:
        """Measure a batch; where a cell ends its child, go on with the next in another one."""
        left = deque(batch.scenarios)
        while left:
            bound = self.plan.bound or max(scenario.bound for scenario in left)
            ending = await run_child(_CHILD, self._order(batch.subject, left), bound=bound)
            for line in ending.lines:
                left.popleft()
                self._keep(_cell(line, batch.subject, turn))
            if left:
                self._keep(_lost(ending, left.popleft(), batch.subject, turn, bound))

    def _order(self, subject: Subject, scenarios: deque[Scenario]) -> dict[str, Any]:
        plan = self.plan
        names = tuple(scenario.name for scenario in scenarios)
        return asdict(
            Order(
                subject=subject.name,
                scenarios=names,
                workers=plan.workers,
                budget=plan.budget,
                turns=self._turns,
                pin=plan.pin,
                own={name: plan.own[name] for name in names if name in plan.own},
            )
        )

    # ---- behaviours ----

    async def _try_behaviours(self) -> None:
        """Try what can go wrong; in a quick run side by side, where times are noise anyway."""
        limiter = anyio.CapacityLimiter(SIDE_BY_SIDE if self.plan.quick else 1)

        async def one(subject: Subject, event: Event) -> None:
            async with limiter:
                self._keep(
                    await observe(subject, event, workers=self.plan.workers, turns=self._turns)
                )

        async with anyio.create_task_group() as group:
            for subject in tried(self.plan):
                for event in EVENTS:
                    group.start_soon(one, subject, event)


def _cell(line: dict[str, Any], subject: Subject, turn: int) -> Cell:
    fields = dict(line)
    fields["seconds"] = tuple(fields.get("seconds", ()))
    fields["latency"] = {int(b): count for b, count in fields.get("latency", {}).items()}
    return Cell(subject=subject.name, round=turn, **fields)


def _lost(ending: Ending, scenario: Scenario, subject: Subject, turn: int, bound: float) -> Cell:
    """Return the cell that a child did not get done."""
    status = "hung" if ending.status is None else "died"
    note = f"killed after {bound:g} s" if ending.status is None else ending.note
    return Cell(
        scenario=scenario.name,
        subject=subject.name,
        round=turn,
        status=status,  # type: ignore[arg-type] # one of the two
        note=note,
    )


def _count(plan: Plan) -> int:
    cells = sum(len(b.scenarios) for turn in range(plan.rounds) for b in plan.batches(turn))
    return cells + len(tried(plan)) * len(EVENTS)


def _not_measured(plan: Plan) -> Iterator[Cell]:
    """Return a cell for whatever is not measured, and why."""
    for subject in plan.subjects:
        absent = "" if is_installed(subject) else f"{subject.distribution} is not installed"
        for scenario in plan.scenarios:
            note = absent or refusal(subject, scenario)
            if note:
                yield replace(
                    _UNMEASURED,
                    scenario=scenario.name,
                    subject=subject.name,
                    status="absent" if absent else "unsupported",
                    note=note,
                )


_UNMEASURED = Cell(scenario="", subject="", round=0, status="unsupported")
