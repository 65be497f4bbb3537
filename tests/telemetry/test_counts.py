"""Counts by function: each call is counted once, under what became of it, with its durations."""

from __future__ import annotations

import dataclasses
import logging
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from aionif import (
    FunctionStatistics,
    Histogram,
    NifClosed,
    NifCrash,
    NifExecutor,
    NifPanic,
    NifPolicy,
    NifRejected,
    NifTimeout,
    call_nif,
    load,
)
from aionif.telemetry import registry, series
from tests.support import gather, load_gallery, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from aionif import NifLibrary

Run = Any


def of(executor: NifExecutor, function: str) -> FunctionStatistics:
    [found] = [each for each in executor.statistics().functions if each.function == function]
    return found


def nonzero(counts: FunctionStatistics) -> dict[str, int]:
    return {fate: count for fate, count in counts.calls.items() if count}


def assert_adds_up(executor: NifExecutor) -> None:
    statistics = executor.statistics()
    ended = sum(
        count
        for function in statistics.functions
        for fate, count in function.calls.items()
        if fate != "rejected"
    )
    assert ended + statistics.queued + statistics.running == statistics.submitted


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_each_call_is_counted_once(run: Run, isolation: Any) -> None:
    library = load_gallery()

    async def main() -> None:
        async with NifExecutor(isolation=isolation, max_workers=2) as executor:
            crash = library.gallery_segv_read
            assert_adds_up(executor)
            calls: list[Callable[[], Any]] = [lambda: executor.execute_nif(crash)] * 5
            assert all(isinstance(error, NifCrash) for error in await gather(*calls))
            counts = of(executor, "gallery_segv_read")
            assert nonzero(counts) == {"crashed": 5}
            assert counts.crashes == {"SIGSEGV": 5}
            assert counts.duration.count == counts.queue_wait.count == 5
            assert_adds_up(executor)

    run(main)


def test_panics_and_exits(run: Run) -> None:
    library = load_gallery()

    async def main() -> None:
        async with NifExecutor() as executor:
            await gather(lambda: executor.execute_nif(library.gallery_underscore_exit))
            assert nonzero(of(executor, "gallery_underscore_exit")) == {"exited": 1}

    run(main)


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_durations_and_timeouts(run: Run, probe: NifLibrary, isolation: Any) -> None:
    async def main() -> None:
        policy = NifPolicy(on_timeout="abandon")
        async with NifExecutor(isolation=isolation, max_workers=1, policy=policy) as executor:
            await executor.execute_nif(probe.sleep_ms, 30)
            counts = of(executor, "sleep_ms")
            assert counts.duration.sum >= 0.03
            assert counts.duration.quantile(0.5) >= 0.03  # type: ignore[operator]
            async with anyio.create_task_group() as group:
                group.start_soon(executor.execute_nif, probe.sleep_ms, 1000)
                await until(lambda: executor.statistics().running == 1)
                with pytest.raises(NifTimeout):
                    await executor.execute_nif(probe.sleep_ms, 1, timeout=0.05)
            with pytest.raises(NifTimeout):
                await executor.execute_nif(probe.sleep_ms, 1000, timeout=0.3)
            counts = of(executor, "sleep_ms")
            assert nonzero(counts) == {"returned": 2, "timed_out": 2}
            assert counts.queue_timeouts == 1
            assert_adds_up(executor)
            reason = {"thread": "abandoned", "process": "stopped"}[isolation]
            await until(lambda: executor.statistics().restarts.get(reason) == 1)

    run(main)


def test_a_call_that_runs_on_is_counted_once(run: Run, probe: NifLibrary, gate: Any) -> None:
    """It has timed out; that it runs on until its end makes it no second call."""

    async def main() -> None:
        policy = NifPolicy(on_timeout="wait")
        async with (
            NifExecutor(max_workers=1, policy=policy) as executor,
            anyio.create_task_group() as group,
        ):

            async def call() -> None:
                with pytest.raises(NifTimeout):
                    await executor.execute_nif(probe.wait_at_gate, 0, timeout=0.3)

            await executor.execute_nif(probe.nothing)
            group.start_soon(call)
            await until(lambda: executor.statistics().timed_out == 1)
            assert_adds_up(executor)
            counts = executor.statistics()
            assert (counts.workers, counts.running, counts.idle) == (1, 0, 0)
            gate.open_gate()

    run(main)


def test_cancelled_and_dropped(run: Run, probe: NifLibrary, gate: Any) -> None:
    async def main() -> None:
        async with NifExecutor(max_workers=1, shutdown_timeout=0.1) as executor:
            async with anyio.create_task_group() as group:
                group.start_soon(executor.execute_nif, probe.wait_at_gate, 0)
                await until(lambda: gate.count_at_gate() == 1)
                with anyio.move_on_after(0.01):  # it waits in the queue
                    await executor.execute_nif(probe.nothing)
                gate.open_gate()
            gate.close_gate()
            assert nonzero(of(executor, "nothing")) == {"cancelled": 1}
            assert_adds_up(executor)

            async def is_closed() -> None:
                with pytest.raises(NifClosed):
                    await executor.execute_nif(probe.nothing)

            async with anyio.create_task_group() as group:
                group.start_soon(gather, lambda: executor.execute_nif(probe.wait_at_gate, 0))
                await until(lambda: gate.count_at_gate() == 1)
                group.start_soon(is_closed)
                await until(lambda: executor.statistics().queued == 1)
                await executor.aclose()
            assert nonzero(of(executor, "nothing")) == {"cancelled": 1, "dropped": 1}

    run(main)


def test_rejected(run: Run, probe: NifLibrary, gate: Any) -> None:
    async def main() -> None:
        async with NifExecutor(max_workers=1, max_queue=1, on_full="reject") as executor:
            async with anyio.create_task_group() as group:
                group.start_soon(executor.execute_nif, probe.wait_at_gate, 0)
                await until(lambda: gate.count_at_gate() == 1)
                group.start_soon(executor.execute_nif, probe.wait_at_gate, 0)
                await until(lambda: executor.statistics().queued == 1)
                with pytest.raises(NifRejected):
                    await executor.execute_nif(probe.nothing)
                gate.open_gate()
            assert nonzero(of(executor, "nothing")) == {"rejected": 1}
            assert_adds_up(executor)

    run(main)


def inline_fates(function: str) -> dict[str, int]:
    totals = registry.totals().get(registry.INLINE)
    tallies = [] if totals is None else totals.functions.items()
    [tally] = [tally for (name, _), tally in tallies if name == function] or [series.Tally()]
    return dict(zip(series.FATES, tally.fates, strict=True))


def test_inline_calls_that_fail_are_counted_and_others_are_not() -> None:
    gallery, panics = load_gallery(), load_gallery("cxx")

    def counted(call: Callable[[], Any], function: str) -> dict[str, int]:
        before = inline_fates(function)
        call()
        after = inline_fates(function)
        return {fate: after[fate] - before[fate] for fate in after if after[fate] > before[fate]}

    def fail(function: Any, error: type[Exception], **settings: Any) -> Callable[[], None]:
        def call() -> None:
            with pytest.raises(error):
                call_nif(function, **settings)

        return call

    name = "gallery_cxx_std_exception"
    assert counted(fail(gallery.gallery_segv_read, NifCrash), "gallery_segv_read") == {"crashed": 1}
    assert counted(fail(getattr(panics, name), NifPanic), name) == {"panicked": 1}
    late = fail(gallery.gallery_spin, NifTimeout, timeout=0.01)
    assert counted(late, "gallery_spin") == {"timed_out": 1}
    libc = load(None, "long labs(long);")
    assert counted(lambda: call_nif(libc.labs, -5), "labs") == {}


def test_inline_executors_count_what_fails(run: Run) -> None:
    crash = load_gallery().gallery_segv_read
    libc = load(None, "long labs(long);")

    async def main() -> None:
        async with NifExecutor(isolation="inline", name="inline-test") as executor:
            assert await executor.execute_nif(libc.labs, -5) == 5
            before = registry.totals().get("inline-test", registry.Totals()).functions
            earlier = sum(tally.fates[1] for tally in before.values())
            for _ in range(2):
                with pytest.raises(NifCrash):
                    await executor.execute_nif(crash)
            assert nonzero(of(executor, "gallery_segv_read")) == {"crashed": 2}
            assert of(executor, "gallery_segv_read").crashes == {"SIGSEGV": 2}
            assert len(executor.statistics().functions) == 1
        [tally] = registry.totals()["inline-test"].functions.values()
        assert tally.fates[1] == earlier + 2

    run(main)


def test_counts_of_a_closed_executor_stay_in_the_registry(run: Run, probe: NifLibrary) -> None:
    name = "registry-test"

    def returned() -> int:
        totals = registry.totals().get(name)
        key = ("add", probe.add.plan.library)
        return totals.functions[key].fates[0] if totals else 0

    async def main() -> None:
        for _ in range(2):
            before = returned()
            async with NifExecutor(name=name) as executor:
                for _ in range(10):
                    await executor.execute_nif(probe.add, 1, 2)
                assert returned() == before + 10
            assert returned() == before + 10
            assert nonzero(of(executor, "add")) == {"returned": 10}
            assert registry.totals()[name].counts["workers"] == 0

    run(main)


def test_functions_past_the_bound_are_counted_together(
    run: Run, probe: NifLibrary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(series, "MOST_FUNCTIONS", 1)

    async def main() -> None:
        async with NifExecutor() as executor:
            await executor.execute_nif(probe.nothing)
            await executor.execute_nif(probe.add, 1, 2)
            await executor.execute_nif(probe.thread_id)
            assert [each.function for each in executor.statistics().functions] == [
                series.OTHER,
                "nothing",
            ]
            assert nonzero(of(executor, series.OTHER)) == {"returned": 2}

    run(main)


def test_executors_past_the_bound_are_counted_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "MOST_NAMES", 0)
    assert registry._label("a name of its own") == series.OTHER


def test_slow_calls_are_logged(
    run: Run, probe: NifLibrary, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        async with NifExecutor(policy=NifPolicy(slow_call=0.02), name="slow-test") as executor:
            await executor.execute_nif(probe.sleep_ms, 1)
            await executor.execute_nif(probe.sleep_ms, 40)
            await until(lambda: bool(caplog.records))

    with caplog.at_level(logging.WARNING, "aionif"):
        run(main)
    [record] = caplog.records
    fields: dict[str, Any] = record.nif  # type: ignore[attr-defined]
    assert fields["function"] == "sleep_ms"
    assert fields["pool"] == fields["executor"] == "slow-test"
    assert fields["duration"] >= 0.04


# ---- histograms ----


def test_bounds_of_buckets() -> None:
    bounds = Histogram.bounds()
    assert len(bounds) == len(Histogram().buckets) - 1
    assert bounds[:5] == pytest.approx((128e-9, 160e-9, 192e-9, 224e-9, 256e-9))
    assert bounds[-1] == pytest.approx(2**37 * 1e-9)
    assert list(bounds) == sorted(bounds)


def test_quantiles() -> None:
    assert Histogram().quantile(0.5) is None
    buckets = [0] * len(Histogram().buckets)
    buckets[0], buckets[8] = 99, 1
    some = Histogram(tuple(buckets), 1.0)
    assert some.count == 100
    assert some.quantile(0.5) == some.quantile(0.99) == Histogram.bounds()[0]
    assert some.quantile(0.999) == Histogram.bounds()[8]
    buckets[-1] = 1000
    assert Histogram(tuple(buckets)).quantile(0.5) == float("inf")


def test_they_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Histogram().sum = 1.0  # type: ignore[misc]
