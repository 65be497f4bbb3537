"""A service that decompresses what strangers send, with native zlib, and outlives all of it.

Four requests: a good one, garbage, one whose header lies about its length (the native code reads
past the end of the memory and faults), and one that is far too much work for its deadline. Each
gets an answer; the service goes on. What libz had allocated for a call that was stopped or crashed
is lost: that is the price of not restarting.
"""

from __future__ import annotations

import asyncio
import logging
import random
import zlib
from dataclasses import dataclass

import aionif

MIB = 1 << 20
LIMIT = 4 * MIB
"""Bytes that a client may make us unpack; libz is never given more room than that."""

DEADLINE = 5.0  # seconds
ARCHIVE_DEADLINE = 0.1

libz = aionif.load(
    "libz.so.1",
    """
    int uncompress(unsigned char *to, unsigned long *to_length,
                   const unsigned char *from, unsigned long length);
    int compress2(unsigned char *to, unsigned long *to_length,
                  const unsigned char *from, unsigned long length, int level);
    unsigned long adler32(unsigned long adler, const unsigned char *data, unsigned int length);
    """,
)


@dataclass
class Request:
    """What came over the wire; `length` is what the client says that `body` is long."""

    name: str
    body: bytes
    length: int


async def unpack(request: Request) -> bytes:
    """Decompress a request. The bug: it believes `length`."""
    checksum = await libz.adler32(1, request.body, request.length, timeout=DEADLINE)
    room = libz.ffi.new("unsigned char[]", LIMIT)
    length = libz.ffi.new("unsigned long *", LIMIT)
    status = await libz.uncompress(room, length, request.body, request.length, timeout=DEADLINE)
    if status != 0:
        raise ValueError(f"not zlib data (status {status}, checksum {checksum:#x})")
    return bytes(libz.ffi.buffer(room, length[0]))


async def archive(request: Request) -> bytes:
    """Compress a request as hard as zlib can."""
    bound = len(request.body) + len(request.body) // 1000 + 64
    room, length = libz.ffi.new("unsigned char[]", bound), libz.ffi.new("unsigned long *", bound)
    await libz.compress2(room, length, request.body, request.length, 9, timeout=ARCHIVE_DEADLINE)
    return bytes(libz.ffi.buffer(room, length[0]))


async def serve(request: Request) -> str:
    """Answer one request, whatever the native code makes of it."""
    try:
        if request.name == "too much":
            return f"200 packed to {len(await archive(request))} bytes"
        return f"200 unpacked to {len(await unpack(request))} bytes"
    except ValueError as error:
        return f"400 {error}"
    except aionif.NifTimeout as error:
        return f"503 gave up after {error.timeout} s"
    except aionif.NifCrash as error:
        return f"500 {type(error).__name__}: {error.report.describe()}"


async def main() -> None:
    """Serve all four at once."""
    good = zlib.compress(b"native code, but safe to await. " * 10_000)
    garbage = bytes(range(256)) * 4
    large = random.randbytes(32 * MIB)
    requests = [
        Request("good", good, len(good)),
        Request("garbage", garbage, len(garbage)),
        Request("lies", garbage, 1 << 31),
        Request("too much", large, len(large)),
    ]
    for request, answer in zip(requests, await asyncio.gather(*map(serve, requests)), strict=True):
        print(f"{request.name}: {answer}")
    print(f"good, again: {await serve(requests[0])}")


if __name__ == "__main__":
    logging.getLogger("aionif").setLevel(logging.ERROR)  # the log has these failures too
    asyncio.run(main())
