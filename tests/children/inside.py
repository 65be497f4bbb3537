"""A program whose native calls crash, with faulthandler enabled at some time, or not.

    inside.py  never|before|after|reclaimed  thread|inline  CRASH...

"reclaimed": after aionif's handlers were installed, and with them in front again. Every crash comes
twice. Prints a line for each, and "alive" at the end.
"""

from __future__ import annotations

import asyncio
import faulthandler
import sys

dumps, tier, *crashes = sys.argv[1:]
if dumps == "before":
    faulthandler.enable()

import aionif  # noqa: E402
from tests.support import load_gallery  # noqa: E402


async def main() -> None:
    gallery = load_gallery()
    libc = aionif.load(None, "int usleep(unsigned);")
    async with aionif.NifExecutor(isolation="thread") as executor:
        await executor.execute_nif(libc.usleep, 1)
        if dumps in ("after", "reclaimed"):
            faulthandler.enable()
        if dumps == "reclaimed":
            await executor.execute_nif(libc.usleep, 60_000)
        for crash in crashes * 2:
            function = getattr(gallery, f"gallery_{crash}")
            try:
                if tier == "inline":
                    aionif.call_nif(function)
                else:
                    await executor.execute_nif(function)
            except aionif.NifSignal as error:
                print(crash, error.signal.name, error.address, flush=True)
        print("alive", await executor.execute_nif(gallery.gallery_add, 2, 3), flush=True)


asyncio.run(main())
