"""What a sandbox denies, one operation after another, each tried in a sealed worker process."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
from typing import Any

from aionif import NifError, NifExecutor, NifLimits, NifPolicy, NifSyscallDenied, Sandbox

MIB = 1 << 20
POLICY = NifPolicy(
    sandbox=Sandbox.compute(), limits=NifLimits(address_space=1024 * MIB, cpu_time=0.5)
)

libc = ctypes.CDLL(None)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
READ_WRITE_EXECUTE, PRIVATE_ANONYMOUS = 7, 0x22


CALLS = {
    "compute": (pow, 3, 7),
    "open a file": (open, "/etc/passwd"),
    "open a socket": (libc.socket, 2, 1, 0),
    "start a program": (libc.execve, b"/bin/true", None, None),
    "trace the parent": (libc.ptrace, 16, os.getpid(), None, None),
    "fork": (os.fork,),
    "kill the parent": (os.kill, os.getpid(), 9),
    "map code": (libc.mmap, None, 4096, READ_WRITE_EXECUTE, PRIVATE_ANONYMOUS, -1, 0),
    "hog memory": (bytearray, 4096 * MIB),
    "hog the CPU": (sum, range(1 << 40)),
}


async def outcome(executor: NifExecutor, function: Any, *arguments: object) -> str:
    """Try one operation and say what came of it."""
    try:
        return f"returned {await executor.execute_nif(function, *arguments)}"
    except NifSyscallDenied as error:
        return f"denied: system call {error.name}"
    except NifError as error:
        return str(error).partition(": ")[2].splitlines()[0]
    except OSError as error:
        return f"failed: {error.strerror}"


async def main() -> None:
    """Try everything. Whatever comes of it, the next one finds a worker ready."""
    print(POLICY.sandbox)
    async with NifExecutor(isolation="process", policy=POLICY) as executor:
        for operation, call in CALLS.items():
            print(f"  {operation:18} {await outcome(executor, *call)}")
        print(f"  {'compute again':18} {await outcome(executor, pow, 3, 7)}")


if __name__ == "__main__":
    logging.disable()  # what is denied is logged, too
    asyncio.run(main())
