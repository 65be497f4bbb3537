"""Signals of Python's own during calls, what started programs inherit, and Python's dev mode."""

from __future__ import annotations

import signal
from signal import Signals

from aionif.testing import gallery
from tests import children


def signalled(script: str, backend: str, number: Signals) -> children.Ending:
    """Run an interrupts.py program and send it a signal once its call has begun."""
    child = children.start("interrupts.py", script, backend)
    assert child.stdout is not None
    assert child.stdout.readline() == "calling\n"
    child.send_signal(number)
    return children.finish(child)


def test_sigint_during_a_call_is_a_keyboard_interrupt(backend: str) -> None:
    ending = signalled("interrupted", backend, signal.SIGINT)
    assert ending.output == "interrupted\n"
    assert ending.status == -signal.SIGINT
    assert ending.errors.rstrip().endswith("KeyboardInterrupt")


def test_a_signal_handler_of_python_runs_during_a_call(backend: str) -> None:
    ending = signalled("terminated", backend, signal.SIGTERM)
    assert ending == (0, f"handled {int(signal.SIGTERM)}\nreturned 0\n", "")


def test_programs_that_a_call_starts_inherit_the_same_signals() -> None:
    library = gallery.library_path("c")
    with_us, without = (
        children.run("interrupts.py", "inherited", presence, library)
        for presence in ("with", "without")
    )
    assert len(without.lines) == 3
    assert with_us == without


def test_dev_mode_has_nothing_to_say(backend: str) -> None:
    ending = children.run("interrupts.py", "dev", backend, options=("-X", "dev", "-W", "error"))
    assert ending.errors == ""
    assert ending.status == 0
    assert ending.lines == ["5", "NifSignal", "NifSignal", "NifTimeout", "NifExit"] * 2
