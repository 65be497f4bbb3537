"""What a run is to do: which subjects in which scenarios, how often, and in which order."""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeVar

from aionif.bench.scenarios import SCENARIOS, Scenario, scenario_of_own
from aionif.bench.subjects import SUBJECTS, Subject, is_installed
from aionif.bench.workload import UserCall, near_miss

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = (
    "EVENTS",
    "SIDE_BY_SIDE",
    "Batch",
    "Event",
    "Plan",
    "PlanError",
    "estimate",
    "make_plan",
    "refusal",
    "tried",
)

Event = Literal["crash", "hang", "cancel"]
EVENTS: tuple[Event, ...] = ("crash", "hang", "cancel")
"""What is tried for the behaviours."""

_T = TypeVar("_T")

SIDE_BY_SIDE = 6
"""Trials of a quick run that run at once."""

_ROUNDS, _ROUNDS_QUICK = 4, 1
_BUDGET, _BUDGET_QUICK = 0.12, 0.02  # seconds
_OWN_TOGETHER = 100
_START = 0.45  # seconds that a child and its workers take to start, and to be gone
_BEHAVIOUR = 2.2  # seconds, the same included


class PlanError(ValueError):
    """A plan asks for what there is not; the message names what was probably meant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run.

    budget: seconds that a cell may measure, more or less. pin: CPUs that children may use; empty:
    all. workers: that each subject has. own: calls of the user's own.
    bound: seconds after which a cell is taken to hang; None: its scenario's own.
    behaviours: whether to try what subjects do when a call goes wrong.
    """

    scenarios: tuple[Scenario, ...]
    subjects: tuple[Subject, ...]
    rounds: int
    seed: int
    budget: float
    workers: int
    quick: bool = False
    pin: tuple[int, ...] = ()
    own: dict[str, UserCall] = field(default_factory=dict)
    bound: float | None = None
    behaviours: bool = True

    def batches(self, turn: int) -> Iterator[Batch]:
        """Return what a round's child processes do, in the order in which they do it.

        Scenarios come in random order, and subjects within each: what is compared is close in
        time, and none always follows the same other. A quick run has one child for a subject.
        """
        draw = random.Random(f"{self.seed} {turn}")  # noqa: S311 - to be repeated, no secret
        scenarios = [s for s in self.scenarios if s.rounds is None or turn < s.rounds]
        draw.shuffle(scenarios)
        if self.quick:
            scenarios.sort(key=lambda scenario: scenario.last)
            for subject in draw.sample(self.subjects, len(self.subjects)):
                yield from self._batch(subject, scenarios)
            return
        for scenario in scenarios:
            for subject in draw.sample(self.subjects, len(self.subjects)):
                yield from self._batch(subject, [scenario])

    def _batch(self, subject: Subject, scenarios: list[Scenario]) -> Iterator[Batch]:
        able = tuple(s for s in scenarios if not refusal(subject, s))
        if able and is_installed(subject):
            yield Batch(subject=subject, scenarios=able)


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """What one child process measures, in this order."""

    subject: Subject
    scenarios: tuple[Scenario, ...]


def make_plan(  # noqa: PLR0913 - each has a default
    *,
    scenarios: Iterable[str] = (),
    subjects: Iterable[str] = (),
    own: Iterable[UserCall] = (),
    quick: bool = False,
    rounds: int | None = None,
    seed: int | None = None,
    budget: float | None = None,
    workers: int | None = None,
    pin: Iterable[int] = (),
    bound: float | None = None,
    behaviours: bool | None = None,
) -> Plan:
    """Return a plan. Without names it has all there are; with `own`, the scenarios of these alone.

    quick: one round with little time, to see that everything runs; its figures have no bounds.
    rounds: default 4. seed: of the random order; default: a new one. budget: seconds for each
    cell; default 0.12. workers: of each subject; default: the number of CPUs, 2 at the least.
    pin: numbers of the CPUs to use. bound: seconds after which a cell is taken to hang; default:
    each scenario has its own. behaviours: default: True, but for named scenarios and own calls.

    Raises PlanError for an unknown name, with the nearest known one, and for numbers out of range.
    """
    calls = dict(_named(own))
    chosen = _known("scenario", scenarios, SCENARIOS)
    plan = Plan(
        scenarios=(*(chosen or _default_scenarios(calls, quick=quick)), *_scenarios_of(calls)),
        subjects=_known("subject", subjects, SUBJECTS) or tuple(SUBJECTS.values()),
        rounds=rounds if rounds is not None else _ROUNDS_QUICK if quick else _ROUNDS,
        seed=seed if seed is not None else random.SystemRandom().randrange(1 << 32),
        budget=budget if budget is not None else _BUDGET_QUICK if quick else _BUDGET,
        workers=workers if workers is not None else max(2, len(os.sched_getaffinity(0))),
        quick=quick,
        pin=tuple(pin),
        bound=bound,
        own={name: call for slug, call in calls.items() for name in _names_of(slug)},
        behaviours=behaviours if behaviours is not None else not chosen and not calls,
    )
    return _checked(plan)


def refusal(subject: Subject, scenario: Scenario) -> str:
    """Return why a subject can't take part in a scenario, by its nature; empty: it can."""
    for need in scenario.needs:
        if need in subject.lacks:
            return subject.lacks[need]
    if subject.only and scenario.group not in subject.only:
        return next(iter(subject.lacks.values()))
    return ""


def estimate(plan: Plan) -> float:
    """Return about how many seconds the run will take."""
    total = 0.0
    for turn in range(plan.rounds):
        for batch in plan.batches(turn):
            each = 1.5 * plan.budget
            total += _START + sum(each + scenario.costs for scenario in batch.scenarios)
    if plan.behaviours:
        at_once = SIDE_BY_SIDE if plan.quick else 1
        total += _BEHAVIOUR * len(EVENTS) * len(tried(plan)) / at_once
    return total


def tried(plan: Plan) -> list[Subject]:
    """Return the subjects whose behaviour is tried."""
    return [s for s in plan.subjects if is_installed(s) and not s.only] if plan.behaviours else []


# ---- names ----


def _known(kind: str, names: Iterable[str], known: dict[str, _T]) -> tuple[_T, ...]:
    for name in (names := tuple(dict.fromkeys(names))):
        if name not in known:
            raise PlanError(f"there is no {kind} named {name!r}: {near_miss(name, list(known))}")
    return tuple(known[name] for name in names)


def _default_scenarios(calls: dict[str, UserCall], *, quick: bool) -> list[Scenario]:
    return [] if calls else [s for s in SCENARIOS.values() if s.quick or not quick]


def _named(own: Iterable[UserCall]) -> Iterator[tuple[str, UserCall]]:
    seen: set[str] = set(SCENARIOS)
    for call in own:
        if call.slug in seen:
            raise PlanError(f"there are two scenarios named {call.slug!r}")
        seen.add(call.slug)
        yield call.slug, call


def _names_of(slug: str) -> tuple[str, str]:
    return slug, f"{slug}-x{_OWN_TOGETHER}"


def _scenarios_of(calls: dict[str, UserCall]) -> Iterator[Scenario]:
    for slug, call in calls.items():
        yield scenario_of_own(slug, call.title)
        yield scenario_of_own(slug, call.title, _OWN_TOGETHER)


def _checked(plan: Plan) -> Plan:
    if plan.rounds < 1:
        raise PlanError(f"rounds must be 1 or more, not {plan.rounds}")
    if plan.workers < 1:
        raise PlanError(f"workers must be 1 or more, not {plan.workers}")
    if not 0 < plan.budget <= 60:  # noqa: PLR2004 - a minute
        raise PlanError(f"budget must be more than 0 s and at most 60 s, not {plan.budget}")
    if plan.bound is not None and plan.bound <= 0:
        raise PlanError(f"bound must be more than 0 s, not {plan.bound}")
    missing = sorted(set(plan.pin) - os.sched_getaffinity(0))
    if missing:
        raise PlanError(f"there is no CPU {missing[0]} to pin to")
    return plan
