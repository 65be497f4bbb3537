"""The runner, with subjects and functions that hang, die and are missing."""

from __future__ import annotations

import os
import signal
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from aionif.bench import SUBJECTS, Cell, Results, Subject, calls_in, make_plan, measure, run
from tests.support import run_on

if TYPE_CHECKING:
    from collections.abc import Callable

FILE = """
    import os, signal, subprocess, time
    from pathlib import Path
    from aionif.bench import Suite

    def hang(note):
        Path(note).write_text(str(subprocess.Popen(["sleep", "1000"]).pid))
        time.sleep(1000)

    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    def leave():
        os._exit(3)

    def fail():
        raise ValueError("as it should")

    def tell_cpus():
        raise ValueError(f"may use {sorted(os.sched_getaffinity(0))}")

    suite = Suite("badly behaved")
    suite.call("hang", hang, NOTE)
    suite.call("die", die)
    suite.call("leave", leave)
    suite.call("fail", fail)
    suite.call("cpus", tell_cpus)
    suite.call("good", int, "7")
"""


def run_file(directory: Path) -> Results:
    path = directory / "badly_behaved.py"
    path.write_text(textwrap.dedent(FILE).replace("NOTE", repr(str(directory / "note"))))
    plan = make_plan(
        own=calls_in(path),
        subjects=["direct"],
        quick=True,
        bound=3.0,
        budget=0.01,
        pin=[min(os.sched_getaffinity(0))],
    )
    result: Results = run_on("asyncio", run, plan)
    return result


@pytest.fixture(scope="module")
def ends(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Cell], Path]:
    directory = tmp_path_factory.mktemp("ends")
    cells = run_file(directory).cells
    return {cell.scenario: cell for cell in cells}, directory


Ends = tuple[dict[str, Cell], Path]


def test_a_hang_is_killed_and_reported(ends: Ends) -> None:
    cell = ends[0]["hang"]
    assert (cell.status, cell.note) == ("hung", "killed after 3 s")


def test_what_a_killed_child_had_started_is_killed_too(ends: Ends) -> None:
    try:
        stat = Path("/proc", (ends[1] / "note").read_text(), "stat").read_text()
    except FileNotFoundError:
        return
    # Its parent is dead too; whoever has inherited it may not have waited for it yet.
    assert stat.rpartition(")")[2].split()[0] == "Z"


def test_a_death_is_an_outcome_that_names_the_signal(ends: Ends) -> None:
    cell = ends[0]["die"]
    assert (cell.status, cell.note) == ("died", "the process was ended by SIGKILL")


def test_an_exit_is_a_death(ends: Ends) -> None:
    cell = ends[0]["leave"]
    assert (cell.status, cell.note) == ("died", "the process ended with status 3")


def test_an_exception_is_a_failure_that_says_which(ends: Ends) -> None:
    cell = ends[0]["fail"]
    assert (cell.status, cell.note) == ("failed", "ValueError: as it should")


def test_a_plan_pins_what_it_measures_to_its_cpus(ends: Ends) -> None:
    cpu = min(os.sched_getaffinity(0))
    assert ends[0]["cpus"].note == f"ValueError: may use [{cpu}]"


def test_one_that_goes_wrong_takes_no_other_with_it(ends: Ends) -> None:
    assert ends[0]["good"].status == "measured"
    assert min(ends[0]["good"].seconds) > 0


def test_a_library_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    ghost = Subject(name="ghost", title="", module="", opener="", distribution="no-such-library")
    monkeypatch.setitem(SUBJECTS, "ghost", ghost)
    results = run_on("asyncio", run, make_plan(subjects=["ghost"], scenarios=["empty"]))
    (cell,) = results.cells
    assert (cell.status, cell.note) == ("absent", "no-such-library is not installed")
    assert not results.subjects[0].version


def test_what_is_unsupported_is_said_without_a_child() -> None:
    plan = make_plan(subjects=["direct"], scenarios=["crash-every-call"])
    (cell,) = run_on("asyncio", run, plan).cells
    assert (cell.status, cell.note) == ("unsupported", "a crash ends the program")


def test_results_say_how_they_were_got() -> None:
    plan = make_plan(subjects=["direct"], scenarios=["empty"], quick=True, seed=5)
    results = run_on("trio", run, plan)
    assert (results.seed, results.rounds, results.quick, results.complete) == (5, 1, True, True)
    assert {"cpu", "cores", "governor", "kernel", "aionif"} <= results.machine.keys()
    assert [s.name for s in results.scenarios] == ["empty"]


# ---- interruption ----

PLAN = {"subjects": ["direct"], "scenarios": ["empty"], "rounds": 50, "budget": 0.01}


def after_the_first(action: Callable[[], object]) -> tuple[Callable[..., object], list[int]]:
    lefts: list[int] = []

    def progress(_: object, left: int) -> None:
        lefts.append(left)
        if len(lefts) == 1:
            action()

    return progress, lefts


def test_a_run_that_is_stopped_keeps_what_it_has() -> None:
    async def main() -> Results:
        stop = anyio.Event()
        progress, _ = after_the_first(stop.set)
        return await run(make_plan(**PLAN), progress=progress, stop=stop)  # type: ignore[arg-type]

    results = run_on("asyncio", main)
    assert not results.complete
    assert [cell.status for cell in results.cells] == ["measured"]


def test_a_run_that_is_cancelled_hands_over_what_it_has() -> None:
    kept: list[Results] = []

    async def main() -> None:
        with anyio.CancelScope() as scope:
            progress, _ = after_the_first(scope.cancel)
            await run(make_plan(**PLAN), progress=progress, interrupted=kept.append)  # type: ignore[arg-type]

    run_on("asyncio", main)
    (results,) = kept
    assert not results.complete
    assert len(results.cells) == 1


@pytest.mark.usefixtures("under_deadline")
def test_ctrl_c_ends_a_run_early_and_keeps_what_it_has() -> None:
    progress, lefts = after_the_first(lambda: os.kill(os.getpid(), signal.SIGINT))
    start = time.monotonic()
    results = measure(make_plan(**PLAN), progress=progress)  # type: ignore[arg-type]
    assert time.monotonic() - start < 30
    assert not results.complete
    assert len(results.cells) == len(lefts) < 50


def test_progress_counts_down_to_nothing() -> None:
    progress, lefts = after_the_first(int)
    plan = make_plan(subjects=["direct"], scenarios=["empty", "respawn"], quick=True)
    run_on("asyncio", lambda: run(plan, progress=progress))
    assert lefts == [1, 0]
