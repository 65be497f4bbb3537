"""The situations that subjects are put into."""

from __future__ import annotations

import importlib
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aionif.bench._case import Measured
    from aionif.bench.result import ScenarioFacts

__all__ = ("SCENARIOS", "Scenario", "facts_of", "measuring", "scenario_of_own")

_CALLS = "aionif.bench._scenarios_calls"
_FAULTS = "aionif.bench._scenarios_faults"
_STATES = "aionif.bench._scenarios_states"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scenario:
    """One situation.

    name, title, group, x: as in `ScenarioFacts`. module, function, parameters: what measures it.
    needs: what a subject must be able to do: "crash", "deadline", "flight".
    bound: seconds after which a cell is taken to hang. costs: seconds that it takes beyond its
    budget, for the estimate. rounds: at most so many; None: as many as the run has.
    quick: whether a quick run has it. last: it may leave the process damaged, so it comes last.
    """

    name: str
    title: str
    module: str
    function: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    group: str = ""
    x: float | None = None
    needs: tuple[str, ...] = ()
    bound: float = 10.0
    costs: float = 0.1
    rounds: int | None = None
    quick: bool = True
    last: bool = False


def _one_by_one(name: str, title: str, microseconds: float) -> Scenario:
    return Scenario(
        name=name,
        title=title,
        module=_CALLS,
        function="one_by_one",
        parameters={"microseconds": microseconds},
    )


def _in_flight(count: int, **more: Any) -> Scenario:
    return Scenario(
        name=f"in-flight-{count}",
        title=f"{count:,} empty calls in flight",
        module=_CALLS,
        function="in_flight",
        parameters={"count": count},
        group="in-flight",
        x=float(count),
        needs=("flight",),
        **more,
    )


def _arrivals(rate: int) -> Scenario:
    return Scenario(
        name=f"arrivals-{rate}",
        title=f"{rate:,} empty calls a second, from the time they were due",
        module=_CALLS,
        function="arrivals",
        parameters={"rate": rate},
        group="arrivals",
        x=float(rate),
        bound=20.0,
    )


def _arguments(name: str, title: str, size: int) -> Scenario:
    return Scenario(
        name=f"arguments-{name}",
        title=f"an argument of {title}",
        module=_CALLS,
        function="arguments",
        parameters={"size": size},
        group="arguments",
        x=float(size),
    )


def _fault(name: str, title: str, function: str, **more: Any) -> Scenario:
    more = {"needs": ("crash",), "bound": 20.0, **more}
    return Scenario(name=name, title=title, module=_FAULTS, function=function, last=True, **more)


_ALL = (
    _one_by_one("empty", "an empty call", 0),
    _one_by_one("work-10us", "10 us of work", 10),
    _one_by_one("work-1ms", "1 ms of work", 1_000),
    _in_flight(1),
    _in_flight(10, quick=False),
    _in_flight(100),
    _in_flight(1_000),
    _in_flight(10_000, bound=30.0, costs=1.5, rounds=2, quick=False),
    _in_flight(100_000, bound=90.0, costs=11.0, rounds=1, quick=False),
    _arrivals(1_000),
    _arrivals(10_000),
    _arguments("1KB", "1 KB", 1_000),
    _arguments("1MB", "1 MB", 1_000_000),
    _arguments("8MB", "8 MB", 8_000_000),
    Scenario(
        name="loop-lag",
        title="how late the event loop is, worst of 50 ticks, while 8 tasks call 1 ms of work",
        module=_CALLS,
        function="loop_lag",
        parameters={"microseconds": 1_000},
    ),
    Scenario(name="idle", title="nothing to do", module=_STATES, function="idle", costs=0.4),
    Scenario(
        name="cold-start",
        title="from opening it to the first result",
        module=_STATES,
        function="cold_start",
        last=True,
    ),
    _fault(
        "crash-1-of-100",
        "100 calls in flight, one of which crashes",
        "crash_of_many",
        needs=("crash", "flight"),
        parameters={"count": 100},
    ),
    _fault("crash-every-call", "a call that crashes", "crash_every_call"),
    _fault("respawn", "from a crash to the next result", "respawn"),
    _fault(
        "runaway",
        "a call that never ends: from its deadline until that is known",
        "runaway",
        needs=("deadline",),
        bound=10.0,
        costs=0.3,
        parameters={"timeout": 0.1},
    ),
)

SCENARIOS: dict[str, Scenario] = {scenario.name: scenario for scenario in _ALL}
"""All scenarios by name."""


def scenario_of_own(slug: str, title: str, count: int = 1) -> Scenario:
    """Return the scenario of a user's own call: `count` together; 1: one after another."""
    together = f", {count:,} in flight" if count > 1 else ""
    return Scenario(
        name=f"{slug}-x{count}" if count > 1 else slug,
        title=f"{title}{together}",
        module=_CALLS,
        function="own",
        parameters={"count": count},
        needs=("flight",) if count > 1 else (),
        bound=60.0,
    )


def facts_of(scenario: Scenario) -> ScenarioFacts:
    """Return what a run's results say of it."""
    from aionif.bench.result import ScenarioFacts  # noqa: PLC0415 - children have no use for it

    return ScenarioFacts(
        name=scenario.name, title=scenario.title, group=scenario.group, x=scenario.x
    )


def measuring(scenario: Scenario) -> Callable[..., Awaitable[Measured]]:
    """Import what measures it, and return that: `await measure(case)`."""
    module = importlib.import_module(scenario.module)
    return partial(getattr(module, scenario.function), **scenario.parameters)
