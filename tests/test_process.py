"""What is true of the process tier alone: kills, replacements, memory, the end of the parent."""

from __future__ import annotations

import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import numpy as np
import pytest

from aionif import (
    Buffer,
    NifArgumentError,
    NifExecutor,
    NifLimitExceeded,
    NifLimits,
    NifPolicy,
    NifRejected,
    NifSignal,
    NifTimeout,
    NifWorkerLost,
    load,
)
from aionif._zygote import _zygote
from tests import remote
from tests.support import (
    DEADLINE,
    POLL,
    build_library,
    gather,
    holdings,
    load_gallery,
    run_on,
    until,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from aionif import NifLibrary

KILLS = int(os.environ.get("AIONIF_TEST_KILLS", "200"))

SOURCE = """
    #include <stdio.h>
    #include <stdlib.h>
    #include <string.h>
    #include <unistd.h>
    struct pair { long one; char *text; };
    struct five { long values[5]; };
    void fill(unsigned char *bytes, long length, int value) { memset(bytes, value, length); }
    unsigned long address_of(const void *bytes) { return (unsigned long)bytes; }
    long first(const struct pair *pair) { return pair->one; }
    struct five five(long start) {
        struct five made;
        for (int i = 0; i < 5; i++) made.values[i] = start + i;
        return made;
    }
    char *make_text(const char *text) { return strdup(text); }
    long length_of(const char *text) { return strlen(text); }
    void drop_text(char *text) { free(text); }
    void out(char **text, const char *from) { *text = strdup(from); }
    void spin(void) { for (;;) __asm__ volatile(""); }
    void say_and_crash(const char *text) {
        fputs(text, stderr);
        fflush(stderr);
        *(volatile int *)0 = 1;
    }
    void *grab(long bytes) { char *p = malloc(bytes); p[0] = 1; return p; }
    int write_file(const char *path, long bytes) {
        FILE *file = fopen(path, "w");
        for (long i = 0; i < bytes; i++) fputc('x', file);
        return fclose(file);
    }
    int process_id(void) { return getpid(); }
"""
CDEF = """
    struct pair { long one; char *text; };
    struct five { long values[5]; };
    void fill(unsigned char *, long, int);
    unsigned long address_of(const void *);
    long first(const struct pair *);
    struct five five(long);
    char *make_text(const char *);
    long length_of(const char *);
    void drop_text(char *);
    void out(char **, const char *);
    void spin(void);
    void say_and_crash(const char *);
    void *grab(long);
    int write_file(const char *, long);
    int process_id(void);
"""


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_library(tmp_path_factory.mktemp("process"), SOURCE, name="process")


@pytest.fixture(scope="module")
def library(path: Path) -> NifLibrary:
    return load(path, CDEF)


def with_executor(
    function: Callable[..., Any], *, deadline: float = DEADLINE, **settings: Any
) -> Any:
    async def main() -> Any:
        async with NifExecutor(isolation="process", **settings) as executor:
            return await function(executor)

    return run_on("asyncio", main, deadline=deadline)


def workers_of(executor: NifExecutor) -> list[int]:
    return executor._pools.processes()


def is_alive(pid: int) -> bool:
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"


# ---- kills ----


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
                await executor.execute_nif(function, timeout=0.1)
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


def test_stderr_is_in_the_report(library: NifLibrary) -> None:
    async def main(executor: NifExecutor) -> None:
        for _ in range(2):
            with pytest.raises(NifSignal) as crash:
                await executor.execute_nif(library.say_and_crash, b"last words\n")
            assert crash.value.report.stderr == "last words\n"
            assert "  | last words" in crash.value.report.render()

    with_executor(main, max_workers=1)


def test_the_zygote_can_be_killed_too(probe: NifLibrary) -> None:
    async def main(executor: NifExecutor) -> None:
        await executor.execute_nif(probe.nothing)
        before = _zygote.pid
        assert before is not None
        os.kill(before, signal.SIGKILL)
        with anyio.fail_after(10):
            while True:
                try:
                    assert await executor.execute_nif(probe.add, 1, 2, timeout=5) == 3
                    break
                except NifWorkerLost:
                    continue
            await until(lambda: _zygote.pid != before)
            assert await executor.execute_nif(probe.add, 1, 2) == 3

    with_executor(main, max_workers=1)


# ---- memory ----


def test_memory_behind_pointers_goes_there_and_back(library: NifLibrary) -> None:
    ffi = library.ffi

    async def main(executor: NifExecutor) -> None:
        for size in (1, 100, 5000, 100_000, 3_000_000):
            for memory in (bytearray(size), ffi.new("unsigned char[]", size)):
                await executor.execute_nif(library.fill, memory, size, 7)
                assert bytes(memory) == b"\7" * size
        five = await executor.execute_nif(library.five, 10)
        assert list(five.values) == [10, 11, 12, 13, 14]
        pair = ffi.new("struct pair *", {"one": 5})
        assert await executor.execute_nif(library.first, pair) == 5

    with_executor(main, max_workers=1)


def test_what_can_not_cross_is_refused(library: NifLibrary) -> None:
    ffi = library.ffi
    text = ffi.new("char[]", b"text")
    pair = ffi.new("struct pair *", {"one": 5, "text": text})

    async def main(executor: NifExecutor) -> None:
        with pytest.raises(NifArgumentError, match="inside a struct") as error:
            await executor.execute_nif(library.first, pair)
        assert error.value.function == "first"
        with pytest.raises(NifArgumentError, match="unknown size"):
            await executor.execute_nif(library.length_of, ffi.cast("char *", text))
        assert await executor.execute_nif(library.length_of, text) == 4

    with_executor(main, max_workers=1)


def test_a_session_keeps_what_its_worker_returned(library: NifLibrary) -> None:
    ffi = library.ffi

    async def main(executor: NifExecutor) -> None:
        async with executor.session() as session:
            text = await session.execute_nif(library.make_text, b"kept there")
            assert await session.execute_nif(library.length_of, text) == 10
            assert await session.read_string(text) == b"kept there"
            assert await session.read_bytes(text, 4) == b"kept"
            await session.execute_nif(library.drop_text, text)
            out = ffi.new("char **")
            await session.execute_nif(library.out, out, b"through a pointer")
            assert await session.read_string(out[0]) == b"through a pointer"

    with_executor(main, max_workers=2)


def test_buffers_are_passed_without_a_copy(library: NifLibrary) -> None:
    async def main(executor: NifExecutor) -> None:
        with Buffer(8 << 20) as buffer:
            numbers = np.frombuffer(buffer.view(), dtype=np.uint8)
            there = await executor.execute_nif(library.address_of, buffer.view())
            assert there == buffer.address == numbers.ctypes.data
            await executor.execute_nif(library.fill, buffer.view(), buffer.size, 9)
            assert (numbers == 9).all()
            await executor.execute_nif(library.fill, numbers[100:], 10, 3)
            assert numbers[99:111].tolist() == [9, *[3] * 10, 9]
            assert mapped_in(workers_of(executor)[0], buffer.address) == "rw-s"
            del numbers

    with_executor(main, max_workers=1)


def test_a_read_only_buffer_is_so_in_the_worker(library: NifLibrary) -> None:
    async def main(executor: NifExecutor) -> None:
        buffer = Buffer(100, readonly=True)
        buffer.view()[:4] = b"read"
        assert await executor.execute_nif(library.length_of, buffer.view()) == 4
        assert mapped_in(workers_of(executor)[0], buffer.address) == "r--s"
        with pytest.raises(NifSignal):
            await executor.execute_nif(library.fill, buffer.view(), 4, 1)
        assert bytes(buffer.view()[:4]) == b"read"

    with_executor(main, max_workers=1)


def test_filling_a_buffer() -> None:
    buffer = Buffer(5000)
    buffer.fill(np.arange(1000, dtype=np.int32))
    assert np.frombuffer(buffer.view(), dtype=np.int32, count=1000).tolist() == list(range(1000))
    assert bytes(buffer.view()[4000:]) == bytes(1000)
    with pytest.raises(NifArgumentError, match="larger than the buffer"):
        buffer.fill(bytes(5001))


def mapped_in(pid: int, address: int) -> str:
    for line in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines():
        low, high, access = re.match(r"(\w+)-(\w+) (\S+)", line).groups()  # type: ignore[union-attr]
        if int(low, 16) <= address < int(high, 16):
            return access
    return ""


def test_buffers_give_their_memory_back() -> None:
    before = holdings().descriptors
    buffers = [Buffer(1 << 20) for _ in range(50)]
    kept = buffers[0].view()
    addresses = {buffer.address for buffer in buffers}
    assert len(addresses) == 50
    del buffers
    kept[5] = 1  # a view keeps its buffer
    del kept
    assert holdings().descriptors <= before + 1
    assert Buffer(1 << 20).address in addresses


# ---- limits ----


@pytest.mark.parametrize(
    ("limit", "value", "name", "amount"),
    [
        ("address_space", 64 << 20, "grab", 200 << 20),
        ("cpu_time", 0.1, "spin", None),
        ("file_size", 1000, "write_file", 100_000),
    ],
)
def test_limits_of_native_code(  # noqa: PLR0913, PLR0917 - a row of the table
    library: NifLibrary, tmp_path: Path, limit: str, value: float, name: str, amount: int | None
) -> None:
    arguments: list[Any] = [] if amount is None else [amount]
    if name == "write_file":
        arguments.insert(0, bytes(tmp_path / "file"))
    policy = NifPolicy(limits=NifLimits(**{limit: value}))  # type: ignore[arg-type]

    async def main(executor: NifExecutor) -> None:
        for _ in range(2):
            with pytest.raises(NifLimitExceeded) as error:
                await executor.execute_nif(getattr(library, name), *arguments)
            assert error.value.limit == limit
        assert await executor.execute_nif(library.process_id)

    with_executor(main, max_workers=1, policy=policy)


@pytest.mark.parametrize(
    ("limit", "value", "function", "arguments"),
    [
        ("address_space", 64 << 20, remote.take_memory, (200 << 20,)),
        ("resident_memory", 64 << 20, remote.take_memory, (2000 << 20,)),
        ("open_files", 64, remote.open_files, ()),
    ],
)
def test_limits_of_python_code(
    limit: str, value: int, function: Any, arguments: tuple[Any, ...]
) -> None:
    policy = NifPolicy(limits=NifLimits(**{limit: value}))

    async def main(executor: NifExecutor) -> None:
        with pytest.raises(NifLimitExceeded) as error:
            await executor.execute_nif(function, *arguments)
        assert error.value.limit == limit

    with_executor(main, max_workers=1, policy=policy)


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
from aionif._zygote import _zygote
from aionif._gallery import library_path
from aionif import load
async def main():
    add = load(library_path("c"), "long gallery_add(long, long);").gallery_add
    executor = NifExecutor(isolation="process", max_workers=2)
    await executor.execute_nif(add, 1, 2)
    while not executor._pools.processes():
        await asyncio.sleep(0.001)
    print(_zygote.pid, *executor._pools.processes(), flush=True)
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


def test_closing_leaves_no_worker(probe: NifLibrary) -> None:
    found: list[int] = []

    async def main(executor: NifExecutor) -> None:
        await gather(*[lambda: executor.execute_nif(probe.sleep_ms, 20)] * 3)
        found.extend(workers_of(executor))
        assert len(found) >= 2

    with_executor(main, max_workers=3)
    assert not any(map(is_alive, found))
    zygote = _zygote.pid
    children = Path(f"/proc/{zygote}/task/{zygote}/children").read_text(encoding="utf-8").split()
    assert children == [], "a spare, or a zombie"


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
