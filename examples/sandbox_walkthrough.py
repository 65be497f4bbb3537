"""What a sandbox denies, one operation after another, each in a child process that seals itself."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import subprocess
import sys
import time

from aionif import Limits, NifCrash, NifSyscallDenied, Sandbox, call_nif, seal_process

MIB = 1 << 20
POLICY = Sandbox.compute(limits=Limits(address_space=1024 * MIB, cpu_seconds=1))

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
libc.malloc.restype = ctypes.c_void_p
libc.malloc.argtypes = [ctypes.c_size_t]
READ_WRITE_EXECUTE, PRIVATE_ANONYMOUS = 7, 0x22

CALLS = {
    "open a file": (libc.open, b"/etc/passwd", 0),
    "open a socket": (libc.socket, 2, 1, 0),
    "start a program": (libc.execve, b"/bin/true", None, None),
    "trace the parent": (libc.ptrace, 16, os.getppid(), None, None),
    "fork": (libc.fork,),
    "kill the parent": (libc.kill, os.getppid(), 0),
    "map code": (libc.mmap, None, 4096, READ_WRITE_EXECUTE, PRIVATE_ANONYMOUS, -1, 0),
    "hog memory": (libc.malloc, 4096 * MIB),
}


def spin() -> None:
    """Use up the CPU time that the policy allows, and die of it."""
    while True:
        time.monotonic()


def attempt(operation: str) -> None:
    """Seal this process and try one operation."""
    call_nif(libc.abs, -1)  # what calls and reports of denials need is loaded before
    seal_process(POLICY)
    if operation == "hog the CPU":
        spin()
    function, *arguments = CALLS[operation]
    ctypes.set_errno(0)
    try:
        call_nif(function, *arguments)
    except NifSyscallDenied as error:
        print(f"denied: system call {error.name}")
    except NifCrash as error:
        print(error)
    else:
        number = ctypes.get_errno()
        print(f"failed: {errno.errorcode[number]}" if number else "went through")


def main() -> None:
    """Try everything, each in a process of its own."""
    print(POLICY)
    for operation in (*CALLS, "hog the CPU"):
        child = subprocess.run(
            [sys.executable, __file__, operation],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # the log of denials
            text=True,
            check=False,
        )
        killed = f"killed: {signal.Signals(-child.returncode).name}" if child.returncode else ""
        print(f"  {operation:18} {child.stdout.strip() or killed}")


if __name__ == "__main__":
    if sys.argv[1:]:
        attempt(sys.argv[1])
    else:
        main()
