"""What is said of the machine; schedules; and what child processes are told apart by."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest

from aionif.bench import _tree, machine
from aionif.bench._clock import at_times, poisson, steady

if TYPE_CHECKING:
    from collections.abc import Callable


def test_the_facts_are_texts() -> None:
    found = machine.facts()
    assert {"cpu", "cores", "governor", "kernel", "python", "load", "aionif"} <= found.keys()
    assert all(found.values())


def quiet_of(monkeypatch: pytest.MonkeyPatch, *calibrations: float, load: float = 0.0) -> Any:
    left = iter(calibrations)
    monkeypatch.setattr(machine, "calibrate", lambda: next(left))
    monkeypatch.setattr(os, "getloadavg", lambda: (load, load, load))
    monkeypatch.setattr(machine, "_cpu_times", lambda: (0, 100))
    monkeypatch.setattr(machine, "_setting", lambda _: "performance")
    quiet = machine.Quiet(workers=0)
    for _ in calibrations[1:]:
        quiet.look()
    return quiet


def test_a_quiet_machine_has_no_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    assert quiet_of(monkeypatch, 1.0, 1.05).warnings() == ()


def test_rounds_that_differ_are_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    (warning,) = quiet_of(monkeypatch, 1.0, 1.0, 1.5).warnings()
    assert "up to 50% longer" in warning


def test_a_load_before_the_run_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    (warning,) = quiet_of(monkeypatch, 1.0, load=99.0).warnings()
    assert "load of 99.00" in warning


def test_time_that_the_hypervisor_took_is_warned_of(monkeypatch: pytest.MonkeyPatch) -> None:
    quiet = quiet_of(monkeypatch, 1.0)
    monkeypatch.setattr(machine, "_cpu_times", lambda: (10, 200))
    (warning,) = quiet.warnings()
    assert "took 10.0% of the CPU time" in warning


def test_more_workers_than_cpus_are_warned_of() -> None:
    assert any("share" in text for text in machine.Quiet(workers=1_000).warnings())


# ---- clocks ----


def test_arrivals_are_the_same_for_every_subject_and_come_at_their_rate() -> None:
    one, other = (poisson(1_000, 2_000) for _ in range(2))
    gaps = [[b - a for a, b in pairwise(times)] for times in (one, other)]
    assert gaps[0] == pytest.approx(gaps[1], abs=2)  # nanoseconds: rounded from another start
    assert (one[-1] - one[0]) / 1e9 == pytest.approx(2.0, rel=0.2)


def test_every_time_is_told_as_it_was_intended(run: Callable[..., Any]) -> None:
    schedule = steady(0.001, 20)
    told: list[tuple[int, int]] = []

    run(at_times, schedule, lambda due: told.append((due, time.monotonic_ns())))
    assert [due for due, _ in told] == schedule
    assert all(due <= at for due, at in told)


def test_a_time_that_the_loop_was_busy_at_is_told_all_the_same(run: Callable[..., Any]) -> None:
    schedule = steady(0.001, 10)
    told: list[int] = []

    def blocks(due: int) -> None:
        if not told:
            time.sleep(0.02)  # past all the others
        told.append(due)

    run(at_times, schedule, blocks)
    assert told == schedule


# ---- process trees ----

GRANDCHILD = """
import os, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "while True: pass"])
print(child.pid, flush=True)
time.sleep(1000)
"""


def test_a_session_is_known_measured_and_killed_with_its_orphans() -> None:
    leader = subprocess.Popen(
        [sys.executable, "-c", GRANDCHILD], stdout=subprocess.PIPE, start_new_session=True
    )
    with leader:
        assert leader.stdout
        orphan = int(leader.stdout.readline())
        assert set(_tree.members(leader.pid)) == {leader.pid, orphan}
        leader.kill()
        leader.wait()
        assert _tree.members(leader.pid) == [orphan]
        end = time.monotonic() + 30
        before = _tree.cpu_seconds(leader.pid)
        while _tree.cpu_seconds(leader.pid) <= before:
            assert time.monotonic() < end
        assert _tree.resident(leader.pid) > 0
        assert _tree.cpu_seconds(leader.pid, without=orphan) == 0.0
        _tree.kill(leader.pid)
        assert _tree.members(leader.pid) == []
