"""Spans: one for each call, below the caller's, with times and failures; nothing when not asked."""

from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from aionif import NifExecutor, NifSignal, NifTimeout, execute_nif
from aionif.calls.caller import Caller
from aionif.telemetry import tracing
from tests.support import DEADLINE, load_gallery

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aionif import NifLibrary


class Spans:
    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.tracer = self.provider.get_tracer("test")

    def named(self, name: str) -> list[Any]:
        return [span for span in self.exporter.get_finished_spans() if span.name == name]


@pytest.fixture
def spans() -> Iterator[Spans]:
    spans = Spans()
    tracing.instrument(spans.provider)
    yield spans
    tracing.uninstrument()
    spans.provider.shutdown()


@pytest.mark.parametrize("isolation", ["thread", "process"])
def test_a_span_has_the_times_of_its_call(
    run: Any, probe: NifLibrary, spans: Spans, isolation: Any
) -> None:
    async def main() -> None:
        async with NifExecutor(isolation=isolation) as executor:
            await executor.execute_nif(probe.sleep_ms, 20)

    run(main)
    [span] = spans.named("nif sleep_ms")
    assert span.attributes["aionif.function"] == "sleep_ms"
    assert span.attributes["aionif.run_time"] >= 0.02
    assert span.attributes["aionif.queue_time"] >= 0
    assert span.status.status_code is StatusCode.UNSET
    seconds = (span.end_time - span.start_time) / 1e9
    assert seconds >= span.attributes["aionif.run_time"]


def test_the_callers_span_is_the_parent(run: Any, probe: NifLibrary, spans: Spans) -> None:
    async def task(number: int) -> None:
        with spans.tracer.start_as_current_span(f"task {number}"):
            await execute_nif(probe.sleep_ms, number)

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for number in range(5):
                group.start_soon(task, number)

    run(main)
    parents = {spans.named(f"task {number}")[0].context.span_id for number in range(5)}
    calls = spans.named("nif sleep_ms")
    assert len(calls) == 5
    assert {call.parent.span_id for call in calls} == parents


@pytest.mark.parametrize("isolation", ["inline", "thread", "process"])
def test_a_crash_is_an_error_with_its_signal(run: Any, spans: Spans, isolation: Any) -> None:
    crash = load_gallery().gallery_segv_read

    async def main() -> None:
        async with NifExecutor(isolation=isolation) as executor:
            with pytest.raises(NifSignal):
                await executor.execute_nif(crash)

    run(main)
    [span] = spans.named("nif gallery_segv_read")
    assert span.attributes["error.type"] == "aionif.NifSignal"
    assert span.attributes["aionif.signal"] == "SIGSEGV"
    assert ("aionif.run_time" in span.attributes) is (isolation != "inline")
    assert span.status.status_code is StatusCode.ERROR
    assert "SIGSEGV" in span.status.description


def test_timeouts_and_cancellations_are_errors(run: Any, probe: NifLibrary, spans: Spans) -> None:
    async def main() -> None:
        async with NifExecutor() as executor:
            with pytest.raises(NifTimeout):
                await executor.execute_nif(probe.sleep_ms, 300, timeout=0.02)
            with anyio.move_on_after(0.02):
                await executor.execute_nif(probe.sleep_ms, 300)

    run(main)
    timeout, cancelled = spans.named("nif sleep_ms")
    assert timeout.attributes["error.type"] == "aionif.NifTimeout"
    assert "Cancelled" in cancelled.attributes["error.type"]


def test_sessions_have_spans_too(run: Any, probe: NifLibrary, spans: Spans) -> None:
    async def main() -> None:
        async with NifExecutor() as executor, executor.session() as session:
            await session.execute_nif(probe.add, 1, 2)

    run(main)
    assert len(spans.named("nif add")) == 1


def test_without_instrument_the_plain_method_is_used() -> None:
    plain = tracing._plain
    assert Caller.execute_nif is plain
    tracing.instrument(TracerProvider())
    assert Caller.execute_nif is not plain
    tracing.uninstrument()
    assert Caller.execute_nif is plain


def test_nothing_of_it_is_imported_unasked() -> None:
    code = (
        "import sys, asyncio, aionif, aionif.telemetry, aionif.testing\n"
        "libc = aionif.load('libc.so.6', 'int abs(int);')\n"
        "async def main(): return await aionif.execute_nif(libc.abs, -3)\n"
        "print(asyncio.run(main()))\n"
        "unasked = {'opentelemetry', 'prometheus_client', 'aiohttp', 'structlog', 'pytest'}\n"
        "print(unasked & sys.modules.keys())\n"
    )
    child = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=DEADLINE
    )
    assert child.stdout == "3\nset()\n"
