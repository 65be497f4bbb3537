"""How worker processes start, and that none is left at the end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

import pytest

from aionif import (
    NifArgumentError,
    NifExecutor,
    NifRejected,
    NifSignal,
    load,
)
from tests import remote
from tests.support import DEADLINE, POLL, build_library, gather, run_child, wait_until
from tests.support.workers import is_alive, left_of_zygote, with_executor, workers_of

if TYPE_CHECKING:
    from pathlib import Path

    from aionif import NifLibrary

# ---- starting ----


def test_a_library_that_changed_is_refused(tmp_path: Path) -> None:
    source = "int answer(void) { return %d; }"
    path = build_library(tmp_path, source % 1, "-Wl,--build-id")
    library = load(path, "int answer(void);")

    async def main(executor: NifExecutor) -> None:
        path.unlink()
        build_library(tmp_path, source % 2, "-Wl,--build-id")
        with pytest.raises(NifArgumentError, match="another build"):
            await executor.execute_nif(library.answer)

    with_executor(main, max_workers=1)


@pytest.mark.parametrize(
    ("initializer", "arguments"), [(remote.fail, ("no such thing",)), (os.abort, ())]
)
def test_workers_that_die_at_their_start_are_not_started_for_ever(
    probe: NifLibrary, initializer: Any, arguments: tuple[Any, ...]
) -> None:
    async def main(executor: NifExecutor) -> None:
        for _ in range(2):
            results = await gather(*[lambda: executor.execute_nif(probe.add, 1, 2)] * 5)
            assert all(isinstance(error, NifRejected) for error in results), results
        if arguments:
            assert "ValueError: no such thing" in str(results[0])

    with_executor(main, max_workers=2, initializer=initializer, initargs=arguments)


# ---- the end ----

_PARENT = """
import asyncio, os, sys, time
from aionif import NifExecutor
from aionif.process import zygote
from aionif.testing.gallery import library_path
from aionif import load
async def main():
    add = load(library_path("c"), "long gallery_add(long, long);").gallery_add
    executor = NifExecutor(isolation="process", max_workers=2)
    await executor.execute_nif(add, 1, 2)
    while not executor._pools.processes():
        await asyncio.sleep(0.001)
    print(zygote.of().pid, *executor._pools.processes(), flush=True)
    if sys.argv[1] == "return":
        await executor.aclose()
    elif sys.argv[1] == "leave":
        os._exit(3)
    elif sys.argv[1] == "open":
        return
    else:
        time.sleep(100)
asyncio.run(main())
"""


@pytest.mark.parametrize("how", ["return", "open", "leave", "kill"])
def test_nothing_is_left_when_the_parent_ends(how: str) -> None:
    with subprocess.Popen([sys.executable, "-c", _PARENT, how], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) >= 2
        if how == "kill":
            assert all(map(is_alive, pids))
            parent.kill()
        parent.wait(DEADLINE)
    deadline = time.monotonic() + 5
    while any(map(is_alive, pids)) and time.monotonic() < deadline:
        time.sleep(POLL)
    assert not any(map(is_alive, pids))


_PEOPLE = """
import asyncio, os, sys
from aionif import NifExecutor, load
async def main():
    libc = load("libc.so.6", "int setuid(unsigned); int getpid(void);")
    executor = NifExecutor(isolation="process", max_workers=1)
    await executor.execute_nif(libc.setuid, 65534)
    print(await executor.execute_nif(libc.getpid), flush=True)
    os.kill(os.getpid(), 9)
asyncio.run(main())
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_a_worker_that_became_somebody_else_ends_with_the_parent() -> None:
    """The kernel forgets then that it was to die with its parent."""
    parent = subprocess.run(
        [sys.executable, "-c", _PEOPLE], capture_output=True, check=False, timeout=DEADLINE
    )
    wait_until(lambda: not is_alive(int(parent.stdout)))


@pytest.mark.parametrize("how", ["ignored", "blocked"])
def test_workers_are_replaced_where_the_program_does_not_hear_of_children(how: str) -> None:
    ended = run_child(crash_without_news, how)
    assert (ended.returncode, ended.stdout) == (0, "42\n"), ended.stderr
    assert "zygote_lost" not in ended.stderr


def crash_without_news(how: str) -> None:
    if how == "ignored":
        signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    else:
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGCHLD})
    libc = load("libc.so.6", "int raise(int); int abs(int);")

    async def main(executor: NifExecutor) -> None:
        for _ in range(3):
            with pytest.raises(NifSignal):
                await executor.execute_nif(getattr(libc, "raise"), signal.SIGSEGV)
        print(await executor.execute_nif(libc.abs, -42))

    with_executor(main, max_workers=2)


def test_closing_leaves_no_worker(probe: NifLibrary) -> None:
    found: list[int] = []

    async def main(executor: NifExecutor) -> None:
        await gather(*[lambda: executor.execute_nif(probe.sleep_ms, 20)] * 3)
        found.extend(workers_of(executor))
        assert len(found) >= 2

    with_executor(main, max_workers=3)
    assert not any(map(is_alive, found))
    assert left_of_zygote() == [], "a spare, or a zombie"


def test_a_fork_of_the_parent_leaves_the_workers_alone(probe: NifLibrary) -> None:
    async def main(executor: NifExecutor) -> None:
        await executor.execute_nif(probe.nothing)
        child = os.fork()
        if not child:
            os._exit(0)
        os.waitpid(child, 0)  # noqa: ASYNC222 - it ends at once
        assert await executor.execute_nif(probe.add, 1, 2) == 3

    with_executor(main, max_workers=1)


def test_a_worker_imports_nothing_heavy(probe: NifLibrary) -> None:
    async def main(executor: NifExecutor) -> Any:
        await executor.execute_nif(probe.nothing)
        return await executor.execute_nif(eval, "sorted(__import__('sys').modules)")

    modules = set(with_executor(main, max_workers=1))
    assert "aionif._core" in modules
    assert not modules & {"anyio", "structlog", "cffi", "asyncio", "numpy", "aionif", "trio"}
