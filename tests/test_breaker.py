"""Circuit breakers: a function that crashes too often is not called for a while, on every tier.

`act(RETURN)` returns, `act(CRASH)` crashes, `act(HANG)` runs until it is stopped. Crashes are real;
the time is a clock that the tests set.
"""

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
    NifTimeout,
    call_nif,
    load,
)
from aionif.futures import NifProcessPoolExecutor
from aionif.telemetry import attach, detach
from aionif.telemetry.metrics import NifCollector
from tests import remote
from tests.supervising import Clock
from tests.support import build_library, gather, until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from aionif import BreakerStatistics, NifLibrary

RETURN, CRASH, HANG = 0, 1, 2
CDEF = "int act(int); int process_id(int);"
SOURCE = """
    #include <unistd.h>
    static volatile int forever = 1;
    int act(int what) {
        if (what == 1) {
            *(volatile int *)0x10 = 1;
        }
        while (what == 2 && forever) {
        }
        return 7;
    }
    int process_id(int what) {
        act(what);
        return getpid();
    }
"""

TIERS = pytest.mark.parametrize("isolation", ["thread", "process"])


@pytest.fixture(scope="module")
def acting_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_library(tmp_path_factory.mktemp("acting"), SOURCE, "-Wl,--build-id")


@pytest.fixture(scope="module")
def acting(acting_path: Path) -> NifLibrary:
    return load(acting_path, CDEF)


@pytest.fixture
def events() -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """What the breakers log."""
    found: list[tuple[str, dict[str, Any]]] = []

    def handler(event: str, fields: dict[str, Any]) -> None:
        if event.startswith("breaker_"):
            found.append((event, fields))

    attach(handler)
    yield found
    detach(handler)


def executor_on(clock: Clock, isolation: Any = "thread", **settings: Any) -> NifExecutor:
    breaker = {"max_crashes": 2, "max_seconds": 60.0, "hold_seconds": 30.0}
    breaker |= settings.pop("breaker", {})
    policy = NifPolicy(breaker=NifBreaker(clock=clock, **breaker))  # type: ignore[arg-type]
    settings.setdefault("max_workers", 2)
    return NifExecutor(isolation=isolation, policy=policy, **settings)


async def crash(executor: Any, fn: Any, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(NifSignal):
            await executor.execute_nif(fn, CRASH)


async def is_refused(executor: Any, fn: Any, *args: Any) -> NifRejected:
    with pytest.raises(NifRejected) as refusal:
        await executor.execute_nif(fn, *(args or (RETURN,)))
    return refusal.value


def of(executor: NifExecutor) -> BreakerStatistics:
    [found] = [each for each in executor.statistics().breakers if each.function == "act"]
    return found


def fates(executor: NifExecutor) -> dict[str, int]:
    [function] = executor.statistics().functions
    return {fate: count for fate, count in function.calls.items() if count}


# ---- from closed to open, and back ----


@TIERS
def test_calls_are_refused_until_a_probe_returns(
    run: Any, acting: NifLibrary, events: list[Any], isolation: Any
) -> None:
    async def main() -> None:
        clock = Clock()
        async with executor_on(clock, isolation) as executor:
            assert await executor.execute_nif(acting.act, RETURN) == 7
            await crash(executor, acting.act, 2)
            clock.now += 10
            error = await is_refused(executor, acting.act)
            assert (error.function, error.tier, error.retry_after) == ("act", isolation, 20.0)
            first_line = str(error).splitlines()[0]
            assert first_line.startswith("act in libprobe.so")
            assert first_line.endswith(
                "its breaker is open after 2 crashes; no call is made for another 20.0 s"
            )
            clock.now += 20
            assert await executor.execute_nif(acting.act, RETURN) == 7
            assert await executor.execute_nif(acting.act, RETURN) == 7
            assert fates(executor) == {"returned": 3, "crashed": 2, "rejected": 1}
            assert (of(executor).state, of(executor).openings, of(executor).held) == (
                "closed",
                1,
                1,
            )

    run(main)
    names = [name for name, _ in events]
    assert names == ["breaker_opened", "breaker_half_open", "breaker_closed"]
    fields = events[0][1]
    assert (fields["function"], fields["crashes"], fields["hold_seconds"]) == ("act", 2, 30.0)
    assert fields["then"] == "refuse"


@TIERS
def test_a_probe_that_crashes_opens_it_again(run: Any, acting: NifLibrary, isolation: Any) -> None:
    async def main() -> None:
        clock = Clock()
        async with executor_on(clock, isolation) as executor:
            await crash(executor, acting.act, 2)
            for openings in (2, 3):
                clock.now += 30
                await crash(executor, acting.act)
                error = await is_refused(executor, acting.act)
                assert error.retry_after == 30.0
                assert f"after {openings + 1} crashes" in str(error)
                assert (of(executor).state, of(executor).openings) == ("open", openings)

    run(main)


def test_crashes_that_lie_apart_do_not_open_it(run: Any, acting: NifLibrary) -> None:
    async def main() -> None:
        clock = Clock()
        async with executor_on(clock) as executor:
            for _ in range(4):
                await crash(executor, acting.act)
                clock.now += 60.1
            assert await executor.execute_nif(acting.act, RETURN) == 7

    run(main)


def test_other_functions_of_the_library_are_called(run: Any, acting: NifLibrary) -> None:
    async def main() -> None:
        async with executor_on(Clock()) as executor:
            await crash(executor, acting.act, 2)
            assert await executor.execute_nif(acting.process_id, RETURN) == os.getpid()
            assert [each.state for each in executor.statistics().breakers] == ["open", "closed"]

    run(main)


def test_python_callables_have_breakers(run: Any) -> None:
    async def main() -> None:
        async with executor_on(Clock(), "process") as executor:
            for _ in range(2):
                with pytest.raises(NifSignal):
                    await executor.execute_nif(os.abort)
            await is_refused(executor, os.abort, None)
            assert await executor.execute_nif(remote.process_id) != os.getpid()
            executor.reset_breaker(os.abort)
            with pytest.raises(NifSignal):
                await executor.execute_nif(os.abort)

    run(main)


# ---- many calls at once ----


@TIERS
def test_crashes_under_way_when_it_opens_open_it_once(
    run: Any, acting: NifLibrary, events: list[Any], isolation: Any
) -> None:
    async def main() -> None:
        clock = Clock()
        async with executor_on(clock, isolation) as executor:
            errors = await gather(*[lambda: executor.execute_nif(acting.act, CRASH)] * 20)
            assert {type(error) for error in errors} <= {NifSignal, NifRejected}
            assert of(executor).openings == 1
            clock.now += 30
            assert await executor.execute_nif(acting.act, RETURN) == 7
            assert of(executor).crashes == 0

    run(main)
    assert [name for name, _ in events].count("breaker_opened") == 1


@TIERS
def test_of_many_calls_one_is_the_probe(run: Any, acting: NifLibrary, isolation: Any) -> None:
    async def main() -> None:
        clock = Clock()
        async with executor_on(clock, isolation) as executor:
            await crash(executor, acting.act, 2)
            clock.now += 30
            async with anyio.create_task_group() as group:
                group.start_soon(gather, lambda: executor.execute_nif(acting.act, HANG))
                await until(lambda: executor.statistics().running == 1)
                results = await gather(*[lambda: executor.execute_nif(acting.act, RETURN)] * 20)
                assert {type(error) for error in results} == {NifRejected}
                assert "while one probes it" in str(results[0])
                assert results[0].retry_after is None
                group.cancel_scope.cancel()
            assert await executor.execute_nif(acting.act, RETURN) == 7

    run(main)


# ---- probes that say nothing ----


async def cancelled(executor: NifExecutor, fn: Any) -> None:
    async with anyio.create_task_group() as group:
        group.start_soon(executor.execute_nif, fn, HANG)
        await until(lambda: executor.statistics().running == 1)
        group.cancel_scope.cancel()


async def timed_out(executor: NifExecutor, fn: Any) -> None:
    with pytest.raises(NifTimeout):
        await executor.execute_nif(fn, HANG, timeout=0.05)


async def given_a_bad_argument(executor: NifExecutor, fn: Any) -> None:
    with pytest.raises(NifArgumentError):
        await executor.execute_nif(fn, "seven")


async def given_a_bad_timeout(executor: NifExecutor, fn: Any) -> None:
    with pytest.raises(NifArgumentError):
        await executor.execute_nif(fn, RETURN, timeout=-1.0)


@TIERS
@pytest.mark.parametrize(
    "ending", [cancelled, timed_out, given_a_bad_argument, given_a_bad_timeout]
)
def test_a_probe_without_a_verdict_makes_room_for_another(
    run: Any, acting: NifLibrary, isolation: Any, ending: Callable[..., Any]
) -> None:
    async def main() -> None:
        clock = Clock()
        async with executor_on(clock, isolation) as executor:
            await crash(executor, acting.act, 2)
            clock.now += 30
            for _ in range(2):
                await ending(executor, acting.act)
                assert of(executor).state == "half_open"
            assert await executor.execute_nif(acting.act, RETURN) == 7
            assert of(executor).state == "closed"

    run(main)


@pytest.mark.parametrize("on_full", ["reject", "wait"])
def test_a_probe_that_finds_the_queue_full_makes_room_for_another(
    run: Any, acting: NifLibrary, on_full: Any
) -> None:
    async def main() -> None:
        clock = Clock()
        full = {"max_workers": 1, "max_queue": 1, "on_full": on_full}
        async with executor_on(clock, **full) as executor:
            await crash(executor, acting.act, 2)
            clock.now += 30
            async with anyio.create_task_group() as group:
                for _ in range(2):
                    group.start_soon(executor.execute_nif, acting.process_id, HANG)
                    await until(lambda: executor.statistics().running == 1)
                await until(lambda: executor.statistics().queued == 1)
                with anyio.move_on_after(0.02):
                    error = await is_refused(executor, acting.act)
                    assert "the queue is full" in str(error)
                assert of(executor).state == "half_open"
                group.cancel_scope.cancel()
            assert await executor.execute_nif(acting.act, RETURN) == 7

    run(main)


def test_a_probe_under_way_when_the_executor_closes(run: Any, acting: NifLibrary) -> None:
    async def main() -> None:
        clock = Clock()
        async with executor_on(clock, shutdown_timeout=0.01) as executor:
            await crash(executor, acting.act, 2)
            clock.now += 30
            async with anyio.create_task_group() as group:
                group.start_soon(gather, lambda: executor.execute_nif(acting.act, HANG))
                await until(lambda: executor.statistics().running == 1)
                await executor.aclose()
        assert of(executor).openings == 1

    run(main)


# ---- to worker processes ----


def test_calls_run_in_processes_until_a_probe_returns_on_a_thread(
    run: Any, acting: NifLibrary
) -> None:
    async def main() -> None:
        clock = Clock()
        async with executor_on(clock, breaker={"then": "process"}) as executor:
            act = acting.process_id

            def breaker() -> BreakerStatistics:
                [found] = executor.statistics().breakers
                return found

            assert await executor.execute_nif(act, RETURN) == os.getpid()
            await crash(executor, act, 2)
            for _ in range(3):
                assert await executor.execute_nif(act, RETURN) != os.getpid()
            with pytest.raises(NifSignal) as error:
                await executor.execute_nif(act, CRASH)  # contained there: it does not count
            assert error.value.tier == "process"
            assert (breaker().crashes, breaker().held) == (2, 4)
            clock.now += 30
            async with anyio.create_task_group() as group:
                group.start_soon(gather, lambda: executor.execute_nif(act, HANG))
                await until(lambda: executor.statistics().running == 1)
                assert await executor.execute_nif(act, RETURN) != os.getpid()
                group.cancel_scope.cancel()
            assert await executor.execute_nif(act, RETURN) == os.getpid()
            assert breaker().state == "closed"

    run(main)


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
    run: Any, acting: NifLibrary, events: list[Any]
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
    closed = [fields for name, fields in events if name == "breaker_closed"]
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
