"""Spans for OpenTelemetry: one for each call that a task awaits.

A span is a child of whatever span is current in the task that calls. Until `instrument()` no call
knows of this; it replaces `execute_nif` by one that opens a span, and `uninstrument()` puts the
plain one back. `call_nif` has no spans: it is for calls that take less time than a span.

Needs the extra `otel`, which is the API alone; without an SDK spans are not recorded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from opentelemetry import trace

from aionif.errors import NifCrash, NifError, NifSignal
from aionif.errors.defaults import DEFAULT
from aionif.telemetry import sources

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from opentelemetry.trace import Span, Tracer, TracerProvider

__all__ = ("instrument", "uninstrument")

_plain = sources.caller.execute_nif


def instrument(tracer_provider: TracerProvider | None = None) -> None:
    """Make a span of each call of `execute_nif`, in executors and sessions, from now on.

    tracer_provider: where spans go; None: OpenTelemetry's global one.

    Its name is "nif" and the function's. Attributes: `aionif.function`; `aionif.queue_time` and
    `aionif.run_time` in seconds, where the call ran on a worker and came back; for a failure
    `error.type`, and `aionif.signal` where there was one.
    """
    tracer = trace.get_tracer("aionif", tracer_provider=tracer_provider)
    _replace(_traced(tracer))


def uninstrument() -> None:
    """Make no more spans."""
    _replace(_plain)


def _replace(method: Callable[..., Awaitable[Any]]) -> None:
    sources.caller.execute_nif = method


def _traced(tracer: Tracer) -> Callable[..., Awaitable[Any]]:
    async def execute_nif(
        self: Any, fn: Any, *args: Any, timeout: float | None = DEFAULT, policy: Any = None
    ) -> Any:
        name = str(getattr(fn, "name", None) or getattr(fn, "__name__", None) or "function")
        with tracer.start_as_current_span(
            f"nif {name}",
            attributes={"aionif.function": name},
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                result = await _plain(self, fn, *args, timeout=timeout, policy=policy)
            except BaseException as error:
                _note_failure(span, error)
                raise
            _note_times(span)
            return result

    execute_nif.__doc__ = _plain.__doc__
    return execute_nif


def _note_times(span: Span) -> None:
    """Right after a call's end, when nothing has run in this thread since."""
    times = sources.call_times()
    if times is not None:
        span.set_attribute("aionif.queue_time", times[0])
        span.set_attribute("aionif.run_time", times[1])


def _note_failure(span: Span, error: BaseException) -> None:
    if isinstance(error, NifCrash):
        _note_times(span)
    if isinstance(error, NifSignal):
        span.set_attribute("aionif.signal", error.signal.name)
    kind = type(error)
    name = f"aionif.{kind.__name__}" if isinstance(error, NifError) else kind.__qualname__
    span.set_attribute("error.type", name)
    text = str(error).partition("\n")[0] if isinstance(error, NifError) else ""
    span.set_status(trace.StatusCode.ERROR, text or None)
