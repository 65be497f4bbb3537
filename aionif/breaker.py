"""When a function that crashes is no longer called: the settings of its circuit breaker."""

from __future__ import annotations

import time
from collections.abc import Callable  # noqa: TC003 - a field's type
from dataclasses import dataclass, field
from typing import Literal

from aionif.errors.checks import (
    check_callable,
    check_choice,
    check_count,
    check_seconds,
    check_span,
)

__all__ = ("NifBreaker",)

_WAYS = ("refuse", "process")


@dataclass(frozen=True, slots=True, kw_only=True)
class NifBreaker:
    """A circuit breaker for each function of a policy.

    It is closed at first: calls pass. At `max_crashes` crashes within `max_seconds` it opens, and
    calls of that function are held off for `hold_seconds`. Then it is half open: one call at a time
    is let through as a probe. If it returns, the breaker closes; if it crashes, it opens again.

    max_crashes: how many crashes open it. Panics, exits and lost workers count as well,
        and so do limits exceeded; timeouts and cancellations don't.
    max_seconds: the time within which they count; it slides.
    hold_seconds: how long calls are held off.
    then: what becomes of a call meanwhile. "refuse": NifRejected. "process": on an executor of
        threads, it runs in a worker process; only the probe runs on a thread.
    clock: returns the time in seconds, by which all of these are counted.

    Raises:
        NifArgumentError: a value is out of range; it names the field.
    """

    max_crashes: int = 3
    max_seconds: float = 60.0
    hold_seconds: float = 30.0
    then: Literal["refuse", "process"] = "refuse"
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)

    def __post_init__(self) -> None:
        check_count("max_crashes", self.max_crashes, 1)
        check_span("max_seconds", self.max_seconds)
        check_seconds("hold_seconds", self.hold_seconds)
        check_choice("then", self.then, _WAYS)
        check_callable("clock", self.clock)
