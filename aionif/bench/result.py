"""What a run found: the data that is measured, written, read again, shown and compared.

The file is a pyperf suite, one benchmark for each scenario and subject and one run for each round,
so that `pyperf compare_to` reads it; what pyperf has no place for is beside it under "aionif".
"""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

__all__ = (
    "FORMAT",
    "Behaviour",
    "Cell",
    "Results",
    "ResultsError",
    "ScenarioFacts",
    "Status",
    "SubjectFacts",
    "load_results",
    "save_results",
)

FORMAT = 1
"""The version of the part under "aionif". It goes up when an older reader would be misled."""

Status = Literal["measured", "unsupported", "absent", "hung", "died", "failed"]
"""What became of a cell. unsupported: the subject can't do this by its nature. absent: it is not
installed. hung: it was killed at its bound. died: its process ended. failed: an exception."""


class ResultsError(Exception):
    """A file of results can't be read."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubjectFacts:
    """One way of calling. title: for people. version: of what was installed, or empty."""

    name: str
    title: str
    version: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ScenarioFacts:
    """One situation that subjects are put into.

    title: for people. group: scenarios of one group differ in `x` alone, and make one curve.
    x: the calls in flight, the bytes or the arrivals a second; None outside groups.
    """

    name: str
    title: str
    group: str = ""
    x: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What one subject did in one scenario, in one round.

    seconds: per call, one figure a batch; the ratios are made of these.
    latency: how many single calls took so long, by the bucket of `aionif.bench.latency`; empty
        where only batches could be timed.
    figures: other figures by name, in base units: cpu_seconds_per_call, pss_bytes,
        calls_per_second, loop_lag_p99_seconds, bystanders, bystanders_lost, ...
    note: why it is not "measured", or what is to be known of it.
    """

    scenario: str
    subject: str
    round: int
    status: Status
    seconds: tuple[float, ...] = ()
    latency: dict[int, int] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Behaviour:
    """What one subject did when one call went wrong; found by trying. None: it can't be said.

    event: the call crashed, ran on past its deadline, or its task was cancelled.
    told: class of the exception that the caller got; empty if it never came back.
    signal: as the caller was told it. seconds: from the event until the caller knew.
    bystanders: other calls in flight. stopped: whether the native code really ended.
    usable: whether the same pool took and ended a call afterwards. survived: the program did.
    """

    subject: str
    event: Literal["crash", "hang", "cancel"]
    told: str
    signal: str | None = None
    seconds: float | None = None
    bystanders: int = 0
    bystanders_lost: int | None = None
    stopped: bool | None = None
    usable: bool | None = None
    survived: bool = True
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Results:
    """One run.

    machine: its facts, as text. command: that repeats the run. created: ISO 8601, UTC.
    rounds, seed: how many rounds, and what their random order was drawn from.
    complete: False if it was interrupted; the cells are those that were done.
    warnings: why the figures are to be doubted.
    """

    machine: dict[str, str]
    command: str
    created: str
    rounds: int
    seed: int
    quick: bool
    subjects: tuple[SubjectFacts, ...]
    scenarios: tuple[ScenarioFacts, ...]
    cells: tuple[Cell, ...] = ()
    behaviours: tuple[Behaviour, ...] = ()
    warnings: tuple[str, ...] = ()
    complete: bool = True

    def of(self, scenario: str, subject: str) -> tuple[Cell, ...]:
        """Return the cells of one scenario and subject, in the order of their rounds."""
        found = (c for c in self.cells if (c.scenario, c.subject) == (scenario, subject))
        return tuple(sorted(found, key=lambda cell: cell.round))


# ---- files ----


def save_results(results: Results, path: str | os.PathLike[str]) -> None:
    """Write results, whole or not at all: a reader never sees half a file."""
    target = Path(path)
    text = json.dumps(_as_pyperf(results), indent=1)
    beside = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        beside.write_text(text, encoding="utf-8")
        beside.replace(target)
    finally:
        beside.unlink(missing_ok=True)


def load_results(path: str | os.PathLike[str]) -> Results:
    """Read what `save_results` wrote.

    Raises ResultsError, which names the file and what is wrong with it.
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as problem:
        raise ResultsError(f"{path}: can't be read: {problem}") from problem
    extra = document.get("aionif") if isinstance(document, dict) else None
    if not isinstance(extra, dict):
        raise ResultsError(f"{path}: not written by aionif bench")
    if extra.get("format") != FORMAT:
        raise ResultsError(
            f"{path}: has format {extra.get('format')!r}, and this version reads {FORMAT} alone; "
            "run the benchmark again"
        )
    try:
        return _from_extra(extra)
    except (TypeError, KeyError, ValueError, AttributeError) as problem:
        raise ResultsError(f"{path}: is damaged: {problem!r}") from problem


def _from_extra(extra: dict[str, Any]) -> Results:
    known = {name: extra[name] for name in Results.__dataclass_fields__ if name in extra}
    known["subjects"] = tuple(SubjectFacts(**entry) for entry in extra["subjects"])
    known["scenarios"] = tuple(ScenarioFacts(**entry) for entry in extra["scenarios"])
    known["cells"] = tuple(_cell(entry) for entry in extra["cells"])
    known["behaviours"] = tuple(Behaviour(**entry) for entry in extra["behaviours"])
    known["warnings"] = tuple(extra["warnings"])
    return Results(**known)


def _cell(entry: dict[str, Any]) -> Cell:
    cell = Cell(**entry)
    return replace(
        cell,
        seconds=tuple(float(value) for value in cell.seconds),
        latency={int(bucket): int(count) for bucket, count in cell.latency.items()},
    )


def _as_pyperf(results: Results) -> dict[str, Any]:
    return {
        "version": "1.0",
        "metadata": {"command": results.command, **results.machine},
        "benchmarks": [
            entry
            for scenario in results.scenarios
            for subject in results.subjects
            if (entry := _benchmark(results, scenario.name, subject.name))
        ],
        "aionif": {"format": FORMAT, **asdict(results)},
    }


def _benchmark(results: Results, scenario: str, subject: str) -> dict[str, Any] | None:
    runs = [
        {"values": list(cell.seconds)} for cell in results.of(scenario, subject) if cell.seconds
    ]
    if not runs:
        return None
    return {"metadata": {"name": f"{scenario}/{subject}", "unit": "second"}, "runs": runs}
