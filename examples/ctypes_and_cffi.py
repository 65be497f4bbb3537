"""Functions that you have already: of ctypes, of cffi, and of aionif.load, called the same way."""

from __future__ import annotations

import asyncio
import ctypes
import logging
from array import array

import cffi

import aionif


class Division(ctypes.Structure):
    """div_t: what div() returns, by value."""

    _fields_ = (("quotient", ctypes.c_int), ("remainder", ctypes.c_int))


libc = ctypes.CDLL("libc.so.6", use_errno=True)
libc.div.argtypes = [ctypes.c_int, ctypes.c_int]
libc.div.restype = Division
libc.strlen.argtypes = [ctypes.c_void_p]
libc.strlen.restype = ctypes.c_size_t

ffi = cffi.FFI()
ffi.cdef("double hypot(double x, double y);")
libm = ffi.dlopen("libm.so.6")

libz = aionif.load(
    "libz.so.1",
    "unsigned long crc32(unsigned long crc, const unsigned char *data, unsigned int length);",
)


async def main() -> None:
    """Call one function of each, pass a few kinds of buffers, crash one, and go on."""
    division = await aionif.execute_nif(libc.div, 17, 5)
    print(f"ctypes: div(17, 5) = {division.quotient} remainder {division.remainder}")
    print(f"cffi: hypot(3, 4) = {await aionif.execute_nif(libm.hypot, 3.0, 4.0)}")

    for data in (b"aionif", bytearray(b"aionif"), memoryview(b"aionif"), array("B", b"aionif")):
        print(f"load: crc32 of a {type(data).__name__} = {await libz.crc32(0, data, 6):#x}")
    print(f"inline: {aionif.call_nif(libz.crc32, 0, b'aionif', 6):#x}")

    try:
        await aionif.execute_nif(libc.strlen, 0x10)
    except aionif.NifSignal as error:
        print(f"ctypes: strlen(0x10) is {error.signal.name} at {error.address:#x}")
    try:
        await libz.crc32(0, "aionif", 6)
    except aionif.NifArgumentError as error:
        print(f"argument {error.argument}: {error.remedy}")
    print("ctypes again:", await aionif.execute_nif(libc.strlen, b"still here"))


if __name__ == "__main__":
    logging.getLogger("aionif").setLevel(logging.ERROR)  # the log has these failures too
    asyncio.run(main())
