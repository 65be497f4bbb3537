"""Main of the child processes that measure: cells of one subject, as JSON in and lines of JSON out.

A line is written as soon as a cell is done, so a crash in the next one costs that one alone.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import sys
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import anyio

from aionif.bench._case import Case
from aionif.bench.scenarios import SCENARIOS, Scenario, measuring, scenario_of_own
from aionif.bench.subjects import SUBJECTS, Refusal, Subject
from aionif.bench.workload import UserCall

__all__ = ("Order", "main", "measure", "prepare", "scenario_named")


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a child is to do: scenarios of one subject, one after another.

    pin: the CPUs that it, and what it starts, may use; empty: all.
    own: calls of the user's, by the name of their scenarios.
    """

    subject: str
    scenarios: tuple[str, ...]
    workers: int
    budget: float
    turns: float
    pin: tuple[int, ...] = ()
    own: dict[str, UserCall] | None = None


def main() -> None:
    """Read the order from the file that is the first argument, and write to the second."""
    source, output = sys.argv[1:]
    given = json.loads(Path(source).read_text(encoding="utf-8"))
    given["own"] = {name: UserCall(**call) for name, call in (given["own"] or {}).items()}
    order = Order(**given)
    prepare(order.pin)
    subject = SUBJECTS[order.subject]
    with Path(output).open("w", encoding="utf-8", buffering=1) as lines:
        anyio.run(_measure_all, order, subject, lines, backend=subject.backend)
    leave()


def prepare(pin: tuple[int, ...]) -> None:
    """Set up this process as one that may crash: no core dump, nothing of aionif's in the log."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    logging.getLogger("aionif").setLevel(logging.CRITICAL)
    if pin:
        os.sched_setaffinity(0, pin)


def leave() -> None:
    """End without waiting for threads and workers that may never end; who started us kills them."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def scenario_named(name: str, own: dict[str, UserCall]) -> Scenario:
    """Return a scenario of the runner's or, of one of the user's calls, its own."""
    if name in SCENARIOS:
        return SCENARIOS[name]
    call = own[name]
    slug, _, count = name.rpartition("-x") if name != call.slug else (name, "", "1")
    return scenario_of_own(slug, call.title, int(count))


async def _measure_all(order: Order, subject: Subject, lines: Any) -> None:
    """Measure scenarios in turn; those that leave a subject as it was share one that is open."""
    own = order.own or {}
    case = Case(subject=subject, workers=order.workers, budget=order.budget, turns=order.turns)
    scenarios = [scenario_named(name, own) for name in order.scenarios]
    shared = [scenario for scenario in scenarios if not scenario.last]

    async def one(scenario: Scenario, opened: Any = None) -> None:
        given = replace(case, own=own.get(scenario.name), opened=opened)
        found = await measure(scenario, given)
        lines.write(json.dumps({"scenario": scenario.name, **found}) + "\n")

    if len(shared) > 1:
        async with case.open() as opened:
            for scenario in shared:
                await one(scenario, opened)
        scenarios = scenarios[len(shared) :]  # they come last
    for scenario in scenarios:
        await one(scenario)


async def measure(scenario: Scenario, case: Case) -> dict[str, Any]:
    """Measure one cell; return the fields of `aionif.bench.result.Cell` that it settles."""
    try:
        return {"status": "measured", **asdict(await measuring(scenario)(case))}
    except Refusal as refusal:
        return {"status": "unsupported", "note": str(refusal)}
    except Exception as problem:  # noqa: BLE001 - it is what is to be told
        return {"status": "failed", "note": _first_line(problem)}


def _first_line(problem: BaseException) -> str:
    while isinstance(problem, BaseExceptionGroup):
        problem = problem.exceptions[0]
    text = str(problem).strip().partition("\n")[0]
    return f"{type(problem).__name__}: {text}" if text else type(problem).__name__
