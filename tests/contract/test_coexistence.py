"""aionif beside other things in the same process: handlers, threads, callbacks, forks.

What is not a fault of a native call ends as it would without aionif; wherever that is a death, the
very same program is run without it too, and both must end alike.
"""

from __future__ import annotations

import faulthandler
import signal
from signal import Signals
from typing import TYPE_CHECKING

import pytest

import aionif
from tests import children, support

if TYPE_CHECKING:
    from pathlib import Path

RECOVERED = ["recovered SIGSEGV"] * 2 + ["alive 5"]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = (children.HERE / "neighbour.c").read_text()
    return support.build_library(tmp_path_factory.mktemp("neighbour"), source, name="neighbour")


# ---- another library's handler ----

ORDERS = pytest.mark.parametrize("order", ["before", "after", "reclaimed"])


@ORDERS
@pytest.mark.parametrize("kind", ["counts", "jumps", "exits"])
def test_anothers_handler_gets_what_is_not_ours(library: Path, kind: str, order: str) -> None:
    started = [
        children.start("handlers.py", presence, order, kind, "outside", library)
        for presence in ("with", "without")
    ]
    with_us, without = [children.finish(child) for child in started]
    expected = {
        "counts": children.Ending(-Signals.SIGSEGV, "crashing\n", "counted\n"),
        "jumps": children.Ending(-Signals.SIGSEGV, "crashing\njumped [1, 1, 1, 1, 1]\n", ""),
        "exits": children.Ending(77, "crashing\n", ""),
    }
    assert without == expected[kind]
    if order == "reclaimed":
        ours, _, rest = with_us.errors.partition("\n")
        assert ours.startswith("handler_displaced reason=")
        with_us = with_us._replace(errors=rest)
    assert with_us == without


@pytest.mark.parametrize("order", ["before", "reclaimed"])
@pytest.mark.parametrize("kind", ["counts", "jumps", "exits"])
def test_anothers_handler_does_not_see_what_is_ours(library: Path, kind: str, order: str) -> None:
    ending = children.run("handlers.py", "with", order, kind, "inside", library)
    assert ending.status == 0
    assert ending.lines == ["crashing", "SIGSEGV 128 0", "SIGSEGV 128 0", "alive"]


def test_a_later_handler_that_chains_loses_us_nothing(library: Path) -> None:
    ending = children.run("handlers.py", "with", "after", "counts", "inside", library)
    assert ending.status == 0
    assert ending.lines == ["crashing", "SIGSEGV 128 1", "SIGSEGV 128 2", "alive"]


def test_a_later_handler_that_exits_does_so_until_ours_is_back_in_front(library: Path) -> None:
    ending = children.run("handlers.py", "with", "after", "exits", "inside", library)
    assert (ending.status, ending.lines) == (77, ["crashing"])


def test_recovery_works_under_the_faulthandler_of_pytest() -> None:
    assert faulthandler.is_enabled()
    gallery = support.load_gallery()
    for _ in range(2):
        with pytest.raises(aionif.NifSignal):
            aionif.call_nif(gallery.gallery_segv_write)
    assert faulthandler.is_enabled()


# ---- faults that only look like a call's ----


def dies_crashing(scene: str, *arguments: object) -> None:
    ending = children.run("scenes.py", scene, *arguments)
    assert ending == (-Signals.SIGSEGV, "crashing\n", "")


def test_a_fault_in_a_thread_that_the_call_started_kills() -> None:
    dies_crashing("thread_of_the_call")


@pytest.mark.parametrize("tier", ["thread", "inline"])
def test_a_signal_that_another_thread_sent_to_a_call_kills(library: Path, tier: str) -> None:
    dies_crashing("signalled_from_inside", library, tier)


def test_kill_from_outside_kills() -> None:
    child = children.start("scenes.py", "signalled_from_outside")
    assert child.stdout is not None
    assert child.stdout.readline() == "crashing\n"
    child.send_signal(signal.SIGSEGV)
    assert children.finish(child).status == -Signals.SIGSEGV


@pytest.mark.parametrize("tier", ["thread", "inline"])
def test_a_crash_in_a_python_callback_kills(library: Path, tier: str) -> None:
    ending = children.run("scenes.py", "callback", library, tier, "during")
    assert ending == (-Signals.SIGSEGV, "called back\n", "")


@pytest.mark.parametrize("tier", ["thread", "inline"])
def test_a_crash_after_a_python_callback_is_recovered(library: Path, tier: str) -> None:
    ending = children.run("scenes.py", "callback", library, tier, "after")
    assert (ending.status, ending.lines) == (0, ["called back", "recovered SIGSEGV"])


@pytest.mark.parametrize(
    "function", ["crash_with_signals_blocked", "crash_with_own_stack", "crash_without_stack"]
)
def test_a_call_may_change_its_thread_and_then_crash(library: Path, function: str) -> None:
    ending = children.run("scenes.py", "thread_state", library, function)
    assert ending.status == 0
    assert ending.lines == ["crashing", *RECOVERED, "mask restored"]


def test_a_fault_that_the_call_itself_has_blocked_kills(library: Path) -> None:
    """The kernel then asks no handler at all."""
    dies_crashing("thread_state", library, "crash_with_fault_blocked")


# ---- forks ----


@pytest.mark.parametrize(
    ("scene", "lines"),
    [
        ("fork_and_recover", [*RECOVERED, "child 0", "call 0", *RECOVERED]),
        ("fork_and_exit", ["child 5", "call 0", *RECOVERED]),
        ("fork_and_crash", ["child -11", *RECOVERED]),
        ("multiprocessing_fork", [*RECOVERED, "child 0", *RECOVERED]),
        ("fork_inside", ["child -11", "child -11", *RECOVERED]),
    ],
)
def test_forks(scene: str, lines: list[str]) -> None:
    ending = children.run("scenes.py", scene)
    assert (ending.status, ending.lines) == (0, lines), ending.errors
