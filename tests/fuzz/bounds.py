"""What every reader is held to, whatever its input: memory, time, errors that it may raise."""

from __future__ import annotations

import time
import tracemalloc
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("MOST", "FindingError", "bounded", "outcome_of")

MOST = 1 << 18
"""Bytes of memory that a reader is allowed for one value."""

LONGEST = 5.0
"""Seconds of CPU for one input: many times what reading as much takes."""


class FindingError(AssertionError):
    """An input that a reader should have dealt with better."""


def outcome_of(
    read: Callable[[], Any], allowed: tuple[type[BaseException], ...]
) -> tuple[Any, int]:
    """Return the type of the error of reading this, or None; and the most memory that it took."""
    tracemalloc.start()
    try:
        read()
    except allowed as error:
        return type(error), tracemalloc.get_traced_memory()[1]
    else:
        return None, tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def bounded(read: Callable[[], Any], size: int, allowed: tuple[type[BaseException], ...]) -> None:
    """Read an input of so many bytes.

    Raises:
        FindingError: it took too much memory or time. Also whatever is raised and not allowed.
    """
    start = time.process_time()
    _, peak = outcome_of(read, allowed)
    if peak > 4 * MOST + 8 * size:
        raise FindingError(f"took {peak} bytes")
    taken = time.process_time() - start
    if taken > LONGEST:
        raise FindingError(f"took {taken:.1f} s")
