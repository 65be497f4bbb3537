"""Calls that run too long: what the task gets, and what becomes of the call and its thread."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import aionif
from aionif import NifExecutor, NifPolicy, NifTimeout
from tests import children, support

if TYPE_CHECKING:
    from collections.abc import Callable

    from aionif import NifLibrary

SOON = 0.1
"""Seconds of a call that will not end in them; a busy machine starts it in that time."""

FOREVER = 1000.0
"""Seconds; a call that is given them has not ended by itself."""

CDEF = """
int asleep(double seconds, int state[2]);
void endless(int *begun);
int busy(double seconds, int crash);
int cooperative(int *stopped);
int should_stop(void);
"""


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> NifLibrary:
    source = (children.HERE / "lingering.c").read_text()
    directory = tmp_path_factory.mktemp("lingering")
    include = f"-I{aionif.get_include()}"
    return aionif.load(support.build_library(directory, source, include, name="lingering"), CDEF)


@pytest.fixture(scope="module")
def gallery() -> NifLibrary:
    return support.load_gallery()


def threads() -> int:
    return support.holdings().threads


async def all_is_over(executor: NifExecutor) -> None:
    """Wait until no call runs and nothing is kept for one."""
    await support.until(lambda: executor.statistics().running == 0)
    while support.kept_for_calls():
        await executor.execute_nif(support_call())  # events are taken when the loop looks
        await anyio.sleep(support.POLL)


def support_call() -> Any:
    return support.load_gallery().gallery_nop


# ---- the error ----


def test_a_call_past_its_deadline(run: Callable[..., Any], gallery: NifLibrary) -> None:
    async def main() -> None:
        async with NifExecutor() as executor:
            for _ in range(2):
                with pytest.raises(NifTimeout, match=r"did not return within 0\.1 s") as caught:
                    await executor.execute_nif(gallery.gallery_spin, timeout=SOON)
                error = caught.value
                assert isinstance(error, TimeoutError)
                assert (error.phase, error.timeout) == ("run", SOON)
                assert (error.function, error.tier) == ("gallery_spin", "thread")
            await support.until(lambda: executor.statistics().aborted == 2)
            counts = executor.statistics()
            assert (counts.timed_out, counts.abandoned, counts.workers) == (2, 0, counts.started)

    run(main)


def test_a_call_that_never_started(run: Callable[..., Any], gallery: NifLibrary) -> None:
    async def main() -> None:
        async with NifExecutor(max_workers=1) as executor, anyio.create_task_group() as group:
            group.start_soon(executor.execute_nif, gallery.gallery_spin_cooperative)
            await support.until(lambda: executor.statistics().running == 1)
            with pytest.raises(NifTimeout, match=r"no worker was free within 0\.1 s") as caught:
                await executor.execute_nif(gallery.gallery_add, 2, 3, timeout=SOON)
            assert caught.value.phase == "queue"
            assert executor.statistics().timed_out == 1
            group.cancel_scope.cancel()

    run(main)


def test_a_call_that_found_the_queue_full(run: Callable[..., Any], gallery: NifLibrary) -> None:
    async def main() -> None:
        async with (
            NifExecutor(max_workers=1, max_queue=1) as executor,
            anyio.create_task_group() as group,
        ):
            for _ in range(3):
                group.start_soon(executor.execute_nif, gallery.gallery_spin_cooperative)
            await support.until(lambda: executor.statistics().queued == 1)
            with pytest.raises(NifTimeout) as caught:
                await executor.execute_nif(gallery.gallery_add, 2, 3, timeout=SOON)
            assert caught.value.phase == "queue"
            group.cancel_scope.cancel()

    run(main)


def test_in_time_is_in_time(run: Callable[..., Any], native: NifLibrary) -> None:
    async def main() -> None:
        async with NifExecutor() as executor:
            assert await executor.execute_nif(native.busy, 0.01, 0, timeout=FOREVER) == 7
            assert await executor.execute_nif(native.busy, 0.01, 0, timeout=float("inf")) == 7
            assert executor.statistics().timed_out == 0

    run(main)


# ---- on_timeout ----


def test_a_cooperative_call_ends_by_itself(run: Callable[..., Any], native: NifLibrary) -> None:
    async def main() -> None:
        stopped = native.ffi.new("int *")
        async with NifExecutor(max_workers=1) as executor:
            with pytest.raises(NifTimeout):
                await executor.execute_nif(native.cooperative, stopped, timeout=SOON)
            await support.until(lambda: stopped[0] == 1)
            assert await executor.execute_nif(native.should_stop) == 0
            counts = executor.statistics()
            assert (counts.aborted, counts.abandoned, counts.started) == (0, 0, 1)

    run(main)


def test_a_sleeping_call_is_abandoned_replaced_counted_and_logged(
    run: Callable[..., Any], native: NifLibrary, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        state = native.ffi.new("int[2]")
        before = threads()
        policy = NifPolicy(abort_attempts=5)
        async with NifExecutor(max_workers=1, policy=policy) as executor:
            with pytest.raises(NifTimeout):
                await executor.execute_nif(native.asleep, 0.8, state, timeout=SOON)
            await support.until(lambda: executor.statistics().abandoned == 1)
            assert await executor.execute_nif(native.should_stop) == 0
            assert (executor.statistics().started, state[1]) == (2, 0)
            assert len(support.kept_for_calls()) == 1  # it still may write to `state`
            await all_is_over(executor)
            assert state[1] == 1
            await support.until(lambda: executor.statistics().workers == 1)
        await support.until(lambda: threads() <= before)

    with caplog.at_level(logging.WARNING, "aionif"):
        run(main)
    [event] = [vars(r)["nif"] for r in caplog.records if r.message.startswith("worker_abandoned")]
    assert event["function"] == "asleep"
    assert event["thread"] > 0


def test_abandon_does_not_try_to_abort(run: Callable[..., Any], native: NifLibrary) -> None:
    async def main() -> None:
        policy = NifPolicy(on_timeout="abandon")
        async with NifExecutor(max_workers=1, policy=policy) as executor:
            with pytest.raises(NifTimeout):
                await executor.execute_nif(native.busy, 0.4, 0, timeout=SOON)
            await support.until(lambda: executor.statistics().abandoned == 1)
            await all_is_over(executor)
            counts = executor.statistics()
            assert (counts.aborted, counts.abandoned, counts.started) == (0, 1, 2)

    run(main)


def test_wait_gives_the_error_once_the_call_has_returned(
    run: Callable[..., Any], native: NifLibrary
) -> None:
    async def main() -> None:
        state = native.ffi.new("int[2]")
        policy = NifPolicy(on_timeout="wait")
        async with NifExecutor(policy=policy) as executor:
            with pytest.raises(NifTimeout) as caught:
                await executor.execute_nif(native.asleep, 0.3, state, timeout=SOON)
            assert (state[1], caught.value.phase) == (1, "run")
            with pytest.raises(NifTimeout):
                await executor.execute_nif(native.busy, 0.3, 1, timeout=SOON)  # crashes, late
            counts = executor.statistics()
            assert (counts.abandoned, counts.aborted, counts.timed_out) == (0, 0, 2)
        assert not support.kept_for_calls()

    run(main)


def test_lost_threads_are_bounded(run: Callable[..., Any], native: NifLibrary) -> None:
    async def main() -> None:
        state = native.ffi.new("int[2]")
        policy = NifPolicy(max_lost_threads=2, abort_attempts=1)
        async with NifExecutor(policy=policy) as executor:
            for _ in range(2):
                with pytest.raises(NifTimeout):
                    await executor.execute_nif(native.asleep, 1.0, state, timeout=SOON)
            await support.until(lambda: executor.statistics().abandoned == 2)
            with pytest.raises(aionif.NifRejected) as caught:
                await executor.execute_nif(native.should_stop)
            assert "too many threads were lost" in str(caught.value)
            assert "Restart this process" in str(caught.value)
            await support.until(lambda: state[1] == 2)
            await all_is_over(executor)
            assert await accepted(executor, native) == 0, "calls that ended count as lost no more"
            assert executor.statistics().abandoned == 2

    async def accepted(executor: NifExecutor, native: NifLibrary) -> int:
        with anyio.fail_after(FOREVER):
            while True:
                try:
                    return int(await executor.execute_nif(native.should_stop))
                except aionif.NifRejected:
                    await anyio.sleep(SOON)

    run(main)


# ---- inline ----


def test_an_inline_call_is_aborted_at_its_deadline(gallery: NifLibrary) -> None:
    for _ in range(2):
        with pytest.raises(NifTimeout) as caught:
            aionif.call_nif(gallery.gallery_spin, timeout=SOON)
        assert (caught.value.tier, caught.value.phase) == ("inline", "run")
    assert aionif.call_nif(gallery.gallery_add, 2, 3, timeout=FOREVER) == 5


def test_an_inline_call_that_cannot_be_aborted_returns_late(native: NifLibrary) -> None:
    state = native.ffi.new("int[2]")
    with pytest.raises(NifTimeout):
        aionif.call_nif(native.asleep, 0.3, state, timeout=SOON)
    assert state[1] == 1


def test_an_inline_call_may_look_at_the_flag(native: NifLibrary) -> None:
    stopped = native.ffi.new("int *")
    with pytest.raises(NifTimeout):
        aionif.call_nif(native.cooperative, stopped, timeout=SOON)
    assert stopped[0] == 1


# ---- closing ----


def test_closing_lets_a_running_call_return(run: Callable[..., Any], native: NifLibrary) -> None:
    async def main() -> None:
        results: list[int] = []

        async def call(executor: NifExecutor) -> None:
            results.append(await executor.execute_nif(native.busy, 0.1, 0))

        async with anyio.create_task_group() as group:
            executor = NifExecutor(shutdown_timeout=FOREVER)
            group.start_soon(call, executor)
            await anyio.sleep(0.02)
            await executor.aclose()
        assert results == [7]

    run(main)


def test_closing_stops_a_busy_loop_that_was_abandoned(gallery: NifLibrary) -> None:
    async def main() -> None:
        policy = NifPolicy(abort_attempts=1)  # most meet it inside of libc
        async with NifExecutor(shutdown_timeout=0.01, max_workers=4, policy=policy) as executor:
            while not executor.statistics().abandoned:  # few rounds have none
                async with anyio.create_task_group() as group:
                    for _ in range(4):
                        group.start_soon(executor.execute_nif, gallery.gallery_spin_malloc)
                    await support.until(lambda: executor.statistics().running == 4)
                    group.cancel_scope.cancel()
                await support.until(lambda: not executor.statistics().running)

    before = threads()
    support.run_on("asyncio", main)
    assert_threads_go(before)


def assert_threads_go(before: int) -> None:
    deadline = time.monotonic() + support.DEADLINE
    while threads() > before and time.monotonic() < deadline:
        time.sleep(support.POLL)
    assert threads() <= before


@pytest.mark.parametrize("kind", ["endless", "asleep"])
def test_closing_stops_what_does_not_return(
    run: Callable[..., Any], native: NifLibrary, kind: str
) -> None:
    async def main() -> None:
        state = native.ffi.new("int[2]")
        ends: list[BaseException] = []
        executor = NifExecutor(shutdown_timeout=0.05, max_workers=1)
        call = (native.endless, state) if kind == "endless" else (native.asleep, 0.6, state)

        async def one() -> None:
            try:
                await executor.execute_nif(*call)
            except aionif.NifError as error:
                ends.append(error)

        async with anyio.create_task_group() as group:
            for _ in range(2):
                group.start_soon(one)
            await support.until(lambda: state[0] == 1)
            began = time.monotonic()
            await executor.aclose()
            assert time.monotonic() - began >= 0.05
        assert [type(end) for end in ends] == [aionif.NifClosed] * 2
        with pytest.raises(aionif.NifClosed):
            await executor.execute_nif(native.should_stop)
        async with NifExecutor() as other:
            await all_is_over(other)

    before = threads()
    run(main)
    assert_threads_go(before)
