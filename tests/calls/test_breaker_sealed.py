"""The circuit breaker that a sandbox has by itself: crashes without end do not cost without end."""

from __future__ import annotations

import ctypes
import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from aionif import (
    NifArgumentError,
    NifBreaker,
    NifExecutor,
    NifPolicy,
    NifRejected,
    NifSignal,
    NifSyscallDenied,
    NifWorkerLost,
    Sandbox,
)
from aionif.breaker import SEALED_BREAKER
from tests.support import gather
from tests.support.breaking import CRASH, RETURN, crash, fates, is_refused, of
from tests.support.supervising import Clock

if TYPE_CHECKING:
    from aionif import NifLibrary

COMPUTE = Sandbox.compute()


libc = ctypes.CDLL(None)


def executor_like_the_default(clock: Clock, **settings: Any) -> NifExecutor:
    """Return one with the rule of sandboxes, for fewer crashes: each costs a process."""
    breaker = replace(SEALED_BREAKER, clock=clock, max_crashes=10, **settings)
    policy = NifPolicy(sandbox=COMPUTE, breaker=breaker)
    return NifExecutor(isolation="process", policy=policy, max_workers=2)


def test_a_sandbox_has_a_breaker_unless_it_is_told_not_to() -> None:
    assert NifPolicy().breaker is None
    assert NifPolicy(sandbox=COMPUTE).breaker == SEALED_BREAKER
    own = NifBreaker(max_crashes=7)
    assert NifPolicy(sandbox=COMPUTE, breaker=own).breaker == own
    without = NifPolicy(sandbox=COMPUTE, breaker=False)
    assert without.breaker is False
    assert replace(without, slow_call=1.0).breaker is False


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_share", -0.1),
        ("min_share", 1.1),
        ("min_share", float("nan")),
        ("min_share", "half"),
        ("max_hold_seconds", 29.0),
        ("max_hold_seconds", float("nan")),
    ],
)
def test_other_values_are_refused(name: str, value: Any) -> None:
    with pytest.raises(NifArgumentError, match=name):
        NifBreaker(**{name: value})


@pytest.mark.usefixtures("endless_second")
def test_crashes_without_end_are_refused_for_growing_times(
    run: Any, acting: NifLibrary, breaker_events: list[Any], caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        clock = Clock()
        async with executor_like_the_default(clock, max_hold_seconds=3.0) as executor:
            await crash(executor, acting.act, 10)
            started = executor.statistics().started
            for _ in range(50):
                error = await is_refused(executor, acting.act, CRASH)
            assert error.retry_after == 1.0
            assert executor.statistics().started - started <= 1, "but for the spare"
            for hold in (2.0, 3.0, 3.0):
                clock.now += error.retry_after or 0
                await crash(executor, acting.act)
                error = await is_refused(executor, acting.act, CRASH)
                assert error.retry_after == hold
            clock.now += 3.0
            assert await executor.execute_nif(acting.act, RETURN) == 7
            assert (of(executor).state, of(executor).openings, of(executor).held) == (
                "closed",
                4,
                53,
            )
            assert fates(executor) == {"returned": 1, "crashed": 13, "rejected": 53}

    run(main)
    names = [name for name, _ in breaker_events]
    assert (names.count("breaker_opened"), names.count("breaker_closed")) == (4, 1)
    told: list[Any] = [entry for entry in caplog.records if "nif_signal" in entry.getMessage()]
    # The last one has a count of those that came too fast to be told one by one.
    assert sum(entry.nif.get("suppressed", 1) for entry in told) == 13
    assert len(told) < 13


def test_one_crash_in_ten_calls_is_no_reason(run: Any, acting: NifLibrary) -> None:
    async def main() -> None:
        async with executor_like_the_default(Clock()) as executor:
            for _ in range(15):
                calls = [lambda: executor.execute_nif(acting.act, RETURN)] * 9
                results = await gather(lambda: executor.execute_nif(acting.act, CRASH), *calls)
                assert [type(result) for result in results] == [NifSignal, *[int] * 9]
            assert of(executor).state == "closed"
            for _ in range(10):
                await gather(lambda: executor.execute_nif(acting.act, CRASH))
            await is_refused(executor, acting.act)

    run(main)


@pytest.mark.parametrize("act", ["denied", "killed by itself"])
def test_whatever_costs_a_worker_counts(run: Any, act: str) -> None:
    call = (os.getpgid, 0) if act == "denied" else (libc["raise"], 9)

    async def main() -> None:
        async with executor_like_the_default(Clock()) as executor:
            results = [(await gather(lambda: executor.execute_nif(*call)))[0] for _ in range(11)]
            kinds = {type(result) for result in results[:10]}
            assert kinds == {NifSyscallDenied if act == "denied" else NifWorkerLost}
            assert isinstance(results[10], NifRejected)

    run(main)


def test_it_is_there_by_itself_and_not_where_it_is_declined(
    run: Any, acting: NifLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aionif.policy.SEALED_BREAKER", replace(SEALED_BREAKER, max_crashes=3))

    async def main() -> None:
        policy = NifPolicy(sandbox=COMPUTE)
        async with NifExecutor(isolation="process", policy=policy, max_workers=2) as executor:
            await crash(executor, acting.act, 3)
            await is_refused(executor, acting.act)
        policy = NifPolicy(sandbox=COMPUTE, breaker=False)
        async with NifExecutor(isolation="process", policy=policy, max_workers=2) as executor:
            await crash(executor, acting.act, 6)
            assert executor.statistics().breakers == ()

    run(main)
