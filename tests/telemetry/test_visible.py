"""What fails can be seen: exceptions of callables, limits, shed load; each with its executor."""

from __future__ import annotations

import ctypes
import logging
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from aionif import (
    NifArgumentError,
    NifBreaker,
    NifExecutor,
    NifLimitExceeded,
    NifLimits,
    NifPolicy,
    NifRejected,
    NifSignal,
    Sandbox,
    telemetry,
)
from aionif.futures import NifProcessPoolExecutor
from aionif.telemetry import failures, registry
from tests import remote
from tests.support import DEADLINE, load_gallery, until

if TYPE_CHECKING:
    from collections.abc import Iterator

Event = tuple[str, dict[str, Any]]
NAME = "an executor of the tests of what is visible"
SEALED = NifPolicy(sandbox=Sandbox.python(), raised_level="info")
PLAIN = NifPolicy(raised_level="info")

libc = ctypes.CDLL(None)


@pytest.fixture
def events() -> Iterator[list[Event]]:
    found: list[Event] = []

    def keep(event: str, fields: dict[str, Any]) -> None:
        found.append((event, fields))

    failures.tell_suppressed()
    telemetry.attach(keep)
    yield found
    telemetry.detach(keep)


def named(events: list[Event], name: str) -> list[dict[str, Any]]:
    return [fields for event, fields in events if event == name]


def outcomes(statistics: Any) -> dict[str, int]:
    [function] = statistics.functions
    return {fate: count for fate, count in function.calls.items() if count}


# ---- exceptions of Python callables ----


@pytest.mark.parametrize("policy", [PLAIN, SEALED], ids=["process", "sealed"])
def test_an_exception_counts_as_raised_and_is_logged(
    run: Any, events: list[Event], policy: NifPolicy
) -> None:
    async def main() -> None:
        async with NifExecutor(isolation="process", policy=policy, name=NAME) as executor:
            with pytest.raises(ValueError, match="one's own"):
                await executor.execute_nif(remote.fail, "one's own")
            statistics = executor.statistics()
            assert outcomes(statistics) == {"raised": 1}
            assert (statistics.raised, statistics.returned, statistics.failed) == (1, 0, 0)
            assert statistics.functions[0].duration.count == 1
            assert registry.totals()[NAME].counts["raised"] >= 1

    run(main)
    [fields] = named(events, "nif_raised")
    assert fields["error"] == "ValueError"
    assert fields["reason"] == "one's own"
    assert (fields["function"], fields["tier"], fields["executor"]) == ("fail", "process", NAME)
    assert fields["duration"] > 0


def test_what_returns_an_exception_has_not_raised(run: Any, events: list[Event]) -> None:
    async def main() -> None:
        async with NifExecutor(isolation="process", policy=PLAIN) as executor:
            assert isinstance(await executor.execute_nif(remote.echo, ValueError()), ValueError)
            assert outcomes(executor.statistics()) == {"returned": 1}

    run(main)
    assert not events


def test_a_large_exception_counts_as_raised(run: Any) -> None:
    async def main() -> None:
        async with NifExecutor(isolation="process") as executor:
            with pytest.raises(ValueError, match="aaa"):
                await executor.execute_nif(remote.fail, "a" * 100_000)
            assert outcomes(executor.statistics()) == {"raised": 1}

    run(main)


def test_a_native_result_is_never_taken_for_an_exception(run: Any) -> None:
    """Whatever bits it has."""
    labs = libc.labs
    labs.argtypes, labs.restype = [ctypes.c_long], ctypes.c_long

    async def main() -> None:
        async with NifExecutor(isolation="process") as executor:
            assert await executor.execute_nif(labs, -(1 << 61)) == 1 << 61
            assert outcomes(executor.statistics()) == {"returned": 1}

    run(main)


def test_futures_count_and_tell_it_too(events: list[Event]) -> None:
    with NifProcessPoolExecutor(1, policy=PLAIN) as executor:
        with pytest.raises(ValueError, match="no"):
            executor.submit(remote.fail, "no").result(DEADLINE)
        assert outcomes(executor.statistics()) == {"raised": 1}
    [fields] = named(events, "nif_raised")
    assert fields["executor"]


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_the_level_is_the_policys(run: Any, caplog: pytest.LogCaptureFixture, level: Any) -> None:
    async def main() -> None:
        policy = NifPolicy(raised_level=level)
        async with NifExecutor(isolation="process", policy=policy) as executor:
            with pytest.raises(ValueError, match="x"):
                await executor.execute_nif(remote.fail, "x")

    with caplog.at_level(logging.DEBUG, "aionif"):
        run(main)
    [record] = [each for each in caplog.records if "nif_raised" in each.getMessage()]
    assert record.levelname == level.upper()


def test_by_default_an_exception_is_of_the_level_debug(run: Any, events: list[Event]) -> None:
    async def main() -> None:
        async with NifExecutor(isolation="process") as executor:
            with pytest.raises(ValueError, match="x"):
                await executor.execute_nif(remote.fail, "x")

    run(main)
    assert not events


def test_other_levels_are_refused() -> None:
    with pytest.raises(NifArgumentError, match=r"'raised_level'.*'loud'(.|\n)*'warning'"):
        NifPolicy(raised_level="loud")  # type: ignore[arg-type]


# ---- limits ----


def test_a_limit_is_told_with_what_was_used(run: Any, events: list[Event]) -> None:
    policy = NifPolicy(limits=NifLimits(cpu_time=0.1))

    async def main() -> None:
        async with NifExecutor(isolation="process", policy=policy, name=NAME) as executor:
            with pytest.raises(NifLimitExceeded) as caught:
                await executor.execute_nif(remote.spin)
            assert caught.value.used is not None
            assert caught.value.used > 0.1

    run(main)
    [fields] = named(events, "nif_limit_exceeded")
    assert (fields["limit"], fields["allowed"], fields["executor"]) == ("cpu_time", 0.1, NAME)
    assert 0.1 < fields["used"] < DEADLINE
    assert "duration" in fields


def test_so_is_one_of_the_result(run: Any, events: list[Event]) -> None:
    policy = NifPolicy(limits=NifLimits(result_size=1 << 20))

    async def main() -> None:
        async with NifExecutor(isolation="process", policy=policy) as executor:
            with pytest.raises(NifLimitExceeded):
                await executor.execute_nif(remote.filled, 3 << 20)

    run(main)
    [fields] = named(events, "nif_limit_exceeded")
    assert (fields["limit"], fields["allowed"]) == ("result_size", 1 << 20)
    assert fields["used"] is None or fields["used"] >= 3 << 20


# ---- shed load ----


@pytest.mark.usefixtures("endless_second")
def test_shed_load_is_told_once_a_second_with_a_count(
    run: Any, events: list[Event], probe: Any
) -> None:
    refused = 0

    async def main() -> None:
        nonlocal refused
        async with (
            NifExecutor(max_workers=1, max_queue=1, on_full="reject", name=NAME) as executor,
            anyio.create_task_group() as group,
        ):
            group.start_soon(executor.execute_nif, probe.sleep_ms, 200)
            await until(lambda: executor.statistics().running == 1)
            group.start_soon(executor.execute_nif, probe.sleep_ms, 1)
            await until(lambda: executor.statistics().queued == 1)
            for _ in range(50):
                try:
                    await executor.execute_nif(probe.sleep_ms, 0)
                except NifRejected:
                    refused += 1

    run(main)
    told = named(events, "nif_rejected")
    assert refused > 10
    assert [fields.get("suppressed") for fields in told] == [None, refused - 1]
    assert {fields["executor"] for fields in told} == {NAME}
    assert "full" in told[0]["reason"]


@pytest.mark.usefixtures("endless_second")
def test_so_are_calls_that_a_breaker_holds_off(run: Any, events: list[Event]) -> None:
    crash = load_gallery().gallery_segv_read
    policy = NifPolicy(breaker=NifBreaker(max_crashes=1, hold_seconds=60))

    async def main() -> None:
        async with NifExecutor(policy=policy, name=NAME) as executor:
            with pytest.raises(NifSignal):
                await executor.execute_nif(crash)
            for _ in range(20):
                with pytest.raises(NifRejected):
                    await executor.execute_nif(crash)

    run(main)
    told = named(events, "nif_rejected")
    assert [fields.get("suppressed") for fields in told] == [None, 19]
    assert "breaker" in told[0]["reason"]
    assert {fields["executor"] for _, fields in events if "taint" not in _} == {NAME}
