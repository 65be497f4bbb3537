"""Structured log events: failures of calls, and what happens to workers. Successes are silent.

Of each kind of failure of a function the first five within a second are told in full, then one a
second, with `suppressed`: how many others there were.
"""

from __future__ import annotations

from typing import Any

from aionif.errors import (
    NifError,
    NifExit,
    NifPanic,
    NifSignal,
    NifStackOverflow,
    NifSyscallDenied,
    NifTimeout,
)
from aionif.log import warn
from aionif.telemetry.throttle import Throttle

__all__ = ("call_failed", "tell_suppressed")

_throttle = Throttle(lambda event, fields: warn(event, **fields))


def call_failed(error: NifError, duration: float | None = None) -> None:
    """Log a call that ended with `error`; duration in seconds, where it ran."""
    event, details = _describe(error)
    fields = {
        "function": error.function,
        "library": error.library,
        "tier": error.tier,
        "duration": duration,
        **details,
    }
    _throttle.take(event, (error.function, error.library, error.tier), fields)


def tell_suppressed() -> None:
    """Log the failures that have only been counted so far."""
    _throttle.flush()


def _describe(error: NifError) -> tuple[str, dict[str, Any]]:  # noqa: PLR0911 - a table in code
    match error:
        case NifStackOverflow():
            return "nif_stack_overflow", {"signal": error.signal.name}
        case NifSyscallDenied():
            return "nif_syscall_denied", {"syscall": error.syscall, "number": error.number}
        case NifSignal():
            address = None if error.address is None else hex(error.address)
            return "nif_signal", {"signal": error.signal.name, "address": address}
        case NifPanic():
            return "nif_panic", {"language": error.language, "reason": error.reason}
        case NifExit():
            return "nif_exit", {"status": error.status}
        case NifTimeout():
            return "nif_timeout", {"phase": error.phase, "timeout": error.timeout}
        case _:
            return "nif_failed", {"error": str(error)}
