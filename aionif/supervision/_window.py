"""Restart intensity: how many restarts within how many seconds are too many."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aionif.supervision.errors import RestartRecord

__all__ = ("RestartWindow",)


class RestartWindow:
    """The restarts of the last `max_seconds`; one window for all children of a supervisor.

    As OTP's: a restart exactly `max_seconds` ago is still inside, and intensity N allows N.
    """

    def __init__(self, max_restarts: int, max_seconds: float) -> None:
        self._max_restarts = max_restarts
        self._max_seconds = max_seconds
        self._records: deque[RestartRecord] = deque()

    def add(self, record: RestartRecord) -> bool:
        """Count a restart; False if it is one too many. The clock must not go back."""
        records = self._records
        records.append(record)
        while record.at > records[0].at + self._max_seconds:
            records.popleft()
        return len(records) <= self._max_restarts

    def history(self) -> tuple[RestartRecord, ...]:
        """Return the restarts within the window, oldest first."""
        return tuple(self._records)
