"""`aionif bench` and `aionif bench compare`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from aionif.bench.advise import advise
from aionif.bench.plan import PlanError, make_plan
from aionif.bench.reading import is_ours
from aionif.bench.result import ResultsError, load_results, save_results
from aionif.bench.runner import measure
from aionif.bench.scenarios import SCENARIOS
from aionif.bench.subjects import SUBJECTS, is_installed
from aionif.bench.suite import calls_in, calls_of_library
from aionif.bench.workload import WorkError, near_miss

if TYPE_CHECKING:
    import argparse

    from rich.console import Console

    from aionif.bench.plan import Plan
    from aionif.bench.result import Results
    from aionif.bench.workload import UserCall

__all__ = ("compare", "run")

_DONE, _WORSE, _IMPOSSIBLE, _INTERRUPTED = 0, 1, 2, 130  # the last is what a shell makes of SIGINT
_WIDTH = 160  # columns, where stdout is not a terminal


class _Refused(Exception):  # noqa: N818 - what follows is a sentence for the user
    """It can't be done as it was asked for."""


def run(options: argparse.Namespace) -> int:
    """Measure what the options say, and return the exit status."""
    try:
        if options.list:
            _list()
            return _DONE
        _check_system()
        _check_extra()
        plan = _plan(options)
        _check_output(options)
    except (_Refused, PlanError, WorkError) as problem:
        print(f"aionif bench: {problem}", file=sys.stderr)
        return _IMPOSSIBLE
    try:
        results = _measure(plan)
        status = _show(results, options)
        _advise(results, plan)
    except KeyboardInterrupt:  # before the first cell or after the last: there is nothing to keep
        print("aionif bench: interrupted", file=sys.stderr)
        return _INTERRUPTED
    return status


def compare(options: argparse.Namespace) -> int:
    """Show what changed between two files of results, and return the exit status."""
    try:
        _check_extra()
        old, new = load_results(options.old), load_results(options.new)
    except (_Refused, ResultsError) as problem:
        print(f"aionif bench compare: {problem}", file=sys.stderr)
        return _IMPOSSIBLE
    from aionif.bench import compare as comparing  # noqa: PLC0415 - not before the extra is there
    from aionif.bench import table  # noqa: PLC0415

    found = comparing.compare(old, new, threshold=options.threshold)
    table.print_comparison(found, _console())
    return _WORSE if found.regressed else _DONE


# ---- before the run ----


def _check_system() -> None:
    if not Path("/proc/self/stat").exists():
        raise _Refused("what processes use is read from /proc, which is not mounted here")


def _check_extra() -> None:
    """Refuse before anything is measured, not when an hour's figures are to be shown."""
    try:
        import altair  # noqa: F401, ICN001, PLC0415
        import rich  # noqa: F401, PLC0415
        import vl_convert  # noqa: F401, PLC0415
    except ModuleNotFoundError as missing:
        raise _Refused(f"{missing.name} is not installed: pip install 'aionif[bench]'") from missing


def _plan(options: argparse.Namespace) -> Plan:
    plan = make_plan(
        scenarios=_names(options.scenario),
        subjects=_names(options.subject),
        own=_own(options),
        quick=options.quick,
        rounds=options.rounds,
        seed=options.seed,
        budget=options.budget,
        workers=options.workers,
        pin=_cpus(options.pin),
        bound=options.bound,
    )
    measured = [subject.name for subject in plan.subjects]
    if options.baseline and options.baseline not in measured:
        raise _Refused(
            f"the baseline {options.baseline!r} is not measured: "
            f"{near_miss(options.baseline, measured)}"
        )
    return plan


def _names(given: list[str]) -> list[str]:
    return [name.strip() for names in given for name in names.split(",") if name.strip()]


def _cpus(text: str) -> list[int]:
    try:
        return [int(number) for number in text.split(",") if number]
    except ValueError as problem:
        raise _Refused(f"--pin {text}: not numbers of CPUs. Write: --pin 0,1") from problem


def _own(options: argparse.Namespace) -> list[UserCall]:
    if (options.lib or options.cdef) and not options.call:
        raise _Refused("--lib and --cdef say where a function is; --call says how to call it")
    of_file = calls_in(options.file) if options.file else ()
    return [*of_file, *calls_of_library(options.lib, options.cdef, options.call)]


def _check_output(options: argparse.Namespace) -> None:
    """Refuse before the run what could not be written after it."""
    for path in (options.json, options.report):
        if path is None:
            continue
        if path.is_dir():
            raise _Refused(f"{path} is a directory")
        if not os.access(path.parent, os.W_OK):
            raise _Refused(f"{path} can't be written: there is no such directory, or it is closed")


def _list() -> None:
    print("scenarios:")
    for scenario in SCENARIOS.values():
        print(f"  {scenario.name:20}{scenario.title}")
    print("subjects:")
    for subject in SUBJECTS.values():
        absent = "" if is_installed(subject) else f" (pip install {subject.distribution})"
        print(f"  {subject.name:20}{subject.title}{absent}")


# ---- the run, and after it ----


def _measure(plan: Plan) -> Results:
    from rich.console import Console  # noqa: PLC0415 - not before the extra is there

    from aionif.bench.plan import estimate  # noqa: PLC0415
    from aionif.cli._bench_progress import shown  # noqa: PLC0415

    minutes = estimate(plan) / 60
    console = Console(stderr=True)
    console.print(f"This takes about {max(1, round(minutes))} min.", highlight=False)
    with shown(console) as show:
        return measure(plan, progress=show)


def _show(results: Results, options: argparse.Namespace) -> int:
    from aionif.bench import page, table  # noqa: PLC0415 - not before the extra is there

    # written first: what is on paper survives whatever happens to the terminal
    if options.json:
        save_results(results, options.json)
    if options.report:
        html = page.page_of(results, baseline=options.baseline)
        Path(options.report).write_text(html, encoding="utf-8")
    table.print_results(results, _console(), baseline=options.baseline)
    if not results.complete:
        return _INTERRUPTED
    return _WORSE if _ours_failed(results) else _DONE


def _advise(results: Results, plan: Plan) -> None:
    """Say of each function of the user's own how to call it."""
    in_turn = (s for s in plan.scenarios if s.name in plan.own and s.parameters["count"] == 1)
    for scenario in in_turn:
        advice = advise(results, scenario.name)
        if advice:
            workers = f", {advice.workers} workers" if advice.workers else ""
            print(f"\n{scenario.title}: {advice.tier}{workers}")
            print("".join(f"  - {reason}\n" for reason in advice.reasons), end="")


def _ours_failed(results: Results) -> bool:
    ours = {subject.name for subject in results.subjects if is_ours(subject)}
    bad = ("hung", "died", "failed")
    return any(cell.status in bad and cell.subject in ours for cell in results.cells)


def _console() -> Console:
    from rich.console import Console  # noqa: PLC0415 - not before the extra is there

    return Console(width=None if sys.stdout.isatty() else _WIDTH)
