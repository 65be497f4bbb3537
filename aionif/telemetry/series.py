"""Counts by function: what became of calls, how long they ran, how long they waited.

The core counts under the lock that it holds at a call's end anyway (csrc/lanes/series.h); here the
counts are read, and added up over the pools of an executor. A pool's counts outlive it, since a
total that is exported must never go down: they are kept by the executor's name, and so is the
number of names bounded: past MOST_FUNCTIONS, further functions are counted together.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from dataclasses import dataclass
from itertools import accumulate
from signal import Signals
from typing import TYPE_CHECKING, Any

from aionif.core.native import ffi, lib
from aionif.errors import NifError, NifExit, NifPanic, NifRejected, NifSignal, NifTimeout

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = (
    "BOUNDS",
    "BREAKER_STATES",
    "FATES",
    "MOST_FUNCTIONS",
    "OTHER",
    "RESTARTS",
    "FunctionStatistics",
    "Histogram",
    "Key",
    "Series",
    "Tally",
)

MOST_FUNCTIONS = 256
OTHER = "(other)"
_UNNAMED = "(unnamed)"

FATES = (
    "returned",
    "crashed",
    "panicked",
    "exited",
    "lost",
    "timed_out",
    "cancelled",
    "dropped",
    "rejected",
    "raised",
)
_CRASHED = ("crashed", "panicked", "exited", "lost")
_RAN = ("returned", "raised", "timed_out", "cancelled", *_CRASHED)
BREAKER_STATES = ("closed", "open", "half_open")
RESTARTS = (
    "retired",
    "abandoned",
    "ended",
    "crashed",
    "stopped",
    "limit",
    "max_calls",
    "misbehaved",
)
_BUCKETS = lib.AIONIF_BUCKETS
_SECONDS = 1e-9


def _bounds() -> tuple[float, ...]:
    """Return the upper bounds of all buckets but the last, in seconds."""
    first = 7  # octaves begin at 2**7 ns
    quarters = ((first + index // 4, index % 4 + 1) for index in range(_BUCKETS - 2))
    return (
        (1 << first) * _SECONDS,
        *(((1 << octave) + (quarter << octave - 2)) * _SECONDS for octave, quarter in quarters),
    )


@dataclass(frozen=True, slots=True)
class Histogram:
    """How many durations fell into each bucket.

    buckets: counts; `bounds()` has where each one ends, in seconds, but for the last, which has no
        end. Four buckets to a factor of two.
    sum: of all durations, in seconds.
    """

    buckets: tuple[int, ...] = (0,) * _BUCKETS
    sum: float = 0.0

    @property
    def count(self) -> int:
        """How many durations there are."""
        return sum(self.buckets)

    @staticmethod
    def bounds() -> tuple[float, ...]:
        """Return the upper bounds of the buckets, in seconds; the last bucket has none."""
        return BOUNDS

    def quantile(self, part: float) -> float | None:
        """Return a duration, in seconds, that `part` of all are no longer than (0.5: the median).

        It is the upper bound of a bucket, so at most a quarter too long. None where nothing was
        counted; infinity for what is past the last bound.
        """
        totals = list(accumulate(self.buckets))
        if not totals[-1]:
            return None
        index = bisect_left(totals, max(part * totals[-1], 1))
        return BOUNDS[index] if index < len(BOUNDS) else float("inf")


@dataclass(frozen=True, slots=True, kw_only=True)
class FunctionStatistics:
    """Counts of one function in one executor.

    library: file that it comes from; None where that is not known.
    calls: ended calls by outcome: returned, crashed, panicked, exited, lost (with its worker
        process), timed_out, cancelled, dropped (its executor was closed), rejected (not accepted),
        raised (a Python callable did, or its result could not be sent).
    crashes: crashed calls by signal; "" where there was none.
    queue_timeouts: calls that timed out before they were started.
    duration, queue_wait: of calls that ran: how long, and how long they had waited before.
    """

    function: str
    library: str | None
    calls: Mapping[str, int]
    crashes: Mapping[str, int]
    queue_timeouts: int
    duration: Histogram
    queue_wait: Histogram


class Tally:
    """A sum of the core's series."""

    __slots__ = ("crashes", "fates", "queue", "queue_timeouts", "run", "sums")

    def __init__(self) -> None:
        self.fates = [0] * len(FATES)
        self.queue_timeouts = 0
        self.crashes: Counter[int] = Counter()
        self.run = [0] * _BUCKETS
        self.queue = [0] * _BUCKETS
        self.sums = [0, 0]  # of run and queue, in nanoseconds

    def add(self, pointer: Any) -> None:
        """Add what the core has counted so far."""
        read = ffi.new("struct aionif_series *")
        lib.aionif_series_read(pointer, read)
        other = Tally()
        other.fates = ffi.unpack(read.fates, len(FATES))
        other.queue_timeouts = int(read.queue_timeouts)
        crashes = enumerate(ffi.unpack(read.crashes, lib.AIONIF_SIGNALS))
        other.crashes = Counter({signal: count for signal, count in crashes if count})
        other.run = ffi.unpack(read.run, _BUCKETS)
        other.queue = ffi.unpack(read.queue, _BUCKETS)
        other.sums = [int(read.run_sum_ns), int(read.queue_sum_ns)]
        self.merge(other)

    def merge(self, other: Tally) -> None:
        """Add another one."""
        for name in ("fates", "run", "queue", "sums"):
            pairs = zip(getattr(self, name), getattr(other, name), strict=True)
            setattr(self, name, [mine + theirs for mine, theirs in pairs])
        self.queue_timeouts += other.queue_timeouts
        self.crashes += other.crashes

    def freeze(self, function: str, library: str | None) -> FunctionStatistics:
        """Return it for users."""
        crashes = {Signals(number).name if number else "": n for number, n in self.crashes.items()}
        return FunctionStatistics(
            function=function,
            library=library,
            calls=dict(zip(FATES, self.fates, strict=True)),
            crashes=crashes,
            queue_timeouts=self.queue_timeouts,
            duration=Histogram(tuple(self.run), self.sums[0] * _SECONDS),
            queue_wait=Histogram(tuple(self.queue), self.sums[1] * _SECONDS),
        )


def _fate_of(error: NifError) -> str:
    kinds = {NifPanic: "panicked", NifExit: "exited", NifTimeout: "timed_out"}
    return kinds.get(type(error), "rejected" if isinstance(error, NifRejected) else "crashed")


Key = tuple[str, str | None]  # a function and its library


class Series:
    """The series of one executor: where the core counts, and what its ended pools had counted."""

    def __init__(self) -> None:
        self._of_pools: dict[Any, dict[Key, Any]] = {}
        self._ended: dict[Key, Tally] = {}
        self._known: set[Key] = set()

    def key(self, function: str, library: str | None) -> Key:
        """Return what a function is counted under."""
        key = (_UNNAMED, library) if function.startswith("function at ") else (function, library)
        if key not in self._known and len(self._known) >= MOST_FUNCTIONS:
            key = (OTHER, None)
        self._known.add(key)
        return key

    def find(self, pool: Any, function: str, library: str | None) -> Any:
        """Return where calls of a function in `pool` are counted; NULL if there is no memory."""
        key = self.key(function, library)
        of_pool = self._of_pools.setdefault(pool, {})
        if key not in of_pool:
            series = lib.aionif_series_open(pool)
            if series == ffi.NULL:
                return series
            of_pool[key] = series
        return of_pool[key]

    def ended(self, key: Key) -> tuple[int, int]:
        """Return how many calls of a function have run and ended, and how many of them crashed."""
        tally = Tally()
        tally.merge(self._ended.get(key, Tally()))
        for of_pool in list(self._of_pools.values()):
            if key in of_pool:
                tally.add(of_pool[key])
        fates = dict(zip(FATES, tally.fates, strict=True))
        return sum(fates[name] for name in _RAN), sum(fates[name] for name in _CRASHED)

    def count_failure(self, function: str, library: str | None, error: NifError) -> None:
        """Count an inline call that failed; under the guard of the registry."""
        tally = self._ended.setdefault(self.key(function, library), Tally())
        fate = _fate_of(error)
        tally.fates[FATES.index(fate)] += 1
        if fate == "crashed":
            tally.crashes[error.signal if isinstance(error, NifSignal) else 0] += 1

    def end(self, pool: Any) -> None:
        """Keep what a pool has counted; it is about to be freed."""
        for key, series in self._of_pools.pop(pool, {}).items():
            self._ended.setdefault(key, Tally()).add(series)

    def forget(self) -> None:
        """Drop what belongs to pools that do not exist in this process."""
        self._of_pools.clear()

    def totals(self) -> dict[Key, Tally]:
        """Return the counts of all functions."""
        found: dict[Key, Tally] = {}
        for key, tally in self._ended.items():
            found.setdefault(key, Tally()).merge(tally)
        for of_pool in list(self._of_pools.values()):
            for key, series in list(of_pool.items()):
                found.setdefault(key, Tally()).add(series)
        return found


BOUNDS = _bounds()
