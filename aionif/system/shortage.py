"""What the system would not give, in words: the resource, the limit that was met, the remedy."""

from __future__ import annotations

import errno
import os
import resource
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("explain", "size_text")

_KIB = 1 << 10
_REFUSED = (errno.EPERM, errno.EACCES, errno.ENOSYS)


def explain(error: int, what: str) -> tuple[str, str]:
    """Return a reason and a remedy for an errno; what: what was asked for, or did not work."""
    if error in _REFUSED:
        return (
            f"{what} is refused here: {os.strerror(error)}",
            'A filter or a policy of this system forbids it: allow it, or use isolation="thread".',
        )
    table: dict[int, Callable[[], tuple[str, str]]] = {
        errno.EMFILE: _no_descriptor,
        errno.EAGAIN: _no_task,
        errno.ENOMEM: _no_memory,
        errno.ENFILE: lambda: (
            "the system has no file descriptor left",
            "Close files, or raise fs.file-max.",
        ),
        errno.ETOOMANYREFS: lambda: (
            "too many descriptors of this user are on their way between processes",
            "Raise the limit of descriptors (ulimit -n).",
        ),
    }
    if error in table:
        return table[error]()
    return f"{what} failed: {os.strerror(error)}", "Repair that, then call again."


def _no_descriptor() -> tuple[str, str]:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return (
        f"no file descriptor is free (ulimit -n is {most})",
        "Raise that limit, close files, or lower max_workers: a worker process takes three.",
    )


def _no_task() -> tuple[str, str]:
    most = resource.getrlimit(resource.RLIMIT_NPROC)[0]
    known = "not limited" if most == resource.RLIM_INFINITY else str(most)
    return (
        f"no further process or thread may be started (ulimit -u is {known})",
        "Raise that limit, or the one of the container (pids.max), or lower max_workers.",
    )


def _no_memory() -> tuple[str, str]:
    for limit, flag, what in (
        (resource.RLIMIT_AS, "-v", "address space"),
        (resource.RLIMIT_DATA, "-d", "memory of data"),
    ):
        most = resource.getrlimit(limit)[0]
        if most != resource.RLIM_INFINITY:
            return (
                f"no {what} is left (ulimit {flag} is {size_text(most)})",
                "Raise that limit, or lower max_workers.",
            )
    return (
        "the system gave no memory",
        "Free some, or raise the limits of this process (vm.max_map_count is one).",
    )


def size_text(size: int) -> str:
    """Return a number of bytes as a reader likes it."""
    amount, units = float(size), ["bytes", "KiB", "MiB"]
    while units and amount >= _KIB:
        amount /= _KIB
        del units[0]
    return f"{amount:.1f}".removesuffix(".0") + f" {(*units, 'GiB')[0]}"
