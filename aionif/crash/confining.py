"""How tools that look into libraries are started: sealed, by means that stand above this room.

They put themselves in here (`aionif/sealing/confine.py`), so that symbols are looked up without
knowing of seals.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

__all__ = ("Confined", "Confiner", "as_it_is", "confine")


class Confined(NamedTuple):
    """What a command is to begin with, and the descriptors that go along."""

    prefix: tuple[str, ...] = ()
    descriptors: tuple[int, ...] = ()


Confiner = Callable[[str, str], AbstractContextManager[Confined]]


def as_it_is(_tool: str, _module: str) -> AbstractContextManager[Confined]:
    """Return how to start a tool with the rights of this process."""
    return nullcontext(Confined())


confine: Confiner = as_it_is
"""Returns how to start a tool, an executable's path, that is to look into a module."""
