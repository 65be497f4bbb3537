"""What the ways into another process have in common, for native calls and for Python callables."""

from __future__ import annotations

from collections.abc import Callable  # noqa: TC003 - a NamedTuple of it
from typing import Any, NamedTuple

from anyio import CapacityLimiter
from anyio.lowlevel import RunVar
from anyio.to_thread import run_sync

__all__ = ("Later", "Packed", "Packing")

_AT_ONCE = 4  # threads of one event loop: they take turns with each other, and with the loop
_limiter: RunVar[CapacityLimiter] = RunVar("aionif_results")


class Packing(NamedTuple):
    """How the memory that a call uses gets into another process, and out of it again.

    pack: turns arguments into a Packed tuple of such as mean the same there, or leaves them alone.
    unpack: makes the result of what the call returned, and brings back what it has written; or
        returns a Later. None where there is no memory to be passed.
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


class Later:
    """A result that takes too long to be made in the event loop's thread.

    work: makes it. drop: frees what it would have used, if it does not come to that; or None.
    """

    __slots__ = ("_drop", "_work")

    def __init__(self, work: Callable[[], Any], drop: Callable[[], None] | None = None) -> None:
        self._work = work
        self._drop = drop

    def here(self) -> Any:
        """Make it in this thread."""
        return self._work()

    async def elsewhere(self) -> Any:
        """Make it in another thread. Who is cancelled meanwhile goes on at once."""
        try:
            limiter = _limiter.get()
        except LookupError:  # not the program's own limiter, which other work may have used up
            limiter = CapacityLimiter(_AT_ONCE)
            _limiter.set(limiter)
        try:
            return await run_sync(self._work, abandon_on_cancel=True, limiter=limiter)
        finally:
            if self._drop is not None:
                self._drop()
