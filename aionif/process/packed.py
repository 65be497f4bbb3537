"""What the ways into another process have in common, for native calls and for Python callables."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - a NamedTuple of it
from typing import Any, NamedTuple

__all__ = ("Packed", "Packing")


class Packing(NamedTuple):
    """How the memory that a call uses gets into another process, and out of it again.

    pack: turns arguments into a Packed tuple of such as mean the same there, or leaves them alone.
    unpack: makes the result of what the call returned, and brings back what it has written. None
        where there is no memory to be passed.
    """

    pack: Callable[[tuple[Any, ...]], tuple[Any, ...]] | None
    unpack: Callable[[Any, tuple[Any, ...], Any], Any] | None
    is_python: bool = False


class Packed(tuple[Any, ...]):  # noqa: SLOT001 - a tuple can have no slots of its own
    """Arguments for another process, with what has to live as long as the call.

    block: of the core's arena, or None. keep: more memory. back: what `unpack` is to know.
    """

    block: Any = None
    keep: Any = None
    back: Any = None
