"""Sealed workers have control groups of their own where the program may make some."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from aionif import (
    NifArgumentError,
    NifExecutor,
    NifLimits,
    NifPolicy,
    NifRejected,
    NifSignal,
    Sandbox,
    load,
)
from aionif.process import zygote
from aionif.process.child_group import Groups
from aionif.process.groups import VARIABLE, close_group, delegated, open_group
from aionif.sealing.template import template_of
from aionif.system.cgroup import group_of
from aionif.telemetry import attach, detach
from tests.support import DEADLINE, run_child, run_on, wait_until
from tests.support.workers import state_of

if TYPE_CHECKING:
    from collections.abc import Iterator

ASKED = NifPolicy(sandbox=Sandbox.compute(mode="best_effort").with_cgroup())


@pytest.fixture
def base() -> Iterator[Path]:
    """A group in which this process may make others."""
    try:
        group, _ = group_of(Path("/proc/self"))
        path = group / f"tests-{os.getpid()}"
        path.mkdir()
    except (OSError, ValueError) as problem:
        pytest.skip(f"no control group can be made here: {problem}")
    yield path
    wait_until(lambda: not path.exists() or remove(path))


def remove(path: Path) -> bool:
    with suppress(OSError):
        for inner in path.iterdir():
            if inner.is_dir():
                close_group(inner)
        path.rmdir()
        return True
    return False


def groups_in(base: Path) -> list[Path]:
    return [path for path in base.rglob("*") if path.is_dir()]


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


# ---- what is in it ----


def test_all_that_a_worker_has_started_ends_with_it(base: Path) -> None:
    groups = Groups(str(base))
    group = groups.make(7, 0, 0)
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
    groups = Groups(str(base))
    group = groups.make(1, 1 << 30, 0)
    group.close()
    assert ("memory" in controllers) == (group.problem is None)
    if group.problem:
        assert "memory.max" in group.problem[1]
    groups.end(group)
    groups.close()


def test_the_kernels_end_for_memory_is_known_by_its_count(tmp_path: Path) -> None:
    groups = Groups(str(tmp_path))
    for kills in (0, 1):
        group = groups.make(kills, 0, 0)
        events = f"low 0\nhigh 0\nmax 9\noom 3\noom_kill {kills}\noom_group_kill 0\n"
        (tmp_path / group.name / "memory.events").write_text(events)
        assert groups.end(group) == bool(kills)


def place_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cgroup").read_text(encoding="utf-8").splitlines()[-1]


def in_groups(end: str) -> None:
    """Print where a worker is; then die as one is told."""

    async def main() -> None:
        async with NifExecutor(isolation="process", policy=ASKED, max_workers=1) as executor:
            assert await executor.execute_nif(abs, -1) == 1
            (worker,) = executor._pools.processes()
            print(place_of(worker), flush=True)
            if end == "killed":
                os.kill(os.getpid(), signal.SIGKILL)

    run_on("asyncio", main)


@pytest.mark.parametrize("end", ["exit", "killed"])
def test_a_worker_is_in_one_that_goes_with_the_program(base: Path, end: str) -> None:
    child = run_child(in_groups, end, **{VARIABLE: str(base)})
    assert child.returncode == (-signal.SIGKILL if end == "killed" else 0), child.stderr
    assert f"/{base.name}/aionif-" in child.stdout
    wait_until(lambda: not groups_in(base))


def lose_zygote(base: str) -> None:
    async def main() -> None:
        async with NifExecutor(isolation="process", policy=ASKED, max_workers=1) as executor:
            for _ in range(2):
                assert await executor.execute_nif(abs, -1) == 1
                starter = zygote.of(template_of(ASKED.sandbox))
                assert starter.pid is not None
                assert starter._group is not None
                print(starter._group.parent == Path(base), starter._group.is_dir(), flush=True)
                os.kill(starter.pid, signal.SIGKILL)
                wait_until(lambda pid=starter.pid: state_of(pid) in "ZX")  # type: ignore[misc]

    run_on("asyncio", main)


def test_and_those_of_a_zygote_that_was_killed_are_removed(base: Path) -> None:
    child = run_child(lose_zygote, str(base), **{VARIABLE: str(base)})
    assert (child.returncode, child.stdout) == (0, "True True\n" * 2), child.stderr
    wait_until(lambda: not groups_in(base))


CALLS = "unsigned int sleep(unsigned int); int abs(int); int raise(int);"


def crash_beside_a_call() -> None:
    """Print what a call comes to while another caller's crashes have their zygote replaced."""
    libc = load("libc.so.6", CALLS)
    crash = getattr(libc, "raise")

    async def main() -> None:
        policy = NifPolicy(sandbox=ASKED.sandbox, breaker=False)
        async with NifExecutor(isolation="process", policy=policy, max_workers=2) as executor:
            starter = zygote.of(template_of(policy.sandbox))
            assert await executor.execute_nif(libc.abs, -1) == 1
            first = starter.pid
            async with anyio.create_task_group() as group:
                group.start_soon(call, executor)
                await anyio.sleep(0.1)
                while starter.pid == first:
                    with pytest.raises(NifSignal):
                        await executor.execute_nif(crash, 11)

    async def call(executor: NifExecutor) -> None:
        print(await executor.execute_nif(libc.sleep, 4), flush=True)

    run_on("asyncio", main)


def test_calls_go_on_in_that_of_a_zygote_that_is_replaced(base: Path) -> None:
    child = run_child(crash_beside_a_call, **{VARIABLE: str(base)})
    assert (child.returncode, child.stdout) == (0, "0\n"), child.stderr
    wait_until(lambda: not groups_in(base))


def start_fresh_ones() -> None:
    """Print what calls come to whose workers have a zygote each."""
    libc = load("libc.so.6", CALLS)
    sandbox = Sandbox.compute(fresh=True, mode="best_effort").with_cgroup()

    async def main() -> None:
        async with NifExecutor(
            isolation="process", policy=NifPolicy(sandbox=sandbox), max_workers=2
        ) as executor:
            async with anyio.create_task_group() as group:
                for _ in range(2):
                    group.start_soon(call, executor)
            print(all(map(is_in_group, executor._pools.processes())))

    async def call(executor: NifExecutor) -> None:
        print(await executor.execute_nif(libc.sleep, 1), flush=True)

    run_on("asyncio", main)


def is_in_group(pid: int) -> bool:
    return "/aionif-" in place_of(pid)


def test_fresh_workers_have_one_of_their_zygote_each(base: Path) -> None:
    child = run_child(start_fresh_ones, **{VARIABLE: str(base)})
    assert (child.returncode, child.stdout) == (0, "0\n0\nTrue\n"), child.stderr
    assert "did not come to serve" not in child.stderr
    wait_until(lambda: not groups_in(base))


# ---- where there is none ----


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """No group is delegated."""
    monkeypatch.delenv(VARIABLE, raising=False)
    monkeypatch.setattr("aionif.process.zygote.open_group", lambda: None)


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
    with pytest.raises(NifRejected, match="no control group is delegated"):
        ask(NifPolicy(sandbox=Sandbox.compute().with_cgroup(required=True)))


def test_what_is_best_effort_can_not_require_one() -> None:
    with pytest.raises(NifArgumentError, match="best_effort"):
        Sandbox.compute(mode="best_effort").with_cgroup(required=True)


def test_a_policy_shows_it() -> None:
    assert repr(Sandbox.compute().with_cgroup()) == "Sandbox.compute().with_cgroup()"
    shown = "Sandbox.python().with_cgroup(required=True)"
    assert repr(Sandbox.python().with_cgroup(required=True)) == shown
