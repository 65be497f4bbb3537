"""What all tests share: event loops by name, a native library to call, child interpreters."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import structlog

from aionif import load, log
from aionif.loops.port import orphans
from aionif.telemetry import attach, detach, failures
from aionif.telemetry.throttle import Throttle
from tests import support
from tests.support import breaking

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from aionif import NifLibrary
    from aionif.policy import Isolation

# A child interpreter must import the installed package too, not the checkout it is started from.
os.environ["PYTHONSAFEPATH"] = "1"

# Worker processes import callables of tests by name. Last: the installed package comes first.
sys.path.append(str(Path(__file__).parents[1]))


@pytest.fixture(params=support.BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    """Each event loop in turn: "asyncio", "uvloop", "trio"."""
    name: str = request.param
    return name


@pytest.fixture(params=["thread", "process"])
def tier(request: pytest.FixtureRequest) -> Isolation:
    """Each tier that has workers, and so a queue, in turn."""
    name: Isolation = request.param
    return name


@pytest.fixture(autouse=True)
def _forget_earlier_tests() -> None:
    """Some tests leave calls behind that never return, or configure structlog."""
    structlog.reset_defaults()
    support.earlier_calls.clear()
    support.earlier_calls.update(orphans)


@pytest.fixture
def run(backend: str) -> Callable[..., Any]:
    """Run an async function on `backend`, under a deadline: `run(function, *arguments)`."""

    def run(function: Callable[..., Awaitable[Any]], *arguments: Any) -> Any:
        return support.run_on(backend, function, *arguments)

    return run


@pytest.fixture
def under_deadline() -> Iterator[None]:
    """Interrupt a test that runs no event loop after a minute."""

    def interrupt(*_: object) -> None:
        raise TimeoutError(f"the test took more than {support.DEADLINE} s")

    before = signal.signal(signal.SIGALRM, interrupt)
    signal.setitimer(signal.ITIMER_REAL, support.DEADLINE)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="session")
def probe_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library of probe.c."""
    source = Path(__file__).with_name("support").joinpath("probe.c").read_text(encoding="utf-8")
    return support.build_library(tmp_path_factory.mktemp("probe"), source)


@pytest.fixture(scope="session")
def probe(probe_path: Path) -> NifLibrary:
    """The functions of probe.c, to be called through aionif."""
    return load(probe_path, support.PROBE_CDEF)


@pytest.fixture(scope="session")
def direct(probe: NifLibrary, probe_path: Path) -> Any:
    """The same functions, to be called directly."""
    return probe.ffi.dlopen(str(probe_path))


@pytest.fixture
def gate(direct: Any) -> Iterator[Any]:
    """`direct`, with its gate closed; it is opened in the end, so that no call stays behind."""
    direct.close_gate()
    yield direct
    direct.open_gate()
    for _ in range(1000):
        if direct.count_at_gate():
            direct.sleep_ms(1)
    direct.forget_gate()


@pytest.fixture(scope="session")
def acting_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The library of breaking.py."""
    return support.build_library(
        tmp_path_factory.mktemp("acting"), breaking.SOURCE, "-Wl,--build-id"
    )


@pytest.fixture(scope="session")
def acting(acting_path: Path) -> NifLibrary:
    """Its functions."""
    return load(acting_path, breaking.CDEF)


@pytest.fixture
def breaker_events() -> Iterator[list[tuple[str, dict[str, Any]]]]:
    """What circuit breakers log."""
    found: list[tuple[str, dict[str, Any]]] = []

    def handler(event: str, fields: dict[str, Any]) -> None:
        if event.startswith("breaker_"):
            found.append((event, fields))

    attach(handler)
    yield found
    detach(handler)


@pytest.fixture(autouse=True)
def _failures_are_told_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """Failures of one test are not counted towards the limit of the next one's log."""
    monkeypatch.setattr(failures, "_throttle", failures._telling("warning"))
    anew = {level: failures._telling(level) for level in log.LEVELS}
    monkeypatch.setattr(failures, "_of_raised", anew)


@pytest.fixture
def endless_second(monkeypatch: pytest.MonkeyPatch, _failures_are_told_anew: None) -> None:
    """All failures of the test come within one second, however long it takes."""
    told = Throttle(lambda event, fields: log.warn(event, **fields), clock=lambda: 0.0)
    monkeypatch.setattr(failures, "_throttle", told)
