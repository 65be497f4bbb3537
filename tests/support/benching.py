"""Results as a run would find them, made up: every kind of cell, at once and always the same."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from functools import cache, partial
from typing import TYPE_CHECKING

from aionif.bench.latency import bucket_of
from aionif.bench.result import Behaviour, Cell, Results, ScenarioFacts, SubjectFacts

if TYPE_CHECKING:
    from aionif.bench.result import Status

BASELINE = "ThreadPoolExecutor"
ROUNDS = 5

# name, title, version, seconds of a call alone
_SUBJECTS = (
    ("direct", "direct call", "", 0.13e-6),
    ("call_nif", "aionif.call_nif, inline", "0.1.0", 0.37e-6),
    ("thread", "aionif, thread tier", "0.1.0", 2.1e-6),
    ("process", "aionif, process tier", "0.1.0", 1.9e-6),
    ("process-buffer", "aionif, process tier, data that lies in a Buffer", "0.1.0", 2.0e-6),
    ("to_thread", "asyncio.to_thread", "", 85e-6),
    (BASELINE, "ThreadPoolExecutor, run_in_executor", "", 78e-6),
    ("anyio.to_thread", "anyio.to_thread", "4.14", 95e-6),
    ("ProcessPoolExecutor", "ProcessPoolExecutor (forkserver)", "", 230e-6),
    ("anyio.to_process", "anyio.to_process", "4.14", 83e-6),
    ("loky", "loky, reusable executor", "3.5", 260e-6),
    ("pebble", "pebble.ProcessPool (forkserver)", "5.1", 190e-6),
    ("trio-parallel", "trio-parallel (trio, spawn)", "1.3", 140e-6),
)
_ABSENT = {"loky": "is not installed: pip install loky"}
_UNSUPPORTED = {"call_nif": "one call at a time", "direct": "one call at a time"}

_SCENARIOS = (
    ScenarioFacts(name="empty", title="an empty call"),
    ScenarioFacts(name="hash", title="1 KiB hashed by libz"),
    *(
        ScenarioFacts(name=f"flight-{n}", title=f"{n:,} in flight", group="in-flight", x=n)
        for n in (1, 10, 100, 1000)
    ),
    *(
        ScenarioFacts(name=f"bytes-{n}", title=f"{n:,} bytes", group="arguments", x=n)
        for n in (64, 65536, 8388608)
    ),
    *(
        ScenarioFacts(name=f"arrivals-{n}", title=f"{n:,} a second", group="arrivals", x=n)
        for n in (100, 1000, 10000)
    ),
)


@cache
def synthetic(*, rounds: int = ROUNDS, slower: float = 1.0, subject: str = "thread") -> Results:
    """Return results; with `slower`, one subject takes so many times as long in every scenario."""
    draw = random.Random(7)
    cells = tuple(
        _cell(draw, scenario, name, base * (slower if name == subject else 1.0), round_)
        for round_ in range(rounds)
        for scenario in _SCENARIOS
        for name, _, _, base in _SUBJECTS
    )
    return Results(
        machine={"cpu": "AMD EPYC", "cores": "2 of 2", "kernel": "6.18", "python": "3.11.7"},
        command="aionif bench --rounds 5 --seed 7 -o results.json",
        created="2026-01-01T12:00:00+00:00",
        rounds=rounds,
        seed=7,
        quick=False,
        subjects=tuple(
            SubjectFacts(name=name, title=title, version="" if name in _ABSENT else version)
            for name, title, version, _ in _SUBJECTS
        ),
        scenarios=_SCENARIOS,
        cells=cells,
        behaviours=tuple(_behaviours()),
        warnings=("load is 1.80 on 2 CPUs: other programs take part of them",),
    )


def renamed(results: Results, subject: str, title: str) -> Results:
    """Return the same results with another title for a subject."""
    return replace(
        results,
        subjects=tuple(
            replace(each, title=title) if each.name == subject else each
            for each in results.subjects
        ),
    )


def _cell(
    draw: random.Random, scenario: ScenarioFacts, subject: str, base: float, round_: int
) -> Cell:
    status, note = _fate(scenario, subject)
    if status != "measured":
        return Cell(scenario=scenario.name, subject=subject, round=round_, status=status, note=note)
    size = scenario.x or 1.0
    seconds = base + {"arguments": size * 0.3e-9, "": 0.0}.get(scenario.group, 1.5e-6)
    if scenario.group == "in-flight":
        seconds = max(seconds / min(size, 10), 1.5e-6)
    seconds *= draw.lognormvariate(0, 0.05)
    return Cell(
        scenario=scenario.name,
        subject=subject,
        round=round_,
        status="measured",
        seconds=tuple(seconds * draw.lognormvariate(0, 0.04) for _ in range(12)),
        latency={bucket + bucket_of(seconds): count for bucket, count in _shape().items()},
        figures={"cpu_seconds_per_call": seconds * 0.9, "pss_bytes": 4e6 * draw.uniform(0.9, 1.1)},
    )


@cache
def _shape() -> dict[int, int]:
    """Return how far, in buckets, the latencies of single calls lie from their time by batches."""
    draw = random.Random(11)
    return Counter(
        bucket_of(1e-3 * draw.lognormvariate(0.1, 0.4)) - bucket_of(1e-3) for _ in range(1500)
    )


def _fate(scenario: ScenarioFacts, subject: str) -> tuple[Status, str]:
    if subject in _ABSENT:
        return "absent", _ABSENT[subject]
    if scenario.group in ("in-flight", "arrivals") and subject in _UNSUPPORTED:
        return "unsupported", _UNSUPPORTED[subject]
    if (scenario.name, subject) == ("bytes-8388608", "anyio.to_process"):
        return "hung", "killed after 30 s"
    if (scenario.name, subject) == ("arrivals-10000", "ProcessPoolExecutor"):
        return "died", "ended by SIGKILL"
    if (scenario.name, subject) == ("flight-1000", "pebble"):
        return "failed", "OSError: [Errno 24] Too many open files"
    return "measured", ""


def _behaviours() -> list[Behaviour]:
    gone = partial(
        Behaviour, event="crash", told="", survived=False, note="the program ended by SIGSEGV"
    )
    late = partial(Behaviour, event="hang", told="TimeoutError", seconds=0.2, bystanders=100)
    found = [gone(subject="direct"), gone(subject=BASELINE), late(subject=BASELINE, stopped=False)]
    for name in ("call_nif", "thread", "process"):
        well = partial(
            Behaviour, subject=name, seconds=9e-5, bystanders=100, bystanders_lost=0, stopped=True,
            usable=True,
        )  # fmt: skip
        found.append(well(event="crash", told="NifSignal", signal="SIGSEGV"))
        found.append(well(event="hang", told="NifTimeout"))
        found.append(well(event="cancel", told="CancelledError"))
    found.append(
        Behaviour(
            subject="ProcessPoolExecutor", event="crash", told="BrokenProcessPool", seconds=0.02,
            bystanders=100, bystanders_lost=100, stopped=True, usable=False,
        )
    )  # fmt: skip
    found.append(
        Behaviour(subject="pebble", event="hang", told="", note="never came back within 30 s")
    )
    return found
