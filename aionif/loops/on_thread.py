"""A port without an event loop: a thread waits at it, and takes from it what has ended."""

from __future__ import annotations

import os
from typing import Any

from aionif.loops.port import Port

__all__ = ("ThreadPort",)


class ThreadPort(Port):
    """A port at no event loop: what has ended is noted, for the thread to settle."""

    is_trio = False

    def __init__(self, driver: object) -> None:
        super().__init__(driver)
        self.ended: list[tuple[Any, int]] = []
        self.processes = -1

    def _listen(self, descriptor: int) -> None:
        self.processes = os.dup(descriptor)

    def wake(self, waiter: Any, kind: int) -> None:
        self.ended.append((waiter, kind))

    def close(self) -> None:
        if self.listens:
            os.close(self.processes)
        super().close()
