"""Metrics for Prometheus: a collector that reads the core's counts when it is scraped.

Between two scrapes nothing runs here. Units are seconds and calls. Label values come from small
sets: outcomes, signals, phases, states and reasons are closed ones, and the names of executors and
functions are bounded (see `_census` and `_series`); never arguments, addresses or process ids.

Needs the extra `metrics`.
"""

from __future__ import annotations

from collections import Counter
from itertools import accumulate
from signal import Signals
from typing import TYPE_CHECKING

from prometheus_client.metrics_core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from aionif.core.native import lib
from aionif.telemetry import registry
from aionif.telemetry.series import BOUNDS, BREAKER_STATES, FATES, RESTARTS, Tally

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from aionif.telemetry.registry import Totals

__all__ = ("NifCollector",)

_STEP = 4  # buckets of the core in one exported bucket: a factor of two
_SMALLEST, _LARGEST = 1e-6, 64.0  # seconds, about: where exported buckets begin and end
_EXPORTED = [
    index for index in range(0, len(BOUNDS), _STEP) if _SMALLEST < BOUNDS[index] < 1.1 * _LARGEST
]
_TIMED_OUT = FATES.index("timed_out")


class NifCollector(Collector):
    """Counts of all executors of this process, as Prometheus takes them.

    per_function: label the histograms of durations and waits with pool and function too. They have
        some thirty series each, so this is for programs that call few functions.

    Register it once: `prometheus_client.REGISTRY.register(NifCollector())`.
    """

    def __init__(self, *, per_function: bool = False) -> None:
        self._labels = ("pool", "function") if per_function else ()

    def describe(self) -> Iterable[Metric]:
        """Return what will be collected, without values."""
        return list(self._families({}))

    def collect(self) -> Iterable[Metric]:
        """Return the counts as they are now."""
        return list(self._families(registry.totals()))

    def _families(self, by_name: Mapping[str, Totals]) -> Iterator[Metric]:
        yield _calls(by_name)
        yield self._histogram(by_name, "call_duration", "Time that native calls ran.", "run")
        yield self._histogram(by_name, "queue_wait", "Time that calls waited to be run.", "queue")
        yield from _gauges(by_name)
        yield from _failures(by_name)
        yield _restarts(by_name)
        yield from _breakers(by_name)
        yield CounterMetricFamily(
            "aionif_supervisor_restarts",
            "Children that supervisors have restarted.",
            value=registry.supervisor_restarts(),
        )
        yield CounterMetricFamily(
            "aionif_worker_stderr_dropped_bytes",
            "Bytes that worker processes wrote to stderr and that nobody read.",
            value=lib.aionif_stderr_lost(),
        )

    def _histogram(
        self, by_name: Mapping[str, Totals], name: str, text: str, of: str
    ) -> HistogramMetricFamily:
        family = HistogramMetricFamily(f"aionif_{name}_seconds", text, labels=self._labels)
        for labels, tally in self._tallies(by_name).items():
            counts: list[int] = getattr(tally, of)
            up_to = list(accumulate(counts))
            buckets = [(f"{BOUNDS[index]:.12g}", up_to[index]) for index in _EXPORTED]
            total = tally.sums[0 if of == "run" else 1] / 1e9
            family.add_metric(labels, [*buckets, ("+Inf", up_to[-1])], sum_value=total)
        return family

    def _tallies(self, by_name: Mapping[str, Totals]) -> dict[tuple[str, ...], Tally]:
        found: dict[tuple[str, ...], Tally] = {} if self._labels else {(): Tally()}
        for pool, totals in by_name.items():
            for (function, _), tally in totals.functions.items():
                labels = (pool, function) if self._labels else ()
                found.setdefault(labels, Tally()).merge(tally)
        return found


def _calls(by_name: Mapping[str, Totals]) -> Metric:
    family = CounterMetricFamily(
        "aionif_calls", "Native calls that have ended.", labels=("pool", "function", "outcome")
    )
    counts: Counter[tuple[str, str, str]] = Counter()
    for pool, totals in by_name.items():
        for (function, _), tally in totals.functions.items():  # of any library
            for outcome, count in zip(FATES, tally.fates, strict=True):
                counts[pool, function, outcome] += count
    for labels, count in counts.items():
        if count:
            family.add_metric(labels, count)
    return family


def _gauges(by_name: Mapping[str, Totals]) -> Iterator[Metric]:
    counts: Counter[str] = Counter()
    for totals in by_name.values():
        counts.update(totals.counts)
    for name, text, value in (
        ("calls_in_flight", "Calls accepted that have not ended.", ("queued", "running")),
        ("queue_length", "Calls that wait for a worker.", ("queued",)),
        ("workers_retired", "Threads parked because a crash left a lock held.", ("retired",)),
        ("workers_abandoned", "Threads left alone in a call that did not stop.", ("abandoned",)),
    ):
        yield GaugeMetricFamily(f"aionif_{name}", text, value=sum(counts[part] for part in value))
    workers = GaugeMetricFamily("aionif_workers", "Workers that serve.", labels=("state",))
    workers.add_metric(("idle",), counts["idle"])
    workers.add_metric(("busy",), counts["running"])
    yield workers
    yield GaugeMetricFamily(
        "aionif_tainted",
        "1 if a crash may have damaged this process.",
        value=lib.aionif_taint() != 0,
    )


def _failures(by_name: Mapping[str, Totals]) -> Iterator[Metric]:
    whole = Tally()
    for totals in by_name.values():
        for tally in totals.functions.values():
            whole.merge(tally)
    crashes = CounterMetricFamily(
        "aionif_crashes", "Calls that crashed, by signal.", labels=("signal",)
    )
    for number, count in sorted(whole.crashes.items()):
        crashes.add_metric((Signals(number).name if number else "none",), count)
    yield crashes
    timeouts = CounterMetricFamily(
        "aionif_timeouts", "Calls past their deadline, waiting or running.", labels=("phase",)
    )
    timeouts.add_metric(("queue",), whole.queue_timeouts)
    timeouts.add_metric(("run",), whole.fates[_TIMED_OUT] - whole.queue_timeouts)
    yield timeouts


def _restarts(by_name: Mapping[str, Totals]) -> Metric:
    family = CounterMetricFamily(
        "aionif_worker_restarts", "Workers that had to be replaced.", labels=("reason",)
    )
    for reason in RESTARTS:
        total = sum(totals.restarts.get(reason, 0) for totals in by_name.values())
        family.add_metric((reason,), total)
    return family


def _breakers(by_name: Mapping[str, Totals]) -> Iterator[Metric]:
    states = GaugeMetricFamily(
        "aionif_breakers", "Circuit breakers in each state.", labels=("pool", "function", "state")
    )
    openings = CounterMetricFamily(
        "aionif_breaker_openings", "Times a breaker has opened.", labels=("pool", "function")
    )
    counts: Counter[tuple[str, str, str]] = Counter()
    for pool, totals in by_name.items():
        for (function, _), found in totals.breakers.items():  # of any library
            for what in (*BREAKER_STATES, "openings"):
                counts[pool, function, what] += found[what]
    for (pool, function, what), count in counts.items():
        if what == "openings":
            openings.add_metric((pool, function), count)
        else:
            states.add_metric((pool, function, what), count)
    yield states
    yield openings
