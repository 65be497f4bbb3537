"""Programs that get signals of Python's own, or look at those of their children.

interrupts.py  interrupted|terminated|dev BACKEND
interrupts.py  inherited with|without GALLERY
"""

from __future__ import annotations

import asyncio
import ctypes
import logging
import signal
import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

COMMAND = b"grep -E '^Sig(Blk|Ign|Cgt)' /proc/self/status"


def inherited(presence: str, path: str) -> None:
    """Print the signal state of a program that a call starts with system()."""
    if presence == "without":
        ctypes.CDLL(path).gallery_run_system(COMMAND)
        return
    import aionif
    from tests.support import load_gallery, run_on

    async def main() -> None:
        await aionif.execute_nif(load_gallery().gallery_run_system, COMMAND)

    run_on("asyncio", main)


def interrupted(backend: str) -> None:
    """The test sends SIGINT during a call."""
    import aionif
    from tests.support import load_gallery, run_on

    async def main() -> None:
        gallery = load_gallery()
        print("calling", flush=True)
        await aionif.execute_nif(gallery.gallery_spin)

    signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
    try:
        run_on(backend, main)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        raise


def terminated(backend: str) -> None:
    """The test sends SIGTERM during a call: its handler runs before the call's end."""
    import aionif
    from tests.support import run_on

    libc = aionif.load(None, "int usleep(unsigned);")
    signal.signal(signal.SIGTERM, lambda number, _frame: print("handled", number, flush=True))

    async def main() -> None:
        print("calling", flush=True)
        print("returned", await aionif.execute_nif(libc.usleep, 500_000), flush=True)

    run_on(backend, main)


def dev(backend: str) -> None:
    """Executors, crashes, timeouts and a fork's worth of threads; nothing may be warned of."""
    import aionif
    from tests.support import load_gallery, run_on

    logging.getLogger("aionif").addHandler(logging.NullHandler())
    logging.getLogger("aionif").propagate = False

    async def fail(function: Any, timeout: float | None = None) -> None:
        try:
            await aionif.execute_nif(function, timeout=timeout)
        except aionif.NifError as error:
            print(type(error).__name__, flush=True)

    async def main() -> None:
        if backend != "trio":  # on a busy machine any turn of the loop may be slow
            asyncio.get_running_loop().slow_callback_duration = 60
        gallery = load_gallery()
        async with aionif.NifExecutor() as executor, executor.session() as session:
            print(await session.execute_nif(gallery.gallery_add, 2, 3), flush=True)
        await fail(gallery.gallery_segv_write)
        await fail(gallery.gallery_abort)
        await fail(gallery.gallery_spin, timeout=0.05)
        await fail(gallery.gallery_underscore_exit)

    for _ in range(2):
        run_on(backend, main)


COMMANDS: dict[str, Callable[..., None]] = {
    "inherited": inherited,
    "interrupted": interrupted,
    "terminated": terminated,
    "dev": dev,
}
command, *arguments = sys.argv[1:]
COMMANDS[command](*arguments)
