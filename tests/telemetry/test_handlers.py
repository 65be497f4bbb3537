"""A handler of log events that raises is detached and reported; how a call ends stays the same."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from aionif import NifExecutor, NifSignal, log, telemetry
from tests.support import load_gallery

if TYPE_CHECKING:
    from collections.abc import Iterator

Events = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def events() -> Iterator[Events]:
    """What a well-behaved handler gets."""
    found: Events = []

    def keep(event: str, fields: dict[str, Any]) -> None:
        found.append((event, fields))

    telemetry.attach(keep)
    yield found
    telemetry.detach(keep)


def names(events: Events) -> list[str]:
    return [event for event, _ in events]


def crash_twice(run: Any) -> None:
    crash = load_gallery().gallery_segv_read

    async def main() -> None:
        async with NifExecutor() as executor:
            for _ in range(2):
                with pytest.raises(NifSignal):
                    await executor.execute_nif(crash)

    run(main)


def test_an_attached_handler_that_raises(run: Any, events: Events) -> None:
    calls = []

    def bad(event: str, _fields: dict[str, Any]) -> None:
        calls.append(event)
        raise ZeroDivisionError("bad handler")

    crash_twice(run)  # the first one may find another's signal handler in front, and says so
    events.clear()
    telemetry.attach(bad)
    crash_twice(run)
    assert calls == ["nif_signal"]
    assert names(events) == ["nif_signal", "handler_detached", "nif_signal"]
    assert events[1][1]["error"] == "ZeroDivisionError: bad handler"
    assert "bad" in events[1][1]["handler"]
    telemetry.detach(bad)  # harmless


def test_a_standard_handler_that_raises(
    run: Any, events: Events, caplog: pytest.LogCaptureFixture
) -> None:
    class Bad(logging.Handler):
        calls = 0

        def emit(self, _record: logging.LogRecord) -> None:
            Bad.calls += 1
            raise OSError("disk full")

    bad, logger = Bad(), logging.getLogger("aionif")
    logger.addHandler(bad)
    try:
        crash_twice(run)
        assert bad in logger.handlers, "it stays the program's"
    finally:
        logger.removeHandler(bad)
    assert Bad.calls == 1
    assert names(events) == ["nif_signal", "handler_detached", "nif_signal"]
    assert [record.getMessage().split()[0] for record in caplog.records] == names(events)


def test_processors_of_structlog_that_raise(
    run: Any, events: Events, caplog: pytest.LogCaptureFixture
) -> None:
    calls = []

    def bad(_logger: Any, _name: str, fields: Any) -> Any:
        calls.append(fields["event"])
        raise LookupError("no such field")

    structlog.configure(processors=[bad])
    crash_twice(run)
    assert calls == ["nif_signal"]
    assert names(events) == ["nif_signal", "handler_detached", "nif_signal"]
    assert events[1][1]["handler"] == "structlog's processors"
    assert "nif_signal" in caplog.text, "the standard logger takes over"


def test_a_filter_that_raises_lets_events_pass(run: Any, caplog: pytest.LogCaptureFixture) -> None:
    def bad(_record: logging.LogRecord) -> bool:
        raise ValueError

    logger = logging.getLogger("aionif")
    logger.addFilter(bad)
    try:
        crash_twice(run)
    finally:
        logger.removeFilter(bad)
    assert len(caplog.records) == 2


def test_levels_and_filters_of_the_program_hold(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("aionif")
    with caplog.at_level(logging.ERROR, "aionif"):
        log.warn("unwanted")
    logger.addFilter(refuse := lambda _record: False)
    try:
        log.warn("unwanted")
    finally:
        logger.removeFilter(refuse)
    log.warn("wanted", reason="x", nothing=None)
    assert [record.getMessage() for record in caplog.records] == ["wanted reason='x'"]


def test_all_handlers_raise() -> None:
    class Bad(logging.Handler):
        def emit(self, _record: logging.LogRecord) -> None:
            raise OSError

    logger = logging.getLogger("aionif")
    bad = [Bad(), Bad()]
    logger.handlers += bad
    propagate, logger.propagate = logger.propagate, False
    last, logging.lastResort = logging.lastResort, Bad()
    try:
        log.warn("one")
        log.warn("two")
    finally:
        logging.lastResort, logger.propagate = last, propagate
        for handler in bad:
            logger.removeHandler(handler)
