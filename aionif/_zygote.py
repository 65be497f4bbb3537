"""Starting the zygote: one for the process, at the first use of the process tier, until the end.

It is started by exec, so it holds nothing of this process: no thread's lock, no socket, no secret
beyond the environment. It is a process group of its own, as Ctrl-C is meant for this process.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import socket
import sys
import threading
from contextlib import suppress
from pathlib import Path

from aionif import _native
from aionif._native import lib
from aionif.errors import NifRejected

__all__ = ("ensure", "restart")

_FIRST, _LAST = 0x1000_0000_0000, 0x4000_0000_0000  # nothing is mapped there by default
_SIZES = (1 << 40, 1 << 36, 1 << 33)  # of the window; less where `ulimit -v` forbids more
_ATTEMPTS = 16


class _Zygote:
    """The one of this process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.pid: int | None = None


_zygote = _Zygote()


def ensure() -> None:
    """Start the zygote unless there is one.

    Raises:
        NifRejected: it can't be started.
    """
    if lib.aionif_zygote_lost():
        with _zygote.lock:
            if lib.aionif_zygote_lost():
                _start()


def restart() -> None:
    """Start another one after the first was lost."""
    ensure()


def _start() -> None:
    if not sys.executable:
        raise NifRejected(
            reason="sys.executable is not set, so no worker process can be started",
            remedy="Set sys.executable to a Python interpreter.",
        )
    _reap()
    window = _window()
    catalog = lib.aionif_catalog_open()
    if catalog < 0:
        raise NifRejected(reason="no memory for worker processes")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        _zygote.pid = _spawn(window, theirs.fileno(), catalog)
    except OSError as problem:
        ours.close()
        raise NifRejected(reason=f"the zygote could not be started: {problem}") from problem
    finally:
        theirs.close()
        os.close(catalog)
    lib.aionif_zygote_use(ours.detach())


def _window() -> int:
    """Reserve the addresses that workers and this process use alike."""
    window = int(lib.aionif_window(0, 0))
    choice = random.SystemRandom()
    for size in _SIZES:
        for _ in range(_ATTEMPTS):
            if not window:
                address = choice.randrange(_FIRST, _LAST - size, 1 << 30)
                window = int(lib.aionif_window(address, size))
    if not window or not lib.aionif_arena():
        raise NifRejected(
            reason="no addresses are free for worker processes",
            remedy="Raise the limit of address space (ulimit -v).",
        )
    return window


def _spawn(window: int, connection: int, catalog: int) -> int:
    # Above the numbers they are moved to: one must not overwrite the other.
    high = [_high_duplicate(descriptor) for descriptor in (connection, catalog)]
    arguments = [
        sys.executable,
        "-I",
        str(Path(__file__).with_name("_child.py")),
        _native.CORE_FILE,
        str(window),
        str(lib.aionif_window_size()),
        json.dumps(sys.path),
    ]
    try:
        return os.posix_spawn(
            sys.executable,
            arguments,
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_DUP2, high[0], 3),
                (os.POSIX_SPAWN_DUP2, high[1], 4),
            ],
            setpgroup=0,
            setsigmask=(),
        )
    finally:
        for descriptor in high:
            os.close(descriptor)


def _high_duplicate(descriptor: int) -> int:
    """Return a duplicate with a number above those that the zygote's descriptors get."""
    return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)


def _reap() -> None:
    """Wait for one that is dead."""
    if _zygote.pid is not None:
        with suppress(ChildProcessError):  # someone else has waited for it
            os.waitpid(_zygote.pid, 0)
        _zygote.pid = None


def _after_fork_in_child() -> None:
    _zygote.pid = None
    _zygote.lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork_in_child)
