"""The range of addresses that means the same in this process and in its workers."""

from __future__ import annotations

import errno
import random
import resource
import sys
import threading

from aionif.core.native import lib

__all__ = ("reserve",)

_FIRST, _LAST = 0x1000_0000_0000, 0x4000_0000_0000  # Linux maps nothing there by itself
_LARGEST, _SMALLEST = 1 << 40, 1 << 24  # of the window
_ATTEMPTS = 16  # at addresses that are taken
_LEAST_BLOCKS = 64

_lock = threading.Lock()


def reserve() -> int:
    """Return where the window begins; it is reserved at first use, and never given back.

    Where address space is limited, this takes a quarter of it at the most, and calls' memory an
    eighth of that, since it is mapped once for each worker: the limit is the program's, too.

    Raises:
        OSError: no addresses are left.
    """
    with _lock:
        if not lib.aionif_arena(0):
            _reserve()
    return int(lib.aionif_window(0, 0))


def _reserve() -> None:
    allowed = _limit(resource.RLIMIT_AS)
    size = min(_LARGEST, 1 << max((allowed // 4).bit_length() - 1, 0))
    while not lib.aionif_window(0, 0) and size >= _SMALLEST:
        _try(size)
        size //= 2
    size = int(lib.aionif_window_size())
    bytes_of_blocks = min(size // 8, _limit(resource.RLIMIT_DATA) // 16)
    blocks = min(lib.AIONIF_BLOCKS, bytes_of_blocks // lib.AIONIF_BLOCK)
    while size and blocks >= _LEAST_BLOCKS and not lib.aionif_arena(blocks):
        blocks //= 2
    if not size or not lib.aionif_arena(0):
        raise OSError(errno.ENOMEM, "the addresses of worker processes")


def _try(size: int) -> None:
    choice = random.SystemRandom()
    for _ in range(_ATTEMPTS):
        if lib.aionif_window(choice.randrange(_FIRST, _LAST - size, 1 << 30), size):
            return


def _limit(number: int) -> int:
    """Return a limit of this process; far more than there is where there is none."""
    soft = resource.getrlimit(number)[0]
    return sys.maxsize if soft == resource.RLIM_INFINITY else soft
