"""The pytest fixtures of aionif.testing, which names this module as a plugin of its own.

They are apart from the rest because pytest takes longer to import than all of aionif.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import pytest

from aionif import log
from aionif.executor import NifExecutor
from aionif.testing import NifEvent, assert_no_leaks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aionif.testing import ExecutorFactory

__all__ = ("nif_executor", "nif_log")


@pytest.fixture(name="assert_no_leaks")
def _assert_no_leaks() -> Callable[..., None]:
    """The function `aionif.testing.assert_no_leaks`, for tests that prefer it as a fixture."""
    return assert_no_leaks


@pytest.fixture
def nif_executor() -> Iterator[ExecutorFactory]:
    """A function that makes executors, which are looked at when the test ends.

        async def test_reads(nif_executor):
            async with nif_executor(max_workers=2) as executor:
                ...

    The test fails if it left one of them open, or if one lost more threads than `allow_lost`.
    """
    made: list[tuple[NifExecutor, int]] = []

    def make(*, allow_lost: int = 0, **settings: Any) -> NifExecutor:
        executor = NifExecutor(**settings)
        made.append((executor, allow_lost))
        return executor

    yield make
    complaints = [text for executor, allowed in made if (text := _complaint(executor, allowed))]
    if complaints:
        raise AssertionError("; ".join(complaints))


def _complaint(executor: NifExecutor, allowed: int) -> str:
    if not executor._closed:  # noqa: SLF001 - of this package
        return "an executor was left open: use `async with`, or await aclose()"
    statistics = executor.statistics()
    if statistics.abandoned + statistics.retired > allowed:
        return (
            f"an executor lost threads: {statistics.abandoned} abandoned, "
            f"{statistics.retired} retired, where {allowed} may be"
        )
    return ""


@pytest.fixture
def nif_log() -> Iterator[list[NifEvent]]:
    """The events that aionif logs during the test, in order, as a list that grows.

        async def test_logs(nif_log):
            with pytest.raises(aionif.NifSignal):
                await provoke("segv_read")
            assert "nif_signal" in [event.event for event in nif_log]

    They are taken where aionif makes them, so it does not matter how, or whether, structlog and
    logging are set up; they go on to both as before. The first call under pytest may log a
    "handler_displaced", because pytest enables faulthandler.
    """
    events: list[NifEvent] = []
    original = log.tell

    def record(level: str, event: str, fields: dict[str, Any]) -> None:
        if level != "debug":
            events.append(NifEvent(event, fields))
        original(level, event, fields)

    _replace("tell", original, record)
    try:
        yield events
    finally:
        _replace("tell", record, original)


def _replace(name: str, old: object, new: object) -> None:
    """Put `new` in place of `old` in every module of aionif: some import it by its name."""
    for module_name, module in list(sys.modules.items()):
        if module_name.startswith("aionif.") and vars(module).get(name) is old:
            setattr(module, name, new)
