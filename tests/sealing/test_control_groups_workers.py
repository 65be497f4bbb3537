"""What workers are in control groups for, and when these go."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

import anyio
import pytest

from aionif import NifExecutor, NifLimitExceeded, NifPolicy, NifSignal, Sandbox, load
from aionif.process import zygote
from aionif.process.groups import VARIABLE
from aionif.sealing.template import template_of
from tests.sealing.test_templates import NAME, leave_a_child, orphans
from tests.support import run_child, run_on, until, wait_until
from tests.support.scarce import refuse
from tests.support.workers import state_of

ASKED = NifPolicy(sandbox=Sandbox.compute(mode="best_effort").with_cgroup())


def groups_in(base: Path) -> list[Path]:
    return [path for path in base.rglob("*") if path.is_dir()]


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
                print(
                    starter._group.path.parent == Path(base),
                    starter._group.path.is_dir(),
                    flush=True,
                )
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


def count_a_kill(base: Path) -> None:
    for path in base.glob("aionif-*/worker-*"):
        (path / "memory.events").write_text("oom 1\noom_kill 1\n")


def exceed_memory(base: str) -> None:
    """Be a worker whose group says that the kernel has ended it for its limit."""
    libc = load("libc.so.6", CALLS)

    async def main() -> None:
        async with NifExecutor(isolation="process", policy=ASKED, max_workers=1) as executor:
            assert await executor.execute_nif(libc.abs, -1) == 1
            async with anyio.create_task_group() as group:
                group.start_soon(call, executor)
                await anyio.sleep(0.1)
                count_a_kill(Path(base))
                (worker,) = executor._pools.processes()
                os.kill(worker, signal.SIGKILL)

    async def call(executor: NifExecutor) -> None:
        with pytest.raises(NifLimitExceeded) as error:
            await executor.execute_nif(libc.sleep, 60)
        print(error.value.limit, flush=True)

    run_on("asyncio", main)


def test_a_call_that_the_kernel_ends_for_its_memory_has_exceeded_its_limit(tmp_path: Path) -> None:
    """By files that look like a group: a controller of memory is seldom to be had by tests."""
    for name in ("cgroup.controllers", "cgroup.procs", "cgroup.subtree_control"):
        (tmp_path / name).touch()
    child = run_child(exceed_memory, str(tmp_path), **{VARIABLE: str(tmp_path)})
    assert (child.returncode, child.stdout) == (0, "resident_memory\n"), child.stderr


def fork_without_namespaces() -> None:
    refuse(errno.EPERM, "unshare")

    async def main() -> None:
        policy = NifPolicy(sandbox=Sandbox.python().allow_fork())
        async with NifExecutor(
            isolation="process", policy=policy, preload=(leave_a_child.__module__,)
        ) as executor:
            for _ in range(2):
                assert await executor.execute_nif(leave_a_child, NAME) == 1
                await until(lambda: not orphans())
            async with executor.session() as session:
                assert await session.execute_nif(leave_a_child, NAME) == 1
                assert len(orphans()) == 1, "it has ended before its session"
            await until(lambda: not orphans())
            print("child processes" in executor.statistics().unsealed)

    run_on("asyncio", main)


def test_children_of_a_call_die_with_it_where_there_are_no_namespaces(base: Path) -> None:
    """Which is all that allow_fork() needs."""
    child = run_child(fork_without_namespaces, **{VARIABLE: str(base)})
    assert (child.returncode, child.stdout) == (0, "False\n"), child.stderr
    wait_until(lambda: not groups_in(base))
