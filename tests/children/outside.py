"""A program that crashes outside of any native call, with aionif at work in it or without.

    outside.py with|without  never|before|after|reclaimed  CRASH  GALLERY

faulthandler is enabled never, before aionif's first use, after it, or after it and with aionif's
handler in front again when the crash comes.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import faulthandler
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

presence, dumps, crash, gallery = sys.argv[1:]


@contextlib.asynccontextmanager
async def company() -> AsyncIterator[None]:
    """aionif with an executor that runs, where it is to be present."""
    if presence == "without":
        if dumps in ("after", "reclaimed"):
            faulthandler.enable()
        yield
        return
    import aionif

    libc = aionif.load(None, "int usleep(unsigned);")
    async with aionif.NifExecutor() as executor:
        await executor.execute_nif(libc.usleep, 1)
        if dumps in ("after", "reclaimed"):
            faulthandler.enable()
        if dumps == "reclaimed":
            await executor.execute_nif(libc.usleep, 60_000)
        yield


def crash_here() -> None:
    if crash == "python":
        ctypes.string_at(0)
    elif crash == "thread":
        thread = threading.Thread(target=crash_later)
        thread.start()
        thread.join()
    elif crash == "kill":
        os.kill(os.getpid(), signal.SIGSEGV)
        time.sleep(5)
    elif crash == "abort":
        os.abort()
    else:
        getattr(ctypes.CDLL(gallery), f"gallery_{crash}")()


def crash_later() -> None:
    time.sleep(0.1)  # by then the main thread waits in join(), and a dump of it is always the same
    ctypes.string_at(0)


async def main() -> None:
    async with company():
        print("crashing", flush=True)
        crash_here()
    print("alive", flush=True)


if dumps == "before":
    faulthandler.enable()
asyncio.run(main())
