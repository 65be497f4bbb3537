"""How many events of one kind are told: the first few in a second, then one a second and a count.

A loop of crashes would spend more time in the log than in the calls. What is not told is counted,
and the count goes with the next event of that kind, or with the next event of any kind once its
second is over, or with whoever flushes: nothing is swallowed.
"""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable

__all__ = ("Throttle",)

_IN_FULL = 5
_PERIOD = 1.0
"""Seconds."""

Fields = dict[str, Any]


class _Held(NamedTuple):
    number: int
    fields: Fields


class _Kind:
    """What is known of one kind of event, since its period began."""

    __slots__ = ("began", "fields", "held", "told")

    def __init__(self, began: float) -> None:
        self.began = began
        self.told = 0
        self.held = 0
        self.fields: Fields = {}


class Throttle:
    """Pass events on to `tell(event, fields)`. Any thread may use it."""

    def __init__(
        self,
        tell: Callable[[str, Fields], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tell = tell
        self._clock = clock
        # An executor's __del__ flushes, and may run while this thread is in here.
        self._lock = threading.RLock()
        self._kinds: dict[tuple[str, Hashable], _Kind] = {}

    def take(self, event: str, about: Hashable, fields: Fields, *, in_full: int = _IN_FULL) -> None:
        """Tell of an event about something, or count it for later.

        in_full: how many are told at first; then one in each period.
        """
        now = self._clock()
        with self._lock:
            due = self._due(now, but=(event, about))
            is_told, held = self._count(now, (event, about), fields, in_full)
        for name, earlier in due:
            self._tell_held(name, earlier)
        if is_told:
            self._tell(event, {**fields, "suppressed": held} if held else fields)

    def flush(self) -> None:
        """Tell of all that has only been counted so far. Periods go on as they were."""
        with self._lock:
            due = []
            for (event, _), kind in list(self._kinds.items()):
                if kind.held:
                    due.append((event, _Held(kind.held, kind.fields)))
                    kind.held = 0
        for event, held in due:
            self._tell_held(event, held)

    def _count(
        self, now: float, key: tuple[str, Hashable], fields: Fields, in_full: int
    ) -> tuple[bool, int]:
        """Return whether to tell of it, and how many were not told before."""
        kind = self._kinds.get(key)
        if kind is None:
            kind = self._kinds[key] = _Kind(now)
        held = 0
        if now - kind.began >= _PERIOD:
            held, kind.held, kind.began = kind.held, 0, now
            kind.told = in_full - 1 if held else 0  # a storm that goes on gets one a period
        if kind.told < in_full:
            kind.told += 1
            return True, held
        kind.held += 1
        kind.fields = fields
        return False, 0

    def _due(self, now: float, but: tuple[str, Hashable]) -> list[tuple[str, _Held]]:
        """Forget the other kinds whose period is over; return those with something to tell."""
        due = []
        for key, kind in list(self._kinds.items()):
            if key != but and now - kind.began >= _PERIOD:
                self._kinds.pop(key, None)
                if kind.held:
                    due.append((key[0], _Held(kind.held, kind.fields)))
        return due

    def _tell_held(self, event: str, held: _Held) -> None:
        self._tell(event, {**held.fields, "suppressed": held.number})
