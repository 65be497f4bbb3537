"""When a function that crashes is no longer called: the settings of its circuit breaker."""

from __future__ import annotations

import time
from collections.abc import Callable  # noqa: TC003 - a field's type
from dataclasses import dataclass, field
from typing import Literal

from aionif.errors import NifArgumentError
from aionif.errors.checks import (
    check_callable,
    check_choice,
    check_count,
    check_seconds,
    check_share,
    check_span,
)

__all__ = ("SEALED_BREAKER", "NifBreaker")

_WAYS = ("refuse", "process")


@dataclass(frozen=True, slots=True, kw_only=True)
class NifBreaker:
    """A circuit breaker for each function of a policy.

    It is closed at first: calls pass. At `max_crashes` crashes within `max_seconds` it opens, and
    calls of that function are held off for `hold_seconds`. Then it is half open: one call at a time
    is let through as a probe. If it returns, the breaker closes; if it crashes, it opens again.

    max_crashes: how many crashes open it. Panics, exits, denied system calls and lost workers count
        as well, and so do limits exceeded; timeouts and cancellations don't.
    max_seconds: the time within which they count; it slides.
    min_share: of the function's calls that have ended meanwhile so many must have crashed, too:
        0.5 is half of them, 0 leaves it at `max_crashes`.
    hold_seconds: how long calls are held off.
    max_hold_seconds: each probe that crashes doubles that, up to here. None: it stays as it is.
    then: what becomes of a call meanwhile. "refuse": NifRejected. "process": on an executor of
        threads, it runs in a worker process; only the probe runs on a thread.
    clock: returns the time in seconds, by which all of these are counted.

    Raises:
        NifArgumentError: a value is out of range; it names the field.
    """

    max_crashes: int = 3
    max_seconds: float = 60.0
    min_share: float = 0.0
    hold_seconds: float = 30.0
    max_hold_seconds: float | None = None
    then: Literal["refuse", "process"] = "refuse"
    clock: Callable[[], float] = field(default=time.monotonic, repr=False)

    def __post_init__(self) -> None:
        check_count("max_crashes", self.max_crashes, 1)
        check_span("max_seconds", self.max_seconds)
        check_share("min_share", self.min_share)
        check_seconds("hold_seconds", self.hold_seconds)
        if self.max_hold_seconds is not None:
            self._check_longest_hold(self.max_hold_seconds)
        check_choice("then", self.then, _WAYS)
        check_callable("clock", self.clock)

    def _check_longest_hold(self, longest: float) -> None:
        if check_seconds("max_hold_seconds", longest) < self.hold_seconds:
            raise NifArgumentError(
                argument="max_hold_seconds",
                value=longest,
                problem=f"is less than hold_seconds ({self.hold_seconds:g})",
                remedy="Use a longer time, or None for holds that do not grow.",
            )


SEALED_BREAKER = NifBreaker(
    max_crashes=100, max_seconds=60.0, min_share=0.5, hold_seconds=1.0, max_hold_seconds=60.0
)
"""That of sealed workers where none is given.

Inputs of strangers crash a decoder now and then, and a sandbox is there for them: one crash in ten
calls, or a few in a row, must not stop it. Where at least half of all calls crash, a hundred times
in a minute, each costs a process and a line in the log, and nobody is served.
"""
