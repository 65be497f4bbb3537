"""Unpack untrusted images with the system's zlib, in worker processes that can do nothing else.

The decoder gets bytes and gives bytes. Its process can open no file and no socket, has 256 MiB and
half a second of CPU time for an image; whatever an image makes of it, the next one is served.
"""

from __future__ import annotations

import asyncio
import logging
import zlib

import aionif
from aionif import Buffer, NifError, NifExecutor, NifLimits, NifPolicy, NifSyscallDenied, Sandbox

MIB = 1 << 20
POLICY = NifPolicy(
    sandbox=Sandbox.compute(),
    limits=NifLimits(address_space=256 * MIB, cpu_time=0.5),
)
LARGEST = 8 * MIB  # of an image, unpacked

decoder = aionif.load(
    "libz.so.1",
    """
    int uncompress(unsigned char *to, unsigned long *length,
                   const unsigned char *from, unsigned long size);
    """,
)
libc = aionif.load(None, "int system(const char *command); int socket(int, int, int);")


async def unpack(executor: NifExecutor, packed: bytes) -> str:
    """Unpack one image into memory that is shared with the worker, and say what came of it."""
    length = decoder.ffi.new("unsigned long *", LARGEST)
    with Buffer(LARGEST) as pixels:
        try:
            answer = await executor.execute_nif(
                decoder.uncompress, pixels, length, packed, len(packed), timeout=2
            )
        except NifError as error:
            return f"{type(error).__name__}: {str(error).partition(': ')[2].splitlines()[0]}"
        return f"{length[0]} bytes" if answer == 0 else f"no image ({answer})"


async def main() -> None:
    """Unpack good and bad images, then be the exploit that took the decoder over."""
    images = {
        "good": zlib.compress(bytes(3 * MIB)),
        "garbage": b"GIF89a, says its name",
        "cut short": zlib.compress(bytes(3 * MIB))[:-100],
        "a bomb": zlib.compress(bytes(100 * MIB)),
        "good, again": zlib.compress(bytes(2 * MIB)),
    }
    async with NifExecutor(isolation="process", max_workers=2, policy=POLICY) as executor:
        for name, packed in images.items():
            print(f"{name}: {await unpack(executor, packed)}")
        try:
            await executor.execute_nif(libc.socket, 2, 1, 0)
        except NifSyscallDenied as denied:
            print(f"the exploit phones home: {denied.name} is denied")
        print("the exploit starts a shell:", await executor.execute_nif(libc.system, b"id") >> 8)
        print("missing from the sandbox:", executor.statistics().unsealed or "nothing")


if __name__ == "__main__":
    logging.disable()  # what is denied is logged, too
    asyncio.run(main())
