"""How many times within how many seconds: of restarts for supervisors, of crashes for breakers."""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

__all__ = ("Window",)

T = TypeVar("T")


class Window(Generic[T]):
    """What happened within the last `seconds`; it slides.

    As OTP's: what happened exactly `seconds` ago is still inside.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._entries: deque[tuple[float, T]] = deque()

    def add(self, at: float, what: T) -> int:
        """Note what happens now; return how many there are. The clock must not go back."""
        self._entries.append((at, what))
        return self.count(at)

    def count(self, now: float) -> int:
        """Forget what is too old; return how many are left."""
        entries = self._entries
        while entries and now > entries[0][0] + self._seconds:
            entries.popleft()
        return len(entries)

    def history(self) -> tuple[T, ...]:
        """Return what happened within the window, oldest first."""
        return tuple(what for _, what in self._entries)

    def drop_oldest(self) -> None:
        """Forget what happened first; there is something."""
        self._entries.popleft()

    def clear(self) -> None:
        """Forget all."""
        self._entries.clear()
