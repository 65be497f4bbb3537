"""The shortest program that survives a SIGSEGV; then other ways to die, and it still runs."""

from __future__ import annotations

import asyncio
import logging

import aionif
from aionif.testing import kinds, provoke

libc = aionif.load("libc.so.6", "size_t strlen(const char *text);")


async def main() -> None:
    """Read through a bad pointer, then fail in every way that leaves nothing damaged."""
    try:
        await libc.strlen(libc.ffi.cast("char *", 0xBAD))
    except aionif.NifSignal as error:
        print("strlen:", error)

    for kind in (
        "fpe",
        "overflow_recursion",
        "abort",
        "underscore_exit",
        "cxx_std_exception",
        "spin",
    ):
        if kind not in kinds():
            continue  # the C++ part of the gallery is built where there is a C++ compiler
        try:
            await provoke(kind)
        except aionif.NifError as error:
            print(f"{kind}: {type(error).__name__}")

    print("still here, and strlen works:", await libc.strlen(b"hello"))


if __name__ == "__main__":
    logging.getLogger("aionif").setLevel(logging.ERROR)  # the log has these failures too
    asyncio.run(main())
