"""Making a system poor, in a child process: what it refuses, what it lacks, what is used up."""

from __future__ import annotations

import ctypes
import os
import resource
import struct
from pathlib import Path

from aionif.filters.syscalls import numbers

_ERRNO, _ALLOW = 0x00050000, 0x7FFF0000
_NO_NEW_PRIVS, _SET_FILTER, _ALL_THREADS = 38, 1, 1
_NEW_USER, _NEW_MOUNTS = 0x10000000, 0x00020000
_PRIVATE, _RECURSIVE = 1 << 18, 1 << 14

_libc = ctypes.CDLL(None, use_errno=True)


def limit(name: str, value: int) -> None:
    """Set a soft limit of this process: "NOFILE" and the like."""
    number = getattr(resource, f"RLIMIT_{name}")
    resource.setrlimit(number, (value, resource.getrlimit(number)[1]))


def use_up_descriptors(*, but: int) -> list[int]:
    """Open files until there is room for `but` more; return them."""
    used = []
    while True:
        try:
            used.append(os.open("/", os.O_RDONLY))
        except OSError:
            break
    for _ in range(but):
        os.close(used.pop())
    return used


def refuse(error: int, *names: str) -> None:
    """Have these system calls fail with `error`, in this process and all that it starts."""
    known = numbers("x86_64")
    lines = [(0x20, 0, 0, 0)]  # load the number
    for name in names:
        lines += [(0x15, 0, 1, known[name]), (0x06, 0, 0, _ERRNO | error)]
    lines.append((0x06, 0, 0, _ALLOW))
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *line) for line in lines))
    program = struct.pack("@HP", len(lines), ctypes.addressof(code))
    _check(_libc.prctl(_NO_NEW_PRIVS, 1, 0, 0, 0))
    # In the threads that there are, too: the watchdog starts workers.
    _check(_libc.syscall(known["seccomp"], _SET_FILTER, _ALL_THREADS, program))


def cover(*directories: str) -> None:
    """Have nothing in these directories; needs no privileges where there are user namespaces.

    Raises:
        OSError: this system has none for us.
    """
    user, group = os.getuid(), os.getgid()
    _check(_libc.unshare(_NEW_USER | _NEW_MOUNTS))
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{user} {user} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{group} {group} 1", encoding="ascii")
    _check(_libc.mount(None, b"/", None, _PRIVATE | _RECURSIVE, None))
    for directory in directories:
        _check(_libc.mount(b"none", directory.encode(), b"tmpfs", 0, None))


def _check(answer: int) -> None:
    if answer:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
