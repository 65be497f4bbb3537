"""What is true of the process tier alone: kills and replacements."""

from __future__ import annotations

import os
import random
import signal
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from aionif import (
    NifExecutor,
    NifSignal,
    NifTimeout,
    NifWorkerLost,
    load,
)
from aionif.process import zygote
from tests import remote
from tests.support import DEADLINE, build_library, gather, load_gallery, run_on, until
from tests.support.workers import (
    is_alive,
    left_of_zygote,
    listener_of_zygote,
    state_of,
    with_executor,
    workers_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from aionif import NifLibrary

KILLS = int(os.environ.get("AIONIF_TEST_KILLS", "200"))

SOURCE = """
    #define _GNU_SOURCE
    #include <stdio.h>
    #include <unistd.h>
    void spin(void) { for (;;) __asm__ volatile(""); }
    void say_and_crash(const char *text) {
        fputs(text, stderr);
        fflush(stderr);
        *(volatile int *)0 = 1;
    }
    int process_id(void) { return getpid(); }
    int is_first_thread(void) { return gettid() == getpid(); }
"""
CDEF = """
    void spin(void);
    void say_and_crash(const char *);
    int process_id(void);
    int is_first_thread(void);
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> NifLibrary:
    return load(build_library(tmp_path_factory.mktemp("process"), SOURCE, name="process"), CDEF)


def test_a_killed_worker_is_reported_and_replaced(probe: NifLibrary, backend: str) -> None:
    async def main() -> None:
        async with NifExecutor(isolation="process", max_workers=1) as executor:
            await executor.execute_nif(probe.nothing)
            for _ in range(2):
                (pid,) = workers_of(executor)

                async def kill(pid: int = pid) -> None:
                    await anyio.sleep(0.05)
                    os.kill(pid, signal.SIGKILL)

                async with anyio.create_task_group() as group:
                    group.start_soon(kill)
                    with pytest.raises(NifWorkerLost) as lost:
                        await executor.execute_nif(probe.sleep_ms, 10_000)
                assert (lost.value.pid, lost.value.exit_code) == (pid, -signal.SIGKILL)
                assert await executor.execute_nif(probe.add, 1, 2) == 3

    run_on(backend, main)


def test_one_crash_among_many_calls_fails_one_call(probe: NifLibrary) -> None:
    crash = load_gallery().gallery_segv_read

    async def main(executor: NifExecutor) -> list[Any]:
        calls: list[Callable[[], Any]] = [
            lambda n=n: executor.execute_nif(probe.add, n, 0)  # type: ignore[misc]
            for n in range(100)
        ]
        calls.insert(50, lambda: executor.execute_nif(crash))
        return await gather(*calls)

    for _ in range(5):
        results = with_executor(main, max_workers=2)
        assert isinstance(results.pop(50), NifSignal)
        assert results == list(range(100))


def test_kills_at_any_moment_lose_nothing_and_repeat_nothing(
    probe: NifLibrary, direct: Any
) -> None:
    """Each call notes its number when it runs: none does so twice, and who returned did it once."""
    direct.forget_notes()
    endings: dict[int, str] = {}
    kills = 0

    async def call(executor: NifExecutor, number: int) -> None:
        assert number not in endings
        try:
            await executor.execute_nif(probe.note, number)
            endings[number] = "returned"
        except NifWorkerLost:
            endings[number] = "lost"

    async def kill(executor: NifExecutor) -> None:
        nonlocal kills
        chance = random.Random(7)
        while kills < KILLS:
            await anyio.sleep(chance.random() * 0.004)
            for pid in workers_of(executor)[:1]:
                try:
                    os.kill(pid, signal.SIGKILL)
                    kills += 1
                except ProcessLookupError:
                    pass

    async def main(executor: NifExecutor) -> None:
        number = 1
        async with anyio.create_task_group() as killing:
            killing.start_soon(kill, executor)
            while kills < KILLS:
                async with anyio.create_task_group() as group:
                    for number in range(number, number + 100):  # noqa: B020 - goes on
                        group.start_soon(call, executor, number)
                number += 1
                await anyio.sleep(0.005)  # or the log of 10,000 kills is full before they are

    with_executor(main, deadline=DEADLINE + KILLS / 50, max_workers=2)
    # 0 where the kill came between taking a place in the log and writing to it.
    noted = [n for n in map(direct.noted, range(direct.count_noted())) if n]
    assert len(noted) == len(set(noted)), "a call ran twice"
    returned = {number for number, ending in endings.items() if ending == "returned"}
    assert returned <= set(noted), "a call returned that never ran"
    assert sorted(endings) == list(range(1, len(endings) + 1))
    assert kills >= KILLS


def test_code_that_never_ends_is_killed_at_its_deadline(library: NifLibrary) -> None:
    async def main(executor: NifExecutor) -> None:
        await executor.execute_nif(library.process_id)
        for function in (library.spin, remote.spin, remote.hold_the_gil):
            (pid,) = workers_of(executor)
            with pytest.raises(NifTimeout) as late:
                await executor.execute_nif(function, timeout=0.5)
            assert late.value.phase == "run"
            assert await executor.execute_nif(library.process_id) != pid
            await until(lambda pid=pid: not is_alive(pid), 5)  # type: ignore[misc]

    with_executor(main, max_workers=1)


def test_a_cancelled_call_is_killed(library: NifLibrary, backend: str) -> None:
    async def main() -> None:
        async with NifExecutor(isolation="process", max_workers=1) as executor:
            before = await executor.execute_nif(library.process_id)
            with anyio.move_on_after(0.05) as scope:
                await executor.execute_nif(library.spin)
            assert scope.cancelled_caught
            assert await executor.execute_nif(library.process_id) != before

    run_on(backend, main)


def test_a_worker_that_is_stopped_loses_no_call(probe: NifLibrary) -> None:
    async def main(executor: NifExecutor) -> None:
        await executor.execute_nif(probe.nothing)
        await anyio.sleep(0.02)  # until it sleeps
        for pid in workers_of(executor):
            os.kill(pid, signal.SIGSTOP)
        with anyio.fail_after(10):
            assert await executor.execute_nif(probe.add, 1, 2) == 3

    with_executor(main, max_workers=1)


def test_a_crash_in_a_thread_that_a_call_started_loses_its_worker_alone(backend: str) -> None:
    gallery = load_gallery()

    async def main() -> None:
        async with NifExecutor(isolation="process", max_workers=1) as executor:
            for _ in range(2):
                with pytest.raises(NifWorkerLost) as lost:
                    await executor.execute_nif(gallery.gallery_crash_in_thread)
                assert lost.value.exit_code == -signal.SIGSEGV
                assert await executor.execute_nif(gallery.gallery_add, 1, 2) == 3

    run_on(backend, main)


def test_a_crash_with_the_main_heap_locked_is_as_any_other(library: NifLibrary) -> None:
    """Calls run on the worker's first thread, whose heap is the one that others fall back on."""
    crash = load_gallery().gallery_malloc_locked

    async def main(executor: NifExecutor) -> None:
        for _ in range(2):
            assert await executor.execute_nif(library.is_first_thread)
            with pytest.raises(NifSignal) as error:
                await executor.execute_nif(crash)
            assert error.value.signal == signal.SIGSEGV

    with_executor(main, max_workers=1)


def test_stderr_is_in_the_report(library: NifLibrary) -> None:
    async def main(executor: NifExecutor) -> None:
        for _ in range(2):
            with pytest.raises(NifSignal) as crash:
                await executor.execute_nif(library.say_and_crash, b"last words\n")
            assert crash.value.report.stderr == "last words\n"
            assert "  | last words" in crash.value.report.render()

    with_executor(main, max_workers=1)


def test_who_hears_what_workers_write_can_be_killed_too(library: NifLibrary) -> None:
    async def main(executor: NifExecutor) -> None:
        crash = library.say_and_crash
        for kills in (1, 1, 1, 0):
            await executor.execute_nif(library.process_id)
            if kills:
                os.kill(listener_of_zygote(), signal.SIGKILL)
            with pytest.raises(NifSignal) as error:
                await executor.execute_nif(crash, b"last words\n")
            said = error.value.report.stderr
            assert said == "last words\n" or (kills and not said), "it may have been read already"

    with_executor(main, max_workers=2)


def has_listener_but(one: int) -> bool:
    try:
        return listener_of_zygote() != one
    except (StopIteration, OSError):
        return False


def test_and_while_the_zygote_is_busy(library: NifLibrary) -> None:
    """So it hears of the end of the one, and of the end of its socket, at the same time."""

    async def main(executor: NifExecutor) -> None:
        async def is_in(pid: int, state: str) -> None:
            await until(lambda: state_of(pid) == state)

        await executor.execute_nif(library.process_id)
        starter = zygote.of().pid
        assert starter is not None
        for _ in range(3):
            os.kill(starter, signal.SIGSTOP)
            await is_in(starter, "T")
            listener = listener_of_zygote()
            os.kill(listener, signal.SIGKILL)
            await is_in(listener, "Z")
            os.kill(starter, signal.SIGCONT)
            await until(lambda: has_listener_but(listener))  # noqa: B023 - while this one is it
            for worker in left_of_zygote():
                os.kill(worker, signal.SIGKILL)
            with anyio.fail_after(DEADLINE / 2):
                for _ in range(3):
                    with suppress(NifWorkerLost):
                        await executor.execute_nif(library.process_id)

    with_executor(main, max_workers=2)


def test_the_zygote_can_be_killed_too(probe: NifLibrary) -> None:
    async def main(executor: NifExecutor) -> None:
        await executor.execute_nif(probe.nothing)
        before = zygote.of().pid
        assert before is not None

        async def kill() -> None:
            await anyio.sleep(0.05)
            os.kill(before, signal.SIGKILL)

        async with anyio.create_task_group() as group:
            group.start_soon(kill)
            with pytest.raises(NifWorkerLost, match="killed by SIGKILL"):
                await executor.execute_nif(probe.sleep_ms, 10_000)
        with anyio.fail_after(10):
            while True:
                try:
                    assert await executor.execute_nif(probe.add, 1, 2, timeout=5) == 3
                    break
                except NifWorkerLost:
                    continue
            await until(lambda: zygote.of().pid != before)
            assert await executor.execute_nif(probe.add, 1, 2) == 3

    with_executor(main, max_workers=1)


# ---- isolation="auto" ----


def test_auto_moves_a_function_when_it_has_crashed(
    library: NifLibrary, caplog: pytest.LogCaptureFixture
) -> None:
    crash = load_gallery().gallery_segv_read

    async def main() -> None:
        async with NifExecutor(isolation="auto", max_workers=2) as executor:
            tiers = []
            for _ in range(3):
                with pytest.raises(NifSignal) as error:
                    await executor.execute_nif(crash)
                tiers.append(error.value.tier)
            assert tiers == ["thread", "process", "process"]
            assert await executor.execute_nif(library.process_id) == os.getpid()
            assert await executor.execute_nif(remote.process_id) != os.getpid()
            executor.reset_isolation(crash)
            with pytest.raises(NifSignal) as error:
                await executor.execute_nif(crash)
            assert error.value.tier == "thread"

    run_on("asyncio", main)
    assert sum("function_moved" in record.getMessage() for record in caplog.records) == 2
