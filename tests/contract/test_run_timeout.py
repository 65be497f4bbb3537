"""How long a call without a timeout may run: what its policy says, and a sandbox by itself."""

from __future__ import annotations

import ctypes
import math
import time
from dataclasses import replace
from typing import Any

import anyio
import pytest

import aionif
from aionif import NifArgumentError, NifExecutor, NifPolicy, NifTimeout, Sandbox
from aionif.futures import NifProcessPoolExecutor
from tests.support import DEADLINE, gather

SHORT = 0.3
"""Seconds that a call may run; one that is to outlive them sleeps for longer."""

SEALED = NifPolicy(sandbox=Sandbox.compute())
EVERYWHERE = pytest.mark.parametrize(
    ("isolation", "policy"),
    [("thread", NifPolicy()), ("process", NifPolicy()), ("process", SEALED)],
    ids=["thread", "process", "sealed"],
)

libc = ctypes.CDLL(None)


def usleep(seconds: float) -> tuple[Any, int]:
    return libc.usleep, int(seconds * 1e6)


def executor_on(isolation: Any, policy: NifPolicy, seconds: float = SHORT) -> NifExecutor:
    policy = replace(policy, run_timeout=seconds)
    return NifExecutor(isolation=isolation, policy=policy, max_workers=1)


def assert_is_default(error: NifTimeout, seconds: float = SHORT) -> None:
    assert (error.is_default, error.phase, error.timeout) == (True, "run", seconds)
    assert "run_timeout" in str(error)


# ---- what policies say ----


def test_a_sandbox_sets_a_minute_where_nothing_is_said() -> None:
    assert NifPolicy().run_timeout is None
    assert SEALED.run_timeout == 60
    assert NifPolicy(sandbox=Sandbox.python(), run_timeout=300).run_timeout == 300
    assert NifPolicy(sandbox=Sandbox.python(), run_timeout=math.inf).run_timeout == math.inf
    assert replace(SEALED, run_timeout=5).run_timeout == 5


@pytest.mark.parametrize("value", [0, -1, math.nan, "60", True])
def test_other_values_are_refused(value: Any) -> None:
    with pytest.raises(NifArgumentError, match="run_timeout"):
        NifPolicy(run_timeout=value)


def test_inline_calls_can_not_have_it() -> None:
    with pytest.raises(NifArgumentError, match="run_timeout"):
        NifExecutor(isolation="inline", policy=NifPolicy(run_timeout=5))
    with pytest.raises(NifArgumentError, match="run_timeout"):
        aionif.call_nif(libc.abs, 1, policy=NifPolicy(run_timeout=5))


# ---- what calls get ----


@EVERYWHERE
def test_a_call_without_a_timeout_is_ended(run: Any, isolation: Any, policy: NifPolicy) -> None:
    async def main() -> None:
        async with executor_on(isolation, policy) as executor:
            for _ in range(2):
                with pytest.raises(NifTimeout) as late, anyio.fail_after(DEADLINE):
                    await executor.execute_nif(*usleep(1000))
                assert_is_default(late.value)
            with pytest.raises(NifTimeout) as late, anyio.fail_after(DEADLINE):
                await executor.execute_nif(*usleep(1000), timeout=None)
            assert_is_default(late.value)
            assert await executor.execute_nif(libc.abs, -3) == 3
            assert executor.statistics().timed_out == 3

    run(main)


def test_a_sealed_call_is_ended_though_nobody_has_said_so(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aionif.policy.SEALED_RUN_TIMEOUT", SHORT)
    policy = NifPolicy(sandbox=Sandbox.python())

    async def main() -> None:
        async with NifExecutor(isolation="process", max_workers=1, policy=policy) as executor:
            with pytest.raises(NifTimeout) as late, anyio.fail_after(DEADLINE):
                await executor.execute_nif(time.sleep, 1000)
            assert_is_default(late.value)

    run(main)


@EVERYWHERE
def test_a_timeout_of_the_calls_own_holds_alone(
    run: Any, isolation: Any, policy: NifPolicy
) -> None:
    async def main() -> None:
        async with executor_on(isolation, policy) as executor:
            for timeout in (DEADLINE, math.inf):
                assert await executor.execute_nif(*usleep(4 * SHORT), timeout=timeout) == 0
            with pytest.raises(NifTimeout) as late:
                await executor.execute_nif(*usleep(1000), timeout=SHORT / 2)
            assert (late.value.is_default, late.value.timeout) == (False, SHORT / 2)

    run(main)


@EVERYWHERE
def test_waiting_in_the_queue_does_not_count(run: Any, isolation: Any, policy: NifPolicy) -> None:
    async def main() -> None:
        async with executor_on(isolation, policy, 1.0) as executor:
            calls = [lambda: executor.execute_nif(*usleep(0.15))] * 12
            assert await gather(*calls) == [0] * 12

    run(main)


@EVERYWHERE
def test_calls_of_a_session_are_ended(run: Any, isolation: Any, policy: NifPolicy) -> None:
    async def main() -> None:
        async with executor_on(isolation, policy) as executor, executor.session() as session:
            with pytest.raises(NifTimeout) as late, anyio.fail_after(DEADLINE):
                await session.execute_nif(*usleep(1000))
            assert_is_default(late.value)

    run(main)


def test_calls_of_futures_and_of_map_are_ended() -> None:
    policy = NifPolicy(run_timeout=SHORT)
    with NifProcessPoolExecutor(1, policy=policy) as executor:
        late = executor.submit(time.sleep, 1000).exception(DEADLINE)
        assert isinstance(late, NifTimeout)
        assert_is_default(late)
        with pytest.raises(NifTimeout) as error:
            list(executor.map(time.sleep, [0, 1000], timeout=DEADLINE))
        assert_is_default(error.value)
        assert executor.submit(pow, 2, 5).result(DEADLINE) == 32
