"""What runs into a limit; the process is sealed already."""

from __future__ import annotations

import errno
import os
import signal
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


def show(what: object) -> None:
    os.write(1, f"{what}\n".encode())


def hog_memory(_: int) -> None:
    try:
        bytearray(512 << 20)
    except MemoryError:
        show("MemoryError")


def open_many(_: int) -> None:
    try:
        while True:
            os.dup(0)
    except OSError as error:
        show(errno.errorcode[error.errno or 0])


def grow(file: int) -> None:
    """Python ignores SIGXFSZ, so that it gets an errno; native programs die of it."""
    show(os.write(file, b"x" * 4096))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    os.write(file, b"x")


ACTS: dict[str, Callable[[int], None]] = {
    "memory": hog_memory,
    "descriptors": open_many,
    "file": grow,
}
