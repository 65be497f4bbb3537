"""Results too large for their call's block: in memory that the parent made, one at a time."""

from __future__ import annotations

import signal
import time
from contextlib import suppress
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from aionif import (
    NifArgumentError,
    NifError,
    NifExecutor,
    NifLimits,
    NifPolicy,
    NifRejected,
    NifTimeout,
    NifWorkerLost,
    Sandbox,
)
from aionif.core.native import lib
from aionif.process import replies as parent_side
from tests import remote
from tests.support import gather, holdings, run_on

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

LARGE = 1 << 20
LIMITED = NifPolicy(limits=NifLimits(result_size=4 * LARGE))
SEALED = NifPolicy(sandbox=Sandbox.python())

POLICIES = pytest.mark.parametrize(
    "policy", [NifPolicy(), LIMITED, SEALED], ids=["unlimited", "limited", "sealed"]
)


def with_one_worker(
    main: Callable[[NifExecutor], Awaitable[None]], policy: NifPolicy = LIMITED
) -> None:
    async def run() -> None:
        async with NifExecutor(isolation="process", max_workers=1, policy=policy) as executor:
            await main(executor)

    run_on("asyncio", run)


@POLICIES
def test_one_worker_has_many_of_them_under_way(policy: NifPolicy) -> None:
    async def main(executor: NifExecutor) -> None:
        calls = [
            lambda size=size: executor.execute_nif(remote.filled, size, timeout=60)
            for size in range(LARGE, LARGE + 12)
        ]
        results: Any = await gather(*calls)
        assert [len(result) for result in results] == [*range(LARGE, LARGE + 12)]
        assert all(set(result) == {size & 0xFF} for size, result in enumerate(results, LARGE))

    with_one_worker(main, policy)


@POLICIES
def test_the_next_one_is_as_small_as_it_is(policy: NifPolicy) -> None:
    async def main(executor: NifExecutor) -> None:
        for size in (3 * LARGE, LARGE, 2 * LARGE):
            assert await executor.execute_nif(remote.filled, size) == bytes([size & 0xFF]) * size

    with_one_worker(main, policy)


def test_nothing_of_the_last_one_is_left() -> None:
    async def main(executor: NifExecutor) -> None:
        assert await executor.execute_nif(remote.filled, LARGE + 1) == b"\x01" * (LARGE + 1)
        assert not any(await executor.execute_nif(remote.reply_memory))

    with_one_worker(main)


def test_the_memory_of_one_that_nobody_wants_is_free_again() -> None:
    async def main(executor: NifExecutor) -> None:
        waits = NifPolicy(limits=LIMITED.limits, on_timeout="wait", on_cancel="wait")
        for _ in range(3):
            with anyio.move_on_after(0.02):
                await executor.execute_nif(remote.sleep_and_fill, 0.1, LARGE, policy=waits)
            with pytest.raises(NifTimeout):
                await executor.execute_nif(
                    remote.sleep_and_fill, 0.1, LARGE, timeout=0.05, policy=waits
                )
        assert len(await executor.execute_nif(remote.filled, LARGE, timeout=60)) == LARGE

    with_one_worker(main)


def test_an_executor_that_closes_with_unread_ones_frees_them() -> None:
    async def main() -> None:
        before = holdings().descriptors
        for _ in range(3):
            executor = NifExecutor(isolation="process", max_workers=2, policy=LIMITED)
            async with anyio.create_task_group() as tasks:
                for _ in range(8):
                    tasks.start_soon(executor.execute_nif, remote.filled, LARGE)
                await anyio.sleep(0.2)
                tasks.cancel_scope.cancel()
            await executor.aclose()
        assert holdings().descriptors <= before + 2  # the zygote's, and the loop's

    run_on("asyncio", main)


def test_memory_that_was_not_written_to_holds_no_result() -> None:
    async def main(executor: NifExecutor) -> None:
        for _ in range(3):
            with pytest.raises(NifArgumentError, match="'result' of the worker can't be read"):
                await executor.execute_nif(remote.lend, False, timeout=60)
        assert len(await executor.execute_nif(remote.filled, LARGE, timeout=60)) == LARGE

    with_one_worker(main)


def test_a_worker_that_does_not_wait_for_its_turn_is_killed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = parent_side._read_large

    def read_late(*arguments: Any) -> Any:
        time.sleep(0.5)  # the watchdog meanwhile sees the next one
        return read(*arguments)

    monkeypatch.setattr(parent_side, "_read_large", read_late)

    async def main(executor: NifExecutor) -> None:
        async def lie() -> None:
            with suppress(NifError):
                await executor.execute_nif(remote.lend, True, timeout=60)

        await gather(*[lie] * 6)
        assert await executor.execute_nif(abs, -1, timeout=60) == 1
        assert executor.statistics().restarts["misbehaved"] >= 1

    with_one_worker(main)


@POLICIES
def test_one_that_nobody_reads_holds_up_no_other_for_ever(
    policy: NifPolicy, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where the loop that it is for was stopped for good, and another uses the executor."""
    kept: list[Any] = []
    descriptor = lib.aionif_reply_descriptor
    reading = SimpleNamespace(
        aionif_reply_descriptor=descriptor, aionif_reply_give_back=kept.append
    )
    monkeypatch.setattr(parent_side, "lib", reading)

    async def main(executor: NifExecutor) -> None:
        await executor.execute_nif(remote.be_impatient, 0.2)
        assert len(await executor.execute_nif(remote.filled, LARGE)) == LARGE
        with pytest.raises(NifRejected, match="nobody has read"):
            await executor.execute_nif(remote.filled, LARGE)
        assert await executor.execute_nif(abs, -1) == 1
        monkeypatch.undo()
        lib.aionif_reply_give_back(kept.pop())
        assert len(await executor.execute_nif(remote.filled, LARGE)) == LARGE

    with_one_worker(main, policy)


def test_a_result_outlives_its_worker() -> None:
    async def main(executor: NifExecutor) -> None:
        async def die() -> None:
            with pytest.raises(NifWorkerLost):
                await executor.execute_nif(signal.raise_signal, signal.SIGKILL)

        result, _ = await gather(lambda: executor.execute_nif(remote.filled, LARGE), die)
        assert len(result) == LARGE

    with_one_worker(main)
