"""Metrics: what the collector exposes, that its counts add up, that the dashboard asks for it."""

from __future__ import annotations

import json
import re
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from aionif import NifBreaker, NifExecutor, NifPolicy
from aionif.telemetry import registry, series
from aionif.telemetry.metrics import NifCollector
from tests.support import gather, load_gallery, until
from tests.support.supervising import Script

if TYPE_CHECKING:
    from collections.abc import Callable

    from aionif import NifLibrary

DASHBOARD = Path(__file__).parents[2] / "docs/grafana-dashboard.json"

NAMES_AND_LABELS = {
    "aionif_calls_total": {"pool", "function", "outcome"},
    "aionif_call_duration_seconds": set(),
    "aionif_queue_wait_seconds": set(),
    "aionif_calls_in_flight": set(),
    "aionif_queue_length": set(),
    "aionif_crashes_total": {"signal"},
    "aionif_timeouts_total": {"phase"},
    "aionif_workers": {"state"},
    "aionif_worker_restarts_total": {"reason"},
    "aionif_supervisor_restarts_total": set(),
    "aionif_breakers": {"pool", "function", "state"},
    "aionif_breaker_openings_total": {"pool", "function"},
    "aionif_worker_stderr_dropped_bytes_total": set(),
    "aionif_tainted": set(),
    "aionif_workers_retired": set(),
    "aionif_workers_abandoned": set(),
}

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


@pytest.fixture
def anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only calls of this test are counted."""
    for name in ("_members", "_ended"):
        monkeypatch.setattr(registry, name, {})
    monkeypatch.setattr(registry, "_names", set())
    monkeypatch.setattr(registry, "_inline", series.Series())


def scrape(**settings: Any) -> Samples:
    """Return every sample, through the text that Prometheus would be sent."""
    registry = CollectorRegistry()
    registry.register(NifCollector(**settings))
    text = generate_latest(registry).decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def total(samples: Samples, name: str, **labels: str) -> float:
    wanted = set(labels.items())
    return sum(value for (of, found), value in samples.items() if of == name and wanted <= found)


def family_of(sample: str) -> str:
    return re.sub(r"_(bucket|sum|count)$", "", sample)


async def some_of_everything(executor: NifExecutor, probe: NifLibrary) -> None:
    crash = load_gallery().gallery_segv_read
    calls: list[Callable[[], Any]] = [
        *[lambda: executor.execute_nif(probe.add, 1, 2)] * 20,
        *[lambda: executor.execute_nif(crash)] * 3,
        lambda: executor.execute_nif(probe.sleep_ms, 200, timeout=0.02),
    ]
    await gather(*calls)


@pytest.mark.usefixtures("anew")
@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_counts_add_up(run: Any, probe: NifLibrary, isolation: Any) -> None:
    async def main() -> None:
        async with NifExecutor(isolation=isolation, name="adds-up", max_workers=4) as executor:
            await some_of_everything(executor, probe)
            samples = scrape()
            submitted = executor.statistics().submitted
        assert total(samples, "aionif_calls_total") == submitted == 24
        assert total(samples, "aionif_calls_total", function="add", outcome="returned") == 20
        assert total(samples, "aionif_calls_total", outcome="crashed", pool="adds-up") == 3
        assert total(samples, "aionif_crashes_total", signal="SIGSEGV") == 3
        in_queue = total(samples, "aionif_timeouts_total", phase="queue")
        in_run = total(samples, "aionif_timeouts_total", phase="run")
        assert in_queue + in_run == 1  # a worker may take longer to start
        ran = total(samples, "aionif_call_duration_seconds_count")
        assert total(samples, "aionif_queue_wait_seconds_count") == ran >= 23
        assert total(samples, "aionif_call_duration_seconds_bucket", le="+Inf") == ran
        after = scrape()
        for name in ("aionif_calls_total", "aionif_crashes_total", "aionif_timeouts_total"):
            assert total(after, name) == total(samples, name), "a count must not go down"
        assert total(after, "aionif_workers") == total(after, "aionif_calls_in_flight") == 0

    run(main)


@pytest.mark.usefixtures("anew")
def test_names_and_labels_are_those_promised(run: Any, probe: NifLibrary) -> None:
    async def main() -> None:
        async with NifExecutor(policy=NifPolicy(breaker=NifBreaker())) as executor:
            await some_of_everything(executor, probe)
            found: dict[str, set[str]] = {}
            for name, labels in scrape():
                found.setdefault(family_of(name), set()).update({key for key, _ in labels} - {"le"})
        assert found == NAMES_AND_LABELS

    run(main)


@pytest.mark.usefixtures("anew")
def test_calls_in_flight(run: Any, probe: NifLibrary, gate: Any) -> None:
    async def main() -> None:
        async with NifExecutor(max_workers=1) as executor, anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(executor.execute_nif, probe.wait_at_gate, 0)
            await until(lambda: executor.statistics().submitted == 3)
            samples = scrape()
            gate.open_gate()
        assert total(samples, "aionif_calls_in_flight") == 3
        assert total(samples, "aionif_queue_length") == 2
        assert total(samples, "aionif_workers", state="busy") == 1

    run(main)


@pytest.mark.usefixtures("anew")
def test_histograms_by_function(run: Any, probe: NifLibrary) -> None:
    async def main() -> None:
        async with NifExecutor(name="by-function") as executor:
            await executor.execute_nif(probe.sleep_ms, 20)
            await executor.execute_nif(probe.nothing)
        samples = scrape(per_function=True)
        labels = {"pool": "by-function", "function": "sleep_ms"}
        name = "aionif_call_duration_seconds"
        assert total(samples, f"{name}_count", **labels) == 1
        assert total(samples, f"{name}_sum", **labels) >= 0.02
        assert total(samples, f"{name}_bucket", **labels, le="0.001048576") == 0
        assert total(samples, f"{name}_bucket", **labels, le="68.719476736") == 1

    run(main)


@pytest.mark.usefixtures("anew")
def test_labels_hold_no_addresses(run: Any) -> None:
    import ctypes

    async def main() -> None:
        libc = ctypes.CDLL(None)
        address = ctypes.cast(libc.abs, ctypes.c_void_p).value
        inside = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)((address or 0) + 1)
        async with NifExecutor() as executor:
            await gather(lambda: executor.execute_nif(inside, 1))
        assert not [labels for _, labels in scrape() if "0x" in str(labels)]

    run(main)


@pytest.mark.usefixtures("anew")
def test_scrapes_in_other_threads_while_executors_open_and_close(
    run: Any, probe: NifLibrary
) -> None:
    over = threading.Event()
    failures: list[BaseException] = []

    def keep_scraping() -> None:
        try:
            while not over.is_set():
                scrape()
        except BaseException as error:  # noqa: BLE001 - it is what the test is about
            failures.append(error)

    async def main() -> None:
        for _ in range(20):
            async with NifExecutor(policy=NifPolicy(spin=0), max_workers=2) as executor:
                await executor.execute_nif(probe.add, 1, 2)

    threads = [threading.Thread(target=keep_scraping) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        run(main)
    finally:
        over.set()
        for thread in threads:
            thread.join(30)
    assert not failures
    assert total(scrape(), "aionif_calls_total") == 20


def test_restarts_of_supervisors(run: Any) -> None:
    async def main() -> None:
        before = total(scrape(), "aionif_supervisor_restarts_total")
        script = Script()
        async with script.supervisor(script.children("a")):
            for _ in range(2):
                await script.crash("a")
        assert total(scrape(), "aionif_supervisor_restarts_total") == before + 2

    run(main)


# ---- the dashboard ----


def queries() -> list[str]:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return [target["expr"] for panel in panels for target in panel["targets"]]


def exposed() -> dict[str, set[str]]:
    """Return the samples that a query may name, with their labels."""
    found: dict[str, set[str]] = {}
    histograms = {family.name for family in NifCollector().describe() if family.type == "histogram"}
    for name, labels in NAMES_AND_LABELS.items():
        if name in histograms:
            found.update({f"{name}_sum": labels, f"{name}_count": labels})
            found[f"{name}_bucket"] = labels | {"le"}
        else:
            found[name] = labels
    return found


@pytest.mark.parametrize("query", queries())
def test_a_query_of_the_dashboard_finds_something(query: str) -> None:
    metrics = re.findall(r"\baionif_\w+", query)
    assert metrics
    labels = set(re.findall(r"(\w+)\s*(?:=~|!~|!=|=)\s*\"", query))
    for group in re.findall(r"\bby \(([^)]*)\)", query):
        labels |= {label.strip() for label in group.split(",")}
    for metric in metrics:
        assert metric in exposed(), metric
        assert labels <= exposed()[metric], metric


def test_outcomes_that_the_dashboard_asks_for_exist() -> None:
    from aionif.telemetry.series import FATES

    for query in queries():
        for values in re.findall(r"outcome=~?\"([^\"]*)\"", query):
            assert set(values.split("|")) <= set(FATES)


def test_the_dashboard_shows_every_metric() -> None:
    shown = {metric for query in queries() for metric in re.findall(r"aionif_\w+", query)}
    assert {family_of(metric) for metric in shown} == set(NAMES_AND_LABELS)
