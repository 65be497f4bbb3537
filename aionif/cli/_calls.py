"""What the demonstration knows of one native call: a row of its table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

__all__ = ("Row", "Show")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One call, or one piece of work made of several.

    what: what happened, in words. error: class name of the exception; None if none was raised.
    seconds: until the task knew; None where nothing was called.
    problem: what should have happened instead; empty if it came out as expected.
    """

    call: str
    what: str
    error: str | None = None
    seconds: float | None = None
    problem: str = ""


Show = Callable[[Row], None]
