"""What the programs here do for a request: call libc well, crash it, run past a timeout."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import aionif

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

libc = aionif.load("libc.so.6", "size_t strlen(const char *); int usleep(unsigned);")

WORK: dict[str, Callable[[Callable[..., Awaitable[Any]]], Awaitable[Any]]] = {
    "fine": lambda call: call(libc.strlen, b"fine"),
    "crash": lambda call: call(libc.strlen, libc.ffi.cast("char *", 42)),
    "brief": lambda call: call(libc.usleep, 1_500_000),
    "endless": lambda call: call(libc.usleep, 600_000_000),
    "slow": lambda call: call(libc.usleep, 600_000_000, timeout=0.2),
}


async def answer(executor: aionif.NifExecutor | None, what: str) -> dict[str, Any]:
    """Do `what` on `executor`, or on the loop's own; say how it ended, and in which process."""
    call = aionif.execute_nif if executor is None else executor.execute_nif
    try:
        ended = str(await WORK[what](call))
    except aionif.NifError as error:
        ended = type(error).__name__
    return {"pid": os.getpid(), "ended": ended}
