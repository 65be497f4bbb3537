"""What a scenario is given to measure, and what it gives back."""

from __future__ import annotations

import os
import resource
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from aionif.bench import _tree
from aionif.bench.subjects import Subject, opening
from aionif.bench.workload import UserCall, Work, built_in, call_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

__all__ = ("Case", "Measured", "Meter")


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What one cell found; see `aionif.bench.result.Cell`."""

    seconds: tuple[float, ...] = ()
    latency: dict[int, int] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One subject, and how it is to be measured.

    workers: that it may have. budget: seconds that measuring may take, more or less.
    turns: of `bench_work` that take this machine a microsecond. own: the user's call, if any.
    opened: the subject's `bind`, where several scenarios share one that is open.
    """

    subject: Subject
    workers: int
    budget: float
    turns: float
    own: UserCall | None = None
    opened: Any = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[Any]:
        """Open the subject; gives its `bind`."""
        if self.opened is not None:
            yield self.opened
            return
        async with opening(self.subject)(self.workers) as bind:
            yield bind

    def work(self, microseconds: float) -> Work:
        """Return native work that takes this long on one CPU that is otherwise idle."""
        if not microseconds:
            return built_in("nothing")
        return built_in("work", max(1, round(self.turns * microseconds)))

    def own_work(self) -> Work:
        """Return the user's own call."""
        if self.own is None:
            raise LookupError("this scenario is of a call of the user's own, and there is none")
        return call_of(self.own)


class Meter:
    """CPU seconds of this process and all its workers, from its making on.

    Looking at all processes takes milliseconds of CPU time itself. So this process' own clocks are
    read after the first look, and before the second.
    """

    def __init__(self) -> None:
        self._session = os.getsid(0)
        self._others = _tree.cpu_seconds(self._session, without=os.getpid())
        self._own = _own_seconds()

    def seconds(self) -> float:
        """Return how many there were so far."""
        own = _own_seconds() - self._own
        others = _tree.cpu_seconds(self._session, without=os.getpid()) - self._others
        return max(0.0, own + others)

    def figures(self, calls: int) -> dict[str, float]:
        """Return the figures that every scenario of calls has."""
        return {
            "cpu_seconds_per_call": self.seconds() / calls,
            "pss_bytes": float(_tree.resident(self._session)),
        }


def _own_seconds() -> float:
    """Return the CPU time of this process and of the workers that it has seen die."""
    dead = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + dead.ru_utime + dead.ru_stime
