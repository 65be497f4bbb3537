"""What is used up: every call ends, and says which limit was met; the next one tries again."""

from __future__ import annotations

import errno
import os
import resource
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from aionif import Buffer, NifExecutor, NifPolicy, NifRejected, call_nif, load
from aionif.core.native import lib
from aionif.futures import NifProcessPoolExecutor
from aionif.loops.current import current_port
from aionif.process import zygote
from aionif.system.shortage import explain, size_text
from tests.support import gather, run_child, run_on
from tests.support.scarce import limit, refuse, use_up_descriptors
from tests.support.workers import workers_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

DESCRIPTORS = 64
LIBC = "int abs(int); int usleep(unsigned); size_t strlen(const char *);"


def outcome_of(name: str, *arguments: str) -> list[str]:
    """Run one of the functions below in a child; return the lines that it printed."""
    child = run_child(globals()[name], *arguments)
    assert child.returncode == 0, (child.stdout, child.stderr)
    assert "Traceback" not in child.stderr, child.stderr
    return child.stdout.splitlines()


async def tell(call: Callable[[], Awaitable[Any]]) -> None:
    """Print the result, or the error's two lines."""
    try:
        with anyio.fail_after(20):
            print(await call())
    except NifRejected as error:
        print("rejected:", error.reason)


# ---- descriptors ----

NONE_IS_FREE = f"no file descriptor is free (ulimit -n is {DESCRIPTORS})"


@pytest.mark.parametrize("tier", ["process", "thread"])
@pytest.mark.parametrize("free", range(0, 15, 2))
def test_from_the_start(tier: str, free: int) -> None:
    *lines, last, count = outcome_of("start_with_few_descriptors", tier, str(free))
    assert len(lines) == 2
    assert all(NONE_IS_FREE in line for line in lines) or lines == ["1", "1"]
    assert "rejected" in lines[0] or free > 0
    assert (last, count) == ("1", "1"), "once there are some it goes on"


def start_with_few_descriptors(tier: Any, free: str) -> None:
    absolute = load("libc.so.6", LIBC).abs
    limit("NOFILE", DESCRIPTORS)

    async def main() -> None:
        async with NifExecutor(isolation=tier, max_workers=2) as executor:
            used = use_up_descriptors(but=int(free))
            for _ in range(2):
                await tell(lambda: executor.execute_nif(absolute, -1))
            for descriptor in used:
                os.close(descriptor)
            await tell(lambda: executor.execute_nif(absolute, -1))
            print(executor.statistics().workers)

    run_on("asyncio", main)


@pytest.mark.parametrize("free", range(6))
def test_with_a_zygote_that_serves_others(free: int) -> None:
    lines = outcome_of("open_another_pool", str(free))
    assert lines[0] == "1", "who has workers has them"
    assert all(NONE_IS_FREE in line for line in lines[1:4]) or lines[1:4] == ["1"] * 3
    assert lines[4:] == ["1", "1"]


def open_another_pool(free: str) -> None:
    absolute = load("libc.so.6", LIBC).abs
    limit("NOFILE", DESCRIPTORS)

    async def main() -> None:
        settings: dict[str, Any] = {"isolation": "process", "max_workers": 2}
        async with NifExecutor(**settings) as first, NifExecutor(**settings) as second:
            await first.execute_nif(absolute, -1)
            used = use_up_descriptors(but=int(free))
            await tell(lambda: first.execute_nif(absolute, -1))
            for _ in range(3):
                await tell(lambda: second.execute_nif(absolute, -1))
            for descriptor in used:
                os.close(descriptor)
            await tell(lambda: second.execute_nif(absolute, -1))
            await tell(lambda: first.execute_nif(absolute, -1))

    run_on("asyncio", main)


def test_as_long_as_one_serves_calls_wait_for_it() -> None:
    assert outcome_of("have_one_worker_serve") == ["[0, 0, 0, 0]", "True"]


def have_one_worker_serve() -> None:
    sleep = load("libc.so.6", LIBC).usleep
    limit("NOFILE", DESCRIPTORS)

    async def main() -> None:
        async with NifExecutor(isolation="process", max_workers=4) as executor:
            await executor.execute_nif(sleep, 1)
            used = use_up_descriptors(but=0)
            print(await gather(*[lambda: executor.execute_nif(sleep, 300_000)] * 4))
            print(len(workers_of(executor)) <= 2)  # it, and its spare
            for descriptor in used:
                os.close(descriptor)

    run_on("asyncio", main)


def test_a_large_result_needs_no_descriptor() -> None:
    assert outcome_of("return_more_than_a_block") == ["100000", "1"]


def return_more_than_a_block() -> None:
    limit("NOFILE", DESCRIPTORS)

    async def main() -> None:
        async with NifExecutor(isolation="process", max_workers=1) as executor:
            await executor.execute_nif(bytes, 100_000)
            await anyio.sleep(0.3)  # the spare takes what it needs
            used = use_up_descriptors(but=0)
            print(len(await executor.execute_nif(bytes, 100_000)))
            print(await executor.execute_nif(abs, -1))
            for descriptor in used:
                os.close(descriptor)

    run_on("asyncio", main)


def test_futures_try_again() -> None:
    assert outcome_of("submit_with_few_descriptors") == ["rejected", "1"]


def submit_with_few_descriptors() -> None:
    limit("NOFILE", DESCRIPTORS)
    with NifProcessPoolExecutor(max_workers=1) as executor:
        used = use_up_descriptors(but=3)
        try:
            executor.submit(abs, -1).result(20)
        except NifRejected:
            print("rejected")
        for descriptor in used:
            os.close(descriptor)
        print(executor.submit(abs, -1).result(20))


# ---- address space ----


@pytest.mark.parametrize("mib", [8192, 1024, 512, 256, 128])
def test_address_space(mib: int) -> None:
    window, *lines = outcome_of("live_in_little_address_space", str(mib))
    assert int(window) <= mib // 4
    assert lines[:3] == ["[0, 0, 0, 0]", "100000", "300"]
    assert lines[3].startswith("rejected: no addresses are left for a buffer of 16 GiB: all have")
    assert lines[4] == "1"


def live_in_little_address_space(mib: str) -> None:
    libc = load("libc.so.6", LIBC)
    limit("AS", int(mib) << 20)

    async def big() -> None:
        Buffer(16 << 30)

    async def main() -> None:
        async with NifExecutor(isolation="process", max_workers=4) as executor:
            slept = await gather(*[lambda: executor.execute_nif(libc.usleep, 100_000)] * 4)
            print(lib.aionif_window_size() >> 20)
            print(slept)
            print(len(await executor.execute_nif(bytes, 100_000)))
            print(await executor.execute_nif(libc.strlen, b"x" * 300))
            await tell(big)
            print(await executor.execute_nif(libc.abs, -1))

    run_on("asyncio", main)


@pytest.mark.parametrize("tier", ["process", "thread"])
@pytest.mark.parametrize("name", ["AS", "DATA"])
def test_no_memory_for_a_worker(tier: str, name: str) -> None:
    what = {"AS": "no address space is left (ulimit -v", "DATA": "no memory of data is left"}[name]
    first, second, last = outcome_of("start_without_memory", tier, name)
    assert what in first, first
    assert what in second
    assert last == "1"


def start_without_memory(tier: Any, name: str) -> None:
    absolute = load("libc.so.6", LIBC).abs
    call_nif(absolute, -1)  # the thread has what it needs itself

    async def main() -> None:
        async with NifExecutor(isolation=tier, max_workers=1) as executor:
            number = getattr(resource, f"RLIMIT_{name}")
            before = resource.getrlimit(number)
            current_port()  # the loop has what it needs, too
            limit(name, 1 << 20)  # less than there is
            for _ in range(2):
                await tell(lambda: executor.execute_nif(absolute, -1))
            resource.setrlimit(number, before)
            await tell(lambda: executor.execute_nif(absolute, -1))

    run_on("asyncio", main)


# ---- processes and threads ----

UNFILTERED = NifPolicy(contain_exit=False)
"""Threads that have filters of their own would get none of ours."""


@pytest.mark.parametrize("tier", ["process", "thread"])
def test_no_thread_and_no_process(tier: str) -> None:
    lines = outcome_of("start_without_threads", tier)
    assert len(lines) == 2
    assert all("no further process or thread may be started (ulimit -u" in each for each in lines)


def start_without_threads(tier: Any) -> None:
    absolute = load("libc.so.6", LIBC).abs
    refuse(errno.EAGAIN, "clone", "clone3", "fork", "vfork")

    async def main() -> None:
        async with NifExecutor(isolation=tier, max_workers=1) as executor:
            for _ in range(2):
                await tell(lambda: executor.execute_nif(absolute, -1))

    run_on("asyncio", main)


def test_no_thread_for_a_pool_that_is_open() -> None:
    first, *others = outcome_of("refuse_further_threads")
    assert first == "1"
    assert len(others) == 2
    assert all("no further process or thread may be started" in each for each in others)


def refuse_further_threads() -> None:
    """The watchdog is there; the next pool gets no worker."""
    absolute = load("libc.so.6", LIBC).abs

    async def main() -> None:
        settings: dict[str, Any] = {"max_workers": 1, "policy": UNFILTERED}
        async with NifExecutor(**settings) as first, NifExecutor(**settings) as second:
            await tell(lambda: first.execute_nif(absolute, -1))
            refuse(errno.EAGAIN, "clone", "clone3")
            for _ in range(2):
                await tell(lambda: second.execute_nif(absolute, -1))

    run_on("asyncio", main)


def test_what_serves_a_session_alone_does_not_count() -> None:
    first, second = outcome_of("keep_the_worker_for_a_session")
    assert "no further process or thread may be started" in first
    assert second == "1"


def keep_the_worker_for_a_session() -> None:
    absolute = load("libc.so.6", LIBC).abs

    async def main() -> None:
        async with (
            NifExecutor(max_workers=2, policy=UNFILTERED) as executor,
            executor.session() as session,
        ):
            await session.execute_nif(absolute, -1)
            refuse(errno.EAGAIN, "clone", "clone3")
            await tell(lambda: executor.execute_nif(absolute, -1))
            await tell(lambda: session.execute_nif(absolute, -1))

    run_on("asyncio", main)


def test_a_zygote_that_may_not_fork() -> None:
    first, *others = outcome_of("have_a_zygote_that_may_not_fork")
    assert first == "1"
    assert len(others) == 2
    assert all("no file descriptor is free" in each for each in others)


def have_a_zygote_that_may_not_fork() -> None:
    absolute = load("libc.so.6", LIBC).abs

    async def main() -> None:
        async with NifExecutor(isolation="process", max_workers=1) as first:
            await tell(lambda: first.execute_nif(absolute, -1))
            few = resource.prlimit(zygote.of().pid or 0, resource.RLIMIT_NOFILE)[1]
            resource.prlimit(zygote.of().pid or 0, resource.RLIMIT_NOFILE, (5, few))
            async with NifExecutor(isolation="process", max_workers=1) as second:
                for _ in range(2):
                    await tell(lambda: second.execute_nif(absolute, -1))

    run_on("asyncio", main)


# ---- words ----


def test_what_is_said() -> None:
    for error, words in (
        (errno.EMFILE, "ulimit -n"),
        (errno.ENFILE, "fs.file-max"),
        (errno.EAGAIN, "ulimit -u"),
        (errno.ENOMEM, "limit"),
        (errno.ETOOMANYREFS, "ulimit -n"),
        (errno.EPERM, "memfd_create is refused here: Operation not permitted"),
        (errno.ENOSYS, "memfd_create is refused here"),
        (errno.EIO, "memfd_create failed: Input/output error"),
    ):
        assert words in " ".join(explain(error, "memfd_create"))


@pytest.mark.parametrize(
    ("size", "words"),
    [(5, "5 bytes"), (1 << 30, "1 GiB"), (1536, "1.5 KiB"), (1 << 41, "2048 GiB")],
)
def test_sizes(size: int, words: str) -> None:
    assert size_text(size) == words
