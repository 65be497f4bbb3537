"""Which calls a circuit breaker is for, who sees it, and where there can be none."""

from __future__ import annotations

import os
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from aionif import (
    NifArgumentError,
    NifBreaker,
    NifExecutor,
    NifPolicy,
    NifRejected,
    NifSignal,
    call_nif,
    load,
)
from aionif.futures import NifProcessPoolExecutor
from aionif.telemetry.metrics import NifCollector
from tests.support import gather
from tests.support.breaking import (
    CDEF,
    CRASH,
    RETURN,
    TIERS,
    crash,
    executor_on,
    is_refused,
    of,
)
from tests.support.supervising import Clock

if TYPE_CHECKING:
    from pathlib import Path

    from aionif import NifLibrary


# ---- which calls it is for ----


def test_it_is_one_for_all_loads_of_a_library(
    run: Any, acting: NifLibrary, acting_path: Path
) -> None:
    again = load(acting_path, CDEF)

    async def main() -> None:
        async with executor_on(Clock()) as executor:
            assert await executor.execute_nif(again.act, RETURN) == 7
            await crash(executor, acting.act, 2)
            await is_refused(executor, again.act)
            executor.reset_breaker(again.act)
            assert await executor.execute_nif(acting.act, RETURN) == 7

    run(main)


def test_it_can_be_the_librarys_or_of_one_call(run: Any, acting_path: Path) -> None:
    clock = Clock()
    policy = NifPolicy(breaker=NifBreaker(clock=clock, max_crashes=1))
    library = load(acting_path, CDEF, policy=policy)
    plain = load(acting_path, CDEF)

    async def main() -> None:
        async with NifExecutor() as executor:
            await crash(executor, library.act)
            await is_refused(executor, library.act)
            assert await executor.execute_nif(plain.act, RETURN) == 7  # nothing watches this one
            with pytest.raises(NifRejected):
                await executor.execute_nif(plain.act, RETURN, policy=policy)

    run(main)


def test_it_is_reset_for_one_function_or_all(
    run: Any, acting: NifLibrary, breaker_events: list[Any]
) -> None:
    async def main() -> None:
        async with executor_on(Clock()) as executor:
            for fn in (acting.act, acting.process_id):
                await crash(executor, fn, 2)
            executor.reset_breaker(acting.act)
            assert await executor.execute_nif(acting.act, RETURN) == 7
            await is_refused(executor, acting.process_id)
            await crash(executor, acting.act)
            executor.reset_breaker()
            assert await executor.execute_nif(acting.process_id, RETURN)
            await crash(executor, acting.act)  # the first of a new count
            assert await executor.execute_nif(acting.act, RETURN) == 7

    run(main)
    closed = [fields for name, fields in breaker_events if name == "breaker_closed"]
    assert [fields["function"] for fields in closed] == ["act", "process_id"]


@TIERS
def test_sessions_are_refused_too(run: Any, acting: NifLibrary, isolation: Any) -> None:
    async def main() -> None:
        async with (
            executor_on(Clock(), isolation, max_workers=3) as executor,
            executor.session() as session,
            executor.session() as broken,
        ):
            assert await session.execute_nif(acting.act, RETURN) == 7
            await crash(broken, acting.act)
            await crash(executor, acting.act)
            await is_refused(session, acting.act)
            executor.reset_breaker()
            assert await session.execute_nif(acting.act, RETURN) == 7

    run(main)


def test_auto_moves_a_function_first_and_its_breaker_counts_on(
    run: Any, acting: NifLibrary
) -> None:
    async def main() -> None:
        async with executor_on(Clock(), "auto") as executor:
            await crash(executor, acting.process_id)
            assert await executor.execute_nif(acting.process_id, RETURN) != os.getpid()
            await crash(executor, acting.process_id)
            await is_refused(executor, acting.process_id)

    run(main)


@pytest.mark.usefixtures("under_deadline")
def test_futures_are_refused_and_probe(acting: NifLibrary) -> None:
    clock = Clock()
    policy = NifPolicy(breaker=NifBreaker(clock=clock, max_crashes=1))
    with NifProcessPoolExecutor(max_workers=1, policy=policy) as executor:
        assert isinstance(executor.submit(acting.act, CRASH).exception(), NifSignal)
        assert isinstance(executor.submit(acting.act, RETURN).exception(), NifRejected)
        clock.now += 30
        assert isinstance(executor.submit(acting.act, "seven").exception(), NifArgumentError)
        assert isinstance(executor.submit(acting.act, CRASH).exception(), NifSignal)
        clock.now += 30
        assert executor.submit(acting.act, RETURN).result() == 7
        assert executor.submit(acting.act, RETURN).result() == 7


def test_many_calls_and_crashes_at_once_leave_it_sound(run: Any, acting: NifLibrary) -> None:
    """Whatever they did to each other: in the end one probe closes it."""

    async def main() -> None:
        clock = Clock()
        async with executor_on(clock, max_workers=4) as executor:
            ended: Counter[str] = Counter()

            async def client(number: int) -> None:
                for turn in range(20):
                    clock.now += 3
                    what = CRASH if (turn + number) % 3 == 0 else RETURN
                    with anyio.move_on_after(0.001 if number % 4 == 0 else 60):
                        [result] = await gather(partial(executor.execute_nif, acting.act, what))
                        ended[type(result).__name__] += 1

            async with anyio.create_task_group() as group:
                for number in range(10):
                    group.start_soon(client, number)
            assert set(ended) == {"int", "NifSignal", "NifRejected"}
            clock.now += 60
            assert await executor.execute_nif(acting.act, RETURN) == 7
            assert of(executor).state == "closed"

    run(main)


# ---- what is seen ----


def test_metrics(run: Any, acting: NifLibrary) -> None:
    registry = CollectorRegistry()
    registry.register(NifCollector())

    def sample(name: str, **labels: str) -> float | None:
        labels |= {"pool": "breaker-metrics", "function": "act"}
        return registry.get_sample_value(name, labels)

    def states() -> list[float | None]:
        names = ("closed", "open", "half_open")
        return [sample("aionif_breakers", state=state) for state in names]

    async def main() -> None:
        clock, before = Clock(), sample("aionif_breaker_openings_total") or 0
        async with executor_on(clock, name="breaker-metrics") as executor:
            await executor.execute_nif(acting.act, RETURN)
            assert states() == [1, 0, 0]
            await crash(executor, acting.act, 2)
            await is_refused(executor, acting.act)
            assert states() == [0, 1, 0]
            clock.now += 30
            assert states() == [0, 0, 1]
            assert sample("aionif_breaker_openings_total") == before + 1
            assert sample("aionif_calls_total", outcome="rejected")
        assert states() == [0, 0, 0]
        assert sample("aionif_breaker_openings_total") == before + 1

    run(main)


def test_structlog_gets_the_changes(run: Any, acting: NifLibrary) -> None:
    import structlog

    structlog.configure()

    async def main() -> None:
        async with executor_on(Clock()) as executor:
            await crash(executor, acting.act, 2)

    with capture_logs() as logs:
        run(main)
    [opened] = [entry for entry in logs if entry["event"] == "breaker_opened"]
    assert (opened["function"], opened["log_level"]) == ("act", "warning")
    assert [entry["event"] for entry in logs][-2:] == ["nif_signal", "breaker_opened"]


# ---- what can't be ----


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *[("max_crashes", value) for value in (0, -1, 1.5, True, "3", None)],
        *[("max_seconds", value) for value in (0, -1.0, float("nan"), "60", None)],
        *[("hold_seconds", value) for value in (-1.0, float("nan"), "30", None)],
        *[("then", value) for value in ("thread", "", None)],
        ("clock", 5),
    ],
)
def test_bad_values_are_named(name: str, value: object) -> None:
    with pytest.raises(NifArgumentError) as error:
        NifBreaker(**{name: value})  # type: ignore[arg-type]
    assert (error.value.argument, error.value.value is not None) == (name, value is not None)
    assert error.value.remedy


def test_a_policy_takes_nothing_else_for_a_breaker() -> None:
    with pytest.raises(NifArgumentError, match=r"NifBreaker\(\.\.\.\)"):
        NifPolicy(breaker=3)  # type: ignore[arg-type]


def test_inline_calls_are_not_watched(acting: NifLibrary) -> None:
    policy = NifPolicy(breaker=NifBreaker())
    with pytest.raises(NifArgumentError, match="execute_nif"):
        call_nif(acting.act, RETURN, policy=policy)
    with pytest.raises(NifArgumentError, match="breaker"):
        NifExecutor(isolation="inline", policy=policy)


@pytest.mark.parametrize("isolation", ["process", "auto"])
def test_what_runs_in_processes_already_is_not_moved_there(isolation: Any) -> None:
    policy = NifPolicy(breaker=NifBreaker(then="process"))
    with pytest.raises(NifArgumentError, match='then="refuse"'):
        NifExecutor(isolation=isolation, policy=policy)
