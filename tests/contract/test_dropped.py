"""Executors that are dropped, and those that a fork finds before their first use."""

from __future__ import annotations

import asyncio
import gc
import os
import warnings
from typing import TYPE_CHECKING, Any

import pytest

from aionif import NifBreaker, NifClosed, NifExecutor, NifPolicy, load
from aionif.futures import NifProcessPoolExecutor
from tests.support import run_child, until
from tests.support.workers import is_alive, workers_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from aionif import NifLibrary
    from aionif.policy import Isolation

POLICIES = [None, NifPolicy(breaker=NifBreaker())]


@pytest.mark.parametrize("policy", POLICIES, ids=["", "breaker"])
def test_a_dropped_executor_is_closed_and_said(
    tier: Isolation, run: Callable[..., Any], probe: NifLibrary, policy: NifPolicy | None
) -> None:
    if tier == "inline" and policy is not None:
        policy = None

    async def main() -> None:
        executor = NifExecutor(isolation=tier, policy=policy, name="lost")
        assert await executor.execute_nif(probe.add, 1, 2) == 3
        workers = workers_of(executor)
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            del executor
            gc.collect()
        assert [str(warning.message) for warning in seen if "'lost'" in str(warning.message)]
        assert {warning.category for warning in seen} == {ResourceWarning}
        await until(lambda: not any(map(is_alive, workers)))

    run(main)


def test_one_that_was_never_used_is_dropped_in_silence(tier: Isolation) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        executor = NifExecutor(isolation=tier)
        del executor
        gc.collect()


def use_before_and_after_a_fork() -> None:
    """As servers do that load the application before they fork: it works in each child."""
    executors: list[Any] = [
        NifExecutor(),
        NifExecutor(isolation="process"),
        NifProcessPoolExecutor(1),
    ]
    for _ in range(2):
        child = os.fork()
        if child == 0:
            asyncio.run(_use(*executors))
            os._exit(0)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    asyncio.run(_use(*executors))


async def _use(threads: NifExecutor, processes: NifExecutor, pool: NifProcessPoolExecutor) -> None:
    from tests.support import load_gallery

    async with threads, processes:
        outcomes = [
            (
                await asyncio.gather(
                    threads.execute_nif(load_gallery().gallery_segv_read), return_exceptions=True
                )
            )[0],
            await processes.execute_nif(abs, -3),
            await asyncio.wrap_future(pool.submit(abs, -4)),
        ]
    pool.shutdown()
    print(type(outcomes[0]).__name__, *outcomes[1:], flush=True)


def test_an_unused_executor_works_in_the_children_of_forks() -> None:
    child = run_child(use_before_and_after_a_fork)
    assert child.returncode == 0, child.stderr
    line = "NifSignal 3 4"
    assert child.stdout.splitlines() == [line, "0", line, "0", line], child.stderr


def use_and_fork(isolation: Isolation) -> None:
    """As a server does whose application calls as it is loaded."""
    executor = NifExecutor(isolation=isolation)
    asyncio.run(_say_outcome(executor))
    child = os.fork()
    if child == 0:
        asyncio.run(_say_outcome(executor))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
    asyncio.run(_say_outcome(executor))
    asyncio.run(executor.aclose())


async def _say_outcome(executor: NifExecutor) -> None:
    labs = load(None, "long labs(long);").labs
    try:
        print(await executor.execute_nif(labs, -3), flush=True)
    except NifClosed:
        print("closed", flush=True)


def test_a_used_executor_is_closed_in_the_children_of_forks(tier: Isolation) -> None:
    child = run_child(use_and_fork, tier)
    assert child.stdout.splitlines() == ["3", "closed", "0", "3"], child.stderr
    assert child.returncode == 0, child.stderr
