"""A task that wants to run every few milliseconds, and counts how often it could not."""

from __future__ import annotations

import time
from dataclasses import dataclass

import anyio

__all__ = ("Ticker",)


@dataclass
class Ticker:
    """Ticks as long as its task runs.

    period: seconds between two ticks. A tick is late when it comes a whole period after its time.
    count, late: ticks so far. largest_delay: seconds from when a tick was due to when it came.

    Ticks are due at fixed times. One that comes late does not move the next ones, so a pause of
    the loop counts as many late ticks as it is periods long, and not as one.
    """

    period: float
    count: int = 0
    late: int = 0
    largest_delay: float = 0.0

    async def run(self) -> None:
        """Tick until cancelled."""
        due = time.monotonic()
        while True:
            due += self.period
            await anyio.sleep(max(0.0, due - time.monotonic()))
            delay = time.monotonic() - due
            self.count += 1
            self.late += delay >= self.period
            self.largest_delay = max(self.largest_delay, delay)
