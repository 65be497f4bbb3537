"""Structured log events: failures of calls, and what happens to workers. Successes are silent.

Of each kind of failure of a function the first five within a second are told in full, then one a
second, with `suppressed`: how many others there were. Of calls that were refused the first one is,
as those come by the thousand where load is shed.
"""

from __future__ import annotations

from typing import Any

from aionif.errors import (
    NifError,
    NifExit,
    NifLimitExceeded,
    NifPanic,
    NifRejected,
    NifSignal,
    NifStackOverflow,
    NifSyscallDenied,
    NifTimeout,
)
from aionif.errors.base import clip
from aionif.log import LEVELS, tell
from aionif.telemetry.throttle import Throttle

__all__ = ("call_failed", "call_raised", "tell_suppressed")


def _telling(level: str) -> Throttle:
    """Return a throttle of what is told at one level; by name, as tests put theirs in its place."""
    return Throttle(lambda event, fields: tell(level, event, fields))


_throttle = _telling("warning")
_of_raised = {level: _telling(level) for level in LEVELS}


def call_failed(
    error: NifError, executor: str, duration: float | None = None, cause: str | None = None
) -> None:
    """Log a call that ended with `error`, or was refused.

    duration: in seconds, where it ran. cause: of a refusal: those of one are counted together.
    """
    event, details = _describe(error)
    fields = {**_where(error, executor), "duration": duration, **details}
    if cause is None:
        about = (error.function, error.library, error.tier, executor)
        _throttle.take(event, about, fields)
    else:
        _throttle.take(event, (executor, cause), fields, in_full=1)


def call_raised(
    error: BaseException, where: dict[str, Any], executor: str, duration: float | None, level: str
) -> None:
    """Log that a Python callable raised `error`; where: as errors say of which it was."""
    kind = type(error)
    name = kind.__qualname__
    if kind.__module__ != "builtins":
        name = f"{kind.__module__}.{name}"
    try:
        text = clip(str(error))
    except Exception:  # noqa: BLE001 - anybody's code
        text = "<it can't be shown>"
    where = {**where, "executor": executor}
    fields = {**where, "duration": duration, "error": name, "reason": text}
    _of_raised[level].take("nif_raised", (*where.values(), name), fields)


def tell_suppressed() -> None:
    """Log the failures that have only been counted so far."""
    for throttle in (_throttle, *_of_raised.values()):
        throttle.flush()


def _where(error: NifError, executor: str) -> dict[str, Any]:
    return {
        "function": error.function,
        "library": error.library,
        "tier": error.tier,
        "executor": executor,
    }


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
        case NifLimitExceeded():
            return "nif_limit_exceeded", {
                "limit": error.limit,
                "allowed": error.allowed,
                "used": error.used,
            }
        case NifRejected():
            return "nif_rejected", {"reason": error.reason}
        case _:
            return "nif_failed", {"error": str(error)}
