"""What changed between two runs, told from what chance does and from what the machine does.

Two runs are two hours of a machine, if not two machines. So beside the plain ratio of new to old
there is a steady one, in which both are divided, round by round, by what a direct call took in the
same run: what slows the direct call down too is not the doing of what is compared. On one machine
something has changed only if both ratios say so; between two machines the plain one means nothing.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Literal

from aionif.bench.reading import EVENTS, behaviour_of, is_floor, verdict
from aionif.bench.result import Cell, Results
from aionif.bench.statistics import Ratio, median_seconds, ratio

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aionif.bench.result import ScenarioFacts, SubjectFacts

__all__ = ("Change", "Comparison", "Fall", "compare")

Kind = Literal["slower", "faster", "same"]

_MACHINE = ("cpu", "cores", "machine")  # facts by which machines differ, not only what runs there
_PASSING = ("load",)  # facts that are never the same twice
_BARE = Results(
    machine={}, command="", created="", rounds=0, seed=0, quick=False, subjects=(), scenarios=()
)
"""A run of nothing, for cells that are to be looked at as those of one run."""

_TONES = ("good", "poor", "bad")


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One subject in one scenario, in both runs.

    plain: the time a call, new over old. steady: the same by the direct call of each run; None
    where a run has none. kind: what both together say, beyond the threshold.
    """

    scenario: ScenarioFacts
    subject: SubjectFacts
    plain: Ratio
    steady: Ratio | None
    kind: Kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Fall:
    """What was once measured, or went well, and does no longer. where, before, after: in words."""

    subject: SubjectFacts
    where: str
    before: str
    after: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Everything that two runs have in common.

    speed: the direct call, new over old: the machine's own change; None if a run has none.
    alone: scenarios and subjects that only one run has, in words.
    warnings: why the comparison is to be doubted.
    """

    changes: tuple[Change, ...]
    falls: tuple[Fall, ...]
    speed: Ratio | None
    alone: tuple[str, ...]
    warnings: tuple[str, ...]

    @property
    def regressed(self) -> bool:
        """Whether anything became worse."""
        return bool(self.falls) or any(change.kind == "slower" for change in self.changes)


def compare(old: Results, new: Results, *, threshold: float = 0.05) -> Comparison:
    """Hold a run against an earlier one.

    threshold: what may change without being named; 0.05 is a twentieth. A ratio counts when its
        whole 95 % interval lies beyond.
    """
    elsewhere = any(old.machine.get(fact) != new.machine.get(fact) for fact in _MACHINE)
    speeds = _speeds(old, new)
    speed = _over(*speeds) if speeds else None
    changes = []
    for scenario, subject in _common(old, new):
        if is_floor(subject):
            continue
        before, after = (run.of(scenario.name, subject.name) for run in (old, new))
        plain = _over(before, after)
        if plain is None:
            continue
        steady = _over(*map(_steadied, (before, after), speeds)) if speeds else None
        deciding = [plain] if steady is None else [steady] if elsewhere else [plain, steady]
        kind = _kind(deciding, threshold)
        changes.append(
            Change(scenario=scenario, subject=subject, plain=plain, steady=steady, kind=kind)
        )
    return Comparison(
        changes=tuple(sorted(changes, key=lambda change: -(change.steady or change.plain).value)),
        falls=(*_falls(old, new), *_worse_behaviour(old, new)),
        speed=speed,
        alone=tuple(_alone(old, new)),
        warnings=tuple(_warnings(old, new, elsewhere=elsewhere, steady=speed is not None)),
    )


def _common(old: Results, new: Results) -> Iterator[tuple[ScenarioFacts, SubjectFacts]]:
    scenarios = {scenario.name for scenario in old.scenarios}
    subjects = {subject.name for subject in old.subjects}
    for scenario, subject in product(new.scenarios, new.subjects):
        if scenario.name in scenarios and subject.name in subjects:
            yield scenario, subject


# ---- ratios between runs ----

Cells = tuple[Cell, ...]


def _over(before: Cells, after: Cells) -> Ratio | None:
    """Return the ratio of two runs by the means that a run has for two of its subjects.

    The n-th rounds are taken together. They have nothing in common, and need not: the bounds hold
    for any pairs of rounds that were not chosen by their figures.
    """
    cells = tuple(
        replace(cell, scenario="", subject=name, round=number)
        for name, of in (("before", before), ("after", after))
        for number, cell in enumerate(cell for cell in of if cell.status == "measured")
    )
    return ratio(replace(_BARE, cells=cells), "", "after", "before")


def _speeds(old: Results, new: Results) -> tuple[Cells, Cells] | None:
    """Return what a direct call took in each run, a cell for each round; None if one has none."""
    floors = [
        (scenario.name, subject.name)
        for scenario, subject in _common(old, new)
        if is_floor(subject)
        and all(median_seconds(run, scenario.name, subject.name) for run in (old, new))
    ]
    speeds = tuple(_speed_of(run, floors) for run in (old, new))
    return (speeds[0], speeds[1]) if all(speeds) else None


def _speed_of(run: Results, floors: list[tuple[str, str]]) -> Cells:
    """Return the geometric mean over scenarios, as one figure of every round that has them all."""
    by_round: dict[int, list[float]] = {}
    for name, floor in floors:
        for cell in run.of(name, floor):
            if cell.status == "measured" and cell.seconds and min(cell.seconds) > 0:
                by_round.setdefault(cell.round, []).append(statistics.median(cell.seconds))
    return tuple(
        Cell(scenario="", subject="", round=number, status="measured",
             seconds=(statistics.geometric_mean(found),))
        for number, found in sorted(by_round.items())
        if len(found) == len(floors)
    )  # fmt: skip


def _steadied(cells: Cells, speeds: Cells) -> Cells:
    speed = {cell.round: cell.seconds[0] for cell in speeds}
    return tuple(
        replace(cell, seconds=tuple(seconds / speed[cell.round] for seconds in cell.seconds))
        for cell in cells
        if cell.round in speed
    )


def _kind(deciding: list[Ratio], threshold: float) -> Kind:
    beyond = 1 + threshold
    if all(each.low > beyond for each in deciding):
        return "slower"
    if all(each.high < 1 / beyond for each in deciding):
        return "faster"
    return "same"


# ---- what can't be a ratio ----


def _falls(old: Results, new: Results) -> Iterator[Fall]:
    for scenario, subject in _common(old, new):
        before, after = (run.of(scenario.name, subject.name) for run in (old, new))
        if not before or any(cell.status != "measured" for cell in before):
            continue
        worse = next((cell for cell in after if cell.status in ("hung", "died", "failed")), None)
        if worse:
            now = f"{worse.status}: {worse.note}" if worse.note else worse.status
            yield Fall(subject=subject, where=scenario.title, before="measured", after=now)


def _worse_behaviour(old: Results, new: Results) -> Iterator[Fall]:
    for subject, (event, title) in product(new.subjects, EVENTS.items()):
        before, after = (behaviour_of(run, subject.name, event) for run in (old, new))
        if before and after:
            (was, then), (became, now) = verdict(before), verdict(after)
            if _TONES.index(became) > _TONES.index(was):
                yield Fall(subject=subject, where=title, before=then, after=now)


def _alone(old: Results, new: Results) -> Iterator[str]:
    for which, one, other in (("old", old, new), ("new", new, old)):
        for things in ("scenarios", "subjects"):
            there = {each.name for each in getattr(other, things)}
            names = [each.name for each in getattr(one, things) if each.name not in there]
            if names:
                yield f"{things} of the {which} run alone: {', '.join(names)}"


def _warnings(old: Results, new: Results, *, elsewhere: bool, steady: bool) -> Iterator[str]:
    if elsewhere:
        known = "only ratios to the direct call are counted"
        blind = "and there is no direct call in both to tell machines from code"
        yield f"these are runs of different machines; {known if steady else blind}"
    for fact in sorted(old.machine.keys() | new.machine.keys()):
        then, now = old.machine.get(fact, "unknown"), new.machine.get(fact, "unknown")
        if then != now and fact not in _PASSING:
            yield f"{fact} was {then}, and is {now}"
    for which, run in (("old", old), ("new", new)):
        if run.quick:
            yield f"the {which} run is a quick look: its figures are noise"
        if not run.complete:
            yield f"the {which} run was interrupted"
        if run.rounds == 1:
            yield f"the {which} run has one round: nothing can be told apart"
        for warning in run.warnings:
            yield f"the {which} run: {warning}"
