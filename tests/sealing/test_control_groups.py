"""Sealed workers have control groups of their own where the program may make some."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from aionif import (
    NifArgumentError,
    NifExecutor,
    NifLimits,
    NifPolicy,
    NifRejected,
    NifWorkerLost,
    Sandbox,
)
from aionif.process import zygote
from aionif.process.child_group import Groups
from aionif.process.groups import VARIABLE, delegated, open_group
from aionif.sealing.template import template_of
from aionif.telemetry import attach, detach
from tests.support import DEADLINE, run_on, wait_until
from tests.support.workers import state_of

if TYPE_CHECKING:
    from pathlib import Path

ASKED = NifPolicy(sandbox=Sandbox.compute(mode="best_effort").with_cgroup())

# ---- which one ----


def system(tmp_path: Path, at: str) -> tuple[Path, Path]:
    """Return a process in the group /a/b of cgroups that are mounted from `at` on, and these."""
    top = tmp_path / "cgroups"
    (top / "b").mkdir(parents=True)
    (tmp_path / "cgroup").write_text("0::/a/b\n")
    (tmp_path / "mountinfo").write_text(f"30 1 0:26 {at} {top} rw - cgroup2 cgroup rw\n")
    for directory in (top, top / "b"):
        (directory / "cgroup.procs").touch()
    return tmp_path, top


def test_one_that_is_delegated_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)
    process, top = system(tmp_path, "/a")
    marked: set[Path] = set()

    def getxattr(path: Path, name: str) -> bytes:
        if path in marked and name == "user.delegate":
            return b"1"
        raise OSError

    monkeypatch.setattr(os, "getxattr", getxattr)
    assert delegated(process) is None
    marked.add(top)
    assert delegated(process) == top
    marked.add(top / "b")
    assert delegated(process) == top / "b"
    assert delegated(tmp_path / "nowhere") is None


def test_the_topmost_one_of_a_container(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """But not of the machine, whose topmost group has no type."""
    monkeypatch.delenv(VARIABLE, raising=False)
    process, top = system(tmp_path, "/a")
    assert delegated(process) is None
    (top / "cgroup.type").touch()
    assert delegated(process) == top


@pytest.mark.parametrize("named", ["", "relative", "/nowhere", "/tmp"])
def test_a_variable_that_names_none(named: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, named)
    with pytest.raises(NifArgumentError, match="version 2") as error:
        open_group()
    assert error.value.argument == VARIABLE


def test_a_variable_that_names_one_of_version_1(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "cgroup.procs").touch()
    monkeypatch.setenv(VARIABLE, str(tmp_path))
    with pytest.raises(NifArgumentError, match="version 2"):
        open_group()


def test_a_variable_that_is_wrong_is_said_to_callers_and_ends_their_calls(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Also where it was right as the executor was opened."""
    sandbox = Sandbox.compute().allow_environment("OF_THIS_TEST")
    policy = NifPolicy(sandbox=sandbox)
    starter = zygote.of(template_of(sandbox))
    monkeypatch.delenv(VARIABLE, raising=False)

    async def main() -> None:
        async with NifExecutor(isolation="process", policy=policy, max_workers=1) as executor:
            assert await executor.execute_nif(abs, -1) == 1
            monkeypatch.setenv(VARIABLE, "/nowhere")
            assert starter.pid is not None
            os.kill(starter.pid, signal.SIGKILL)
            with pytest.raises((NifArgumentError, NifWorkerLost, NifRejected)):
                while True:
                    await executor.execute_nif(abs, -1)
            starter.revive()  # as is done for calls that wait for a worker
            assert f"{VARIABLE}='/nowhere' is not" in starter.problem()[0]
            monkeypatch.delenv(VARIABLE)
            assert await executor.execute_nif(abs, -1) == 1

    run_on("asyncio", main)


# ---- what is in it ----


def test_all_that_a_worker_has_started_ends_with_it(base: Path) -> None:
    groups = Groups(str(base), "")
    group = groups.make(7, 0, 0, is_given=False)
    assert group.problem is None
    script = (
        "import os, sys, time; open(sys.argv[1], 'w').write('0');"
        "os.fork() or os.setsid(); print(os.getpid(), flush=True); time.sleep(99)"
    )
    entrance = base / group.name / "cgroup.procs"
    with subprocess.Popen(
        [sys.executable, "-c", script, entrance], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        pids = [int(child.stdout.readline()) for _ in range(2)]
        group.close()
        assert not groups.end(group), "it was not ended for its memory"
        wait_until(lambda: all(state_of(pid) in "ZX" for pid in pids))
    groups.close()
    assert not base.exists()


def test_a_limit_without_its_controller_is_said(base: Path) -> None:
    controllers = (base / "cgroup.controllers").read_text(encoding="ascii").split()
    groups = Groups(str(base), "")
    for serial, is_given in enumerate((True, False)):  # by default the parent alone may keep it
        group = groups.make(serial, 1 << 30, 0, is_given=is_given)
        group.close()
        assert (group.problem is None) == ("memory" in controllers or not is_given)
        if group.problem:
            assert "memory.max" in group.problem[1]
        groups.end(group)
    groups.close()


def test_the_kernels_end_for_its_limit_is_known_by_its_counts(tmp_path: Path) -> None:
    """The kernel also ends who has done nothing, where the whole machine has no memory."""
    groups = Groups(str(tmp_path), "")
    for number, (exceeded, killed) in enumerate([(0, 0), (3, 0), (0, 1), (3, 1)]):
        group = groups.make(number, 0, 0, is_given=False)
        events = f"low 0\nhigh 0\nmax 9\noom {exceeded}\noom_kill {killed}\noom_group_kill 0\n"
        (tmp_path / group.name / "memory.events").write_text(events)
        assert groups.end(group) == bool(exceeded and killed)


def test_limits_are_written_where_there_are_controllers(tmp_path: Path) -> None:
    """And nothing is made that is not there."""
    groups = Groups(str(tmp_path), "")
    names = ("memory.max", "memory.oom.group", "memory.swap.max", "pids.max")
    mkdir = os.mkdir

    def mkdir_with_files(name: str, *, dir_fd: int) -> None:
        mkdir(name, dir_fd=dir_fd)
        for file in ("cgroup.procs", "cgroup.kill", *names):
            (tmp_path / name / file).touch()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "mkdir", mkdir_with_files)
        group = groups.make(1, 5 << 20, 7, is_given=True)
    assert group.problem is None
    assert [(tmp_path / group.name / name).read_text() for name in names] == [
        str(5 << 20),
        "1",
        "0",
        "7",
    ]


def test_the_kernel_keeps_a_worker_to_its_processes(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "pids" not in (base / "cgroup.controllers").read_text(encoding="ascii").split():
        pytest.skip("no controller of processes can be had here")
    monkeypatch.setenv(VARIABLE, str(base))
    made, _ = open_group()
    assert made is not None
    groups = Groups(str(made.path), "")
    group = groups.make(1, 0, 3, is_given=False)
    assert group.problem is None
    script = (
        "import os, sys, time\nopen(sys.argv[1], 'w').write('0')\n"
        "for started in range(9):\n"
        "    try: os.fork() or time.sleep(99)\n"
        "    except BlockingIOError: print(started, flush=True); time.sleep(99)"
    )
    entrance = made.path / group.name / "cgroup.procs"
    with subprocess.Popen(
        [sys.executable, "-c", script, entrance], stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "2\n", "with itself 3"
        group.close()
        groups.end(group)
        assert child.wait(DEADLINE) == -signal.SIGKILL
    made.close()
    assert not made.path.exists()


# ---- what others have left ----


def test_what_a_program_has_left_that_was_killed_is_ended_and_removed(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One whose program is there is not."""
    monkeypatch.setenv(VARIABLE, str(base))
    others, _ = open_group()
    assert others is not None
    left = base / "aionif-1-0" / "worker-1"
    left.mkdir(parents=True)
    with subprocess.Popen(["/bin/sleep", "99"]) as child:
        (left / "cgroup.procs").write_text(str(child.pid))
        mine, why = open_group()
        assert child.wait(DEADLINE) == -signal.SIGKILL
    assert (mine is not None, why) == (True, "")
    third, _ = open_group()
    assert not left.parent.exists()
    for group in (others, mine, third):
        assert group is not None
        assert group.path.exists()
        group.close()
        assert not group.path.exists()


def test_one_of_another_process_of_the_same_id_is_not_taken(
    base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(VARIABLE, str(base))
    paths = []
    made = []
    for _ in range(2):
        monkeypatch.setattr("aionif.process.groups._numbers", count())
        group, _ = open_group()
        assert group is not None
        made.append(group)
        paths.append(group.path)
    assert len(set(paths)) == 2
    for group in made:
        group.close()


# ---- where there is none ----


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No group is delegated."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr("aionif.process.zygote.open_group", lambda: (None, "none is delegated"))


def ask(policy: NifPolicy) -> tuple[Any, tuple[str, ...]]:
    async def main() -> tuple[Any, tuple[str, ...]]:
        async with NifExecutor(isolation="process", policy=policy, max_workers=1) as executor:
            result = await executor.execute_nif(abs, -1)
            return result, executor.statistics().unsealed

    found: tuple[Any, tuple[str, ...]] = run_on("asyncio", main, deadline=DEADLINE)
    return found


@pytest.mark.usefixtures("nowhere")
def test_it_is_said_once_where_it_was_asked_for() -> None:
    events: list[str] = []

    def handler(event: str, fields: dict[str, Any]) -> None:
        events.append(f"{event} {fields.get('missing')}")

    attach(handler)
    try:
        limits = NifLimits(open_files=200)  # of this test alone
        policy = NifPolicy(sandbox=Sandbox.compute(mode="best_effort", limits=limits).with_cgroup())
        for _ in range(2):
            result, unsealed = ask(policy)
            assert result == 1
            assert "cgroup" in unsealed
    finally:
        detach(handler)
    assert len([event for event in events if "cgroup" in event]) <= 1
    assert "cgroup" not in ask(NifPolicy(sandbox=Sandbox.compute(mode="best_effort")))[1]


@pytest.mark.usefixtures("nowhere")
def test_and_refused_where_it_is_required() -> None:
    with pytest.raises(NifRejected, match="none is delegated"):
        ask(NifPolicy(sandbox=Sandbox.compute().with_cgroup(required=True)))


def test_what_is_best_effort_can_not_require_one() -> None:
    with pytest.raises(NifArgumentError, match="best_effort"):
        Sandbox.compute(mode="best_effort").with_cgroup(required=True)


def test_a_policy_shows_it() -> None:
    assert repr(Sandbox.compute().with_cgroup()) == "Sandbox.compute().with_cgroup()"
    shown = "Sandbox.python().with_cgroup(required=True)"
    assert repr(Sandbox.python().with_cgroup(required=True)) == shown
