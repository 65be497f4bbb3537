"""Systems that lack what others have: procfs, handles of processes, /dev, standard streams."""

from __future__ import annotations

import ctypes
import errno
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from aionif import (
    Buffer,
    NifCrash,
    NifExecutor,
    NifExit,
    NifLimitExceeded,
    NifLimits,
    NifPolicy,
    NifRejected,
    NifSignal,
    NifStackOverflow,
    NifTimeout,
    NifWorkerLost,
    load,
)
from aionif.process import zygote
from aionif.testing import gallery, holdings, provoke
from tests import remote
from tests.support import DEADLINE, run_child, run_on
from tests.support.scarce import cover, refuse
from tests.support.workers import workers_of

if TYPE_CHECKING:
    from collections.abc import Callable

CHECKOUT = Path(__file__).parents[2]

LIBC = "int abs(int); int usleep(unsigned); size_t strlen(const char *);"
SHORT = 0.2
WORKING = ["all tiers work", "all is over"]


def lines_of(function: Callable[..., None], *arguments: str, **environment: str) -> list[str]:
    """Return what a function of this module printed in a child; skip where that can't be tried."""
    child = run_child(function, *arguments, **environment)
    if child.returncode == UNTRIED:
        pytest.skip(child.stdout.strip())
    assert child.returncode == 0, (child.stdout, child.stderr)
    assert "Traceback" not in child.stderr, child.stderr
    return child.stdout.splitlines()


UNTRIED = 77


def cover_or_skip(*directories: str) -> None:
    try:
        cover(*directories)
    except OSError as problem:
        print(f"a directory can't be covered here: {problem}")
        sys.stdout.flush()
        os._exit(UNTRIED)


# ---- what every system has to do ----


def work() -> None:
    """In a child: all ends of calls, in all tiers."""

    async def main() -> None:
        async with NifExecutor(isolation="process", max_workers=2) as executor:
            await return_and_crash(executor)
            await stop_and_lose(executor)
            await pass_memory(executor)
        async with NifExecutor() as executor:
            await in_threads(executor)

    run_on("asyncio", main)
    print("all tiers work")


async def return_and_crash(executor: NifExecutor) -> None:
    libc = load("libc.so.6", LIBC)
    assert await executor.execute_nif(libc.abs, -1) == 1
    assert await executor.execute_nif(sorted, [3, 1]) == [1, 3]
    with pytest.raises(NifSignal) as crash:
        await executor.execute_nif(libc.strlen, libc.ffi.cast("char *", 64))
    assert crash.value.address == 64
    with pytest.raises(NifSignal):
        await executor.execute_nif(ctypes.string_at, 0)
    if resource.getrlimit(resource.RLIMIT_STACK)[0] != resource.RLIM_INFINITY:
        with pytest.raises(NifStackOverflow):
            await executor.execute_nif(remote.overflow, str(gallery.library_path("c")))
    with pytest.raises(NifExit):
        await executor.execute_nif(os._exit, 3)


async def stop_and_lose(executor: NifExecutor) -> None:
    libc = load("libc.so.6", LIBC)
    begin = time.monotonic()
    with pytest.raises(NifTimeout):
        await executor.execute_nif(libc.usleep, 30_000_000, timeout=SHORT)
    with anyio.move_on_after(SHORT):
        await executor.execute_nif(libc.usleep, 30_000_000)
    await executor.execute_nif(libc.abs, 1)
    async with anyio.create_task_group() as group:
        group.start_soon(lose_worker, executor)
        await anyio.sleep(SHORT)
        for pid in workers_of(executor):
            os.kill(pid, signal.SIGKILL)
    assert await executor.execute_nif(libc.abs, -2) == 2
    assert time.monotonic() - begin < 20


async def lose_worker(executor: NifExecutor) -> None:
    with pytest.raises(NifWorkerLost):
        await executor.execute_nif(load("libc.so.6", LIBC).usleep, 30_000_000)


async def pass_memory(executor: NifExecutor) -> None:
    libc = load("libc.so.6", LIBC)
    assert await executor.execute_nif(len, bytes(300_000)) == 300_000
    assert await executor.execute_nif(libc.strlen, b"x" * 300_000) == 300_000
    assert len(await executor.execute_nif(bytes, 300_000)) == 300_000
    for is_readonly in (False, True):
        with Buffer(1 << 20, readonly=is_readonly) as buffer:
            buffer.fill(b"text")
            assert await executor.execute_nif(libc.strlen, buffer) == 4
            buffer.revoke()
            buffer.fill(b"texts")
            assert await executor.execute_nif(libc.strlen, buffer) == 5
    with Buffer(1 << 20, readonly=True) as buffer, pytest.raises(NifSignal):
        await executor.execute_nif(ctypes.memset, buffer.address, 1, 1)


async def in_threads(executor: NifExecutor) -> None:
    libc = load("libc.so.6", LIBC)
    assert await executor.execute_nif(libc.abs, -1) == 1
    assert not hasattr(libc, "no_such_function")
    for kind in ("segv_read", "overflow_recursion", "underscore_exit"):
        with pytest.raises(NifCrash) as error:
            await provoke(kind)
        assert error.value.report.symbolise().render()


# ---- no procfs ----


def test_without_procfs() -> None:
    assert lines_of(work_without_procfs) == ["True", "all tiers work"]


def work_without_procfs() -> None:
    cover_or_skip("/proc")
    print(not os.listdir("/proc"))  # noqa: PTH208 - names are all that is wanted
    work()


def test_limits_without_procfs() -> None:
    resident, space, cpu, held = lines_of(limit_without_procfs)
    assert "resident_memory is read from /proc, which is not mounted" in resident
    assert "without /proc it is not known how much address_space is in use" in space
    assert cpu == "cpu_time"
    assert "read from /proc" in held


def limit_without_procfs() -> None:
    cover_or_skip("/proc")

    async def try_limit(limits: NifLimits) -> None:
        policy = NifPolicy(limits=limits)
        async with NifExecutor(isolation="process", max_workers=1, policy=policy) as executor:
            try:
                await executor.execute_nif(eval, "sum(1 for _ in iter(int, 1))")
            except NifRejected as error:
                print(error.reason)
            except NifLimitExceeded as error:
                print(error.limit)

    for limits in (
        NifLimits(resident_memory=64 << 20),
        NifLimits(address_space=64 << 20),
        NifLimits(cpu_time=SHORT),
    ):
        run_on("asyncio", try_limit, limits)
    try:
        holdings()
    except NifRejected as error:
        print(error.reason)


@pytest.mark.parametrize(
    ("command", "status", "said"),
    [
        ("demo", 0, ""),
        ("bench", 2, "what processes use is read from /proc, which is not mounted here"),
    ],
)
def test_commands_without_procfs(command: str, status: int, said: str) -> None:
    child = run_child(run_command_without_procfs, command)
    if child.returncode == UNTRIED:
        pytest.skip(child.stdout.strip())
    assert child.returncode == status, (child.stdout, child.stderr)
    assert "Traceback" not in child.stderr, child.stderr
    assert said in child.stderr


def run_command_without_procfs(command: str) -> None:
    from aionif.cli import main

    cover_or_skip("/proc")
    sys.argv = ["aionif", command]
    sys.exit(main())


# ---- no handles of processes ----


@pytest.mark.parametrize("error", ["EPERM", "ENOSYS"])
@pytest.mark.parametrize("names", ["pidfd_open pidfd_send_signal", "pidfd_send_signal"])
def test_without_handles_of_processes(error: str, names: str) -> None:
    assert lines_of(work_without_calls, error, names) == ["all tiers work"]


def work_without_calls(error: str, names: str) -> None:
    refuse(getattr(errno, error), *names.split())
    work()


def test_workers_end_with_a_parent_that_has_no_handles() -> None:
    child = run_child(leave_workers_without_handles)
    assert child.returncode == 3, child.stderr
    zygote, *workers = map(int, child.stdout.split())
    assert workers
    end = time.monotonic() + DEADLINE
    while any(map(exists, (zygote, *workers))) and time.monotonic() < end:
        time.sleep(0.01)
    assert not any(map(exists, (zygote, *workers)))


def exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return True


def leave_workers_without_handles() -> None:
    refuse(errno.EPERM, "pidfd_open")

    async def main() -> None:
        executor = NifExecutor(isolation="process", max_workers=1)
        await executor.execute_nif(os.getpid)
        print(zygote.of().pid, *workers_of(executor), flush=True)
        os._exit(3)

    run_on("asyncio", main)


def test_a_parent_that_ignores_its_children() -> None:
    assert lines_of(work_with_children_ignored) == ["all tiers work"]


def work_with_children_ignored() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    work()


# ---- other things that may be missing ----


def test_without_devices() -> None:
    assert lines_of(work_without_devices) == ["all tiers work"]


def work_without_devices() -> None:
    cover_or_skip("/dev", "/sys", "/run")
    work()


def test_without_a_home_and_a_place_for_files() -> None:
    missing = {"TMPDIR": "/nowhere", "HOME": "", "PYTHONHOME": ""}
    assert lines_of(work, **missing) == ["all tiers work"]


@pytest.mark.parametrize("closed", ["0", "1", "2", "0 1 2"])
def test_without_standard_streams(closed: str, tmp_path: Path) -> None:
    program = (
        "import os, sys\n"
        f"sys.path.append({str(CHECKOUT)!r})\n"
        "from tests.system.test_bare_systems import work\n"
        "if __name__ == '__main__':\n"
        "    try:\n"
        "        work()\n"
        "    finally:\n"
        f"        open({str(tmp_path / 'error')!r}, 'w').write(repr(sys.exc_info()[1]))\n"
    )
    script = tmp_path / "program.py"
    script.write_text(program)
    redirections = " ".join(f"{number}>&-" for number in closed.split())
    command = f"exec {sys.executable} {script} {redirections}"
    child = subprocess.run(
        ["sh", "-c", command], check=False, capture_output=True, text=True, timeout=DEADLINE
    )
    assert (tmp_path / "error").read_text() == "None", child.stderr
    assert child.returncode == 0
    assert "Traceback" not in child.stderr, child.stderr


@pytest.mark.parametrize("limit", ["unlimited", "64"])
def test_stacks(limit: str) -> None:
    """Of the main thread: no bound, and hardly any. KiB are what a shell counts in."""
    kib = limit if limit == "unlimited" else str(64 * 1024)
    command = (
        f"ulimit -s {kib} && exec {sys.executable} -c "
        f'\'import sys; sys.path.append("{CHECKOUT}"); '
        "from tests.system.test_bare_systems import work; work()'"
    )
    child = subprocess.run(
        ["sh", "-c", command], check=False, capture_output=True, text=True, timeout=DEADLINE
    )
    assert child.stdout == "all tiers work\n", child.stderr
