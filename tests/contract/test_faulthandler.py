"""aionif beside faulthandler: enabled before it, after it, or not at all."""

from __future__ import annotations

from signal import Signals

import pytest

from aionif.testing import gallery
from tests import children

GALLERY = gallery.library_path("c")

CRASHES = {
    "python": Signals.SIGSEGV,
    "thread": Signals.SIGSEGV,
    "kill": Signals.SIGSEGV,
    "abort": Signals.SIGABRT,
    "segv_write": Signals.SIGSEGV,
    "wild_jump": Signals.SIGSEGV,
    "bus": Signals.SIGBUS,
    "fpe": Signals.SIGFPE,
    "ill": Signals.SIGILL,
    "trap": Signals.SIGTRAP,
    "sys": Signals.SIGSYS,
    "raise_segv": Signals.SIGSEGV,
    "overflow_recursion": Signals.SIGSEGV,
}
NAMES = {
    Signals.SIGSEGV: "Segmentation fault",
    Signals.SIGABRT: "Aborted",
    Signals.SIGBUS: "Bus error",
    Signals.SIGFPE: "Floating",  # with or without a hyphen, as the release has it
    Signals.SIGILL: "Illegal instruction",
}
"""The signals that faulthandler handles, as it calls them."""


DISPLACED = "handler_displaced reason="

RECOVERED = {
    "segv_write": "SIGSEGV",
    "abort": "SIGABRT",
    "wild_jump": "SIGSEGV",
    "fpe": "SIGFPE",
    "overflow_recursion": "SIGSEGV",
    "libc_strlen": "SIGSEGV",
}


@pytest.mark.parametrize("dumps", ["never", "before", "after", "reclaimed"])
@pytest.mark.parametrize("crash", CRASHES)
def test_a_crash_outside_of_a_call_is_as_without_aionif(crash: str, dumps: str) -> None:
    started = [
        children.start("outside.py", presence, dumps, crash, GALLERY)
        for presence in ("with", "without")
    ]
    with_us, without = [children.finish(child).comparable() for child in started]
    assert without.status == -CRASHES[crash]
    assert without.output == "crashing\n"
    dumped = dumps != "never" and CRASHES[crash] in NAMES
    headline = f"Fatal Python error: {NAMES[CRASHES[crash]]}" if dumped else ""
    assert without.errors.startswith(headline)
    assert bool(without.errors) == dumped
    if dumps == "reclaimed":
        ours, _, rest = with_us.errors.partition("\n")
        assert ours.startswith(DISPLACED)
        with_us = with_us._replace(errors=rest)
    assert with_us == without


def recovered(ending: children.Ending) -> list[str]:
    """Check that the program lived, and every crash came twice; return the addresses told."""
    assert ending.status == 0, ending
    *crashes, last = ending.lines
    assert last == "alive 5"
    told = [line.split() for line in crashes]
    assert [(crash, name) for crash, name, _ in told] == list(RECOVERED.items()) * 2
    return [address for _, _, address in told]


@pytest.mark.parametrize("tier", ["thread", "inline"])
@pytest.mark.parametrize("dumps", ["never", "before", "reclaimed"])
def test_a_crash_inside_a_call_is_recovered_without_a_dump(dumps: str, tier: str) -> None:
    ending = children.run("inside.py", dumps, tier, *RECOVERED)
    addresses = recovered(ending)
    assert addresses.count("None") == 2  # abort() has none
    assert "Fatal Python error" not in ending.errors
    assert (DISPLACED in ending.errors) == (dumps == "reclaimed")


@pytest.mark.parametrize("tier", ["thread", "inline"])
def test_a_crash_before_the_handler_is_back_in_front_is_recovered_too(tier: str) -> None:
    """faulthandler then runs first: it dumps, puts our handler back and raises the signal again."""
    ending = children.run("inside.py", "after", tier, *RECOVERED)
    addresses = recovered(ending)
    if tier == "inline":  # no watchdog looks, so this is sure to have happened
        assert ending.errors.count("Fatal Python error") == 3  # once for each signal
        assert addresses[0] == "None"
    assert addresses[6] != "None"
