"""`Buffer`: memory that calls in worker processes use without a copy."""

from __future__ import annotations

import os
import threading
from bisect import bisect_right, insort
from typing import Any, Self

from aionif import _zygote
from aionif._native import ffi, lib
from aionif.errors import NifArgumentError, NifClosed, NifRejected

__all__ = ("Buffer", "find")

_PAGE = os.sysconf("SC_PAGESIZE")
_SMALLEST = 1 << 16  # address space is plenty; classes of sizes keep it from falling to pieces

_lock = threading.Lock()
_numbers: list[int] = list(reversed(range(lib.AIONIF_BUFFERS)))
_addresses: dict[int, list[int]] = {}  # free ranges of the window, by size
_top = 0  # of the window that was used so far
_live: list[tuple[int, int, int]] = []  # address, size, number; by address


class Buffer:
    """Memory that this process and worker processes share, under the same address.

    size: bytes. readonly: workers can't write to it; this process can.

    `view()` is its memory as a memoryview, for `numpy.frombuffer` and the like; from Python 3.12
    on, the buffer itself has the buffer protocol. The buffer, and any view of it, is passed for any
    pointer argument. Its pages belong to nobody else and
    start as zeros. Each worker maps it with the first call that uses it, and keeps it mapped as
    long as it lives; memory is given back when the buffer is closed, or when nothing refers
    to it or its views any more.

    A worker that has had a call with a writable buffer may write to it at any later time too.

    Raises:
        NifArgumentError: size is not a positive number.
        NifRejected: there is no memory, or too many buffers are open.
    """

    def __init__(self, size: int, *, readonly: bool = False) -> None:
        given: object = size
        if not isinstance(given, int) or isinstance(given, bool) or given <= 0:
            raise NifArgumentError(
                argument="size",
                value=size,
                problem="is out of range",
                remedy="Use a positive number of bytes.",
            )
        _zygote.ensure()
        self._memory = _Memory(size)
        self.size = size
        self.readonly = readonly
        _readonly[self._memory.number] = readonly

    @property
    def address(self) -> int:
        """Where it is, here and in workers."""
        return self._memory.address

    @property
    def _descriptor(self) -> int:
        """Of the memory as a file."""
        return int(lib.aionif_buffer_descriptor(self._memory.number))

    def __buffer__(self, flags: int, /) -> memoryview:
        return memoryview(self._memory.view)

    def __len__(self) -> int:
        return self.size

    def view(self) -> memoryview:
        """Return its memory as bytes. The buffer lives as long as any view of it.

        Raises:
            NifClosed: it is closed.
        """
        if self._memory is None:
            raise NifClosed(resource="buffer")
        return memoryview(self._memory.view)

    def fill(self, data: Any) -> None:
        """Copy an object with the buffer protocol to the start of the memory.

        Faster than through a view while the memory is new: its pages are not mapped one by one.

        Raises:
            NifArgumentError: the data is larger than the buffer.
        """
        source = memoryview(data).cast("B")
        if source.nbytes > self.size:
            raise NifArgumentError(
                argument="data",
                value=source.nbytes,
                problem="is larger than the buffer",
                remedy=f"Pass at most {self.size} bytes.",
            )
        descriptor, at = self._descriptor, 0
        while at < source.nbytes:
            at += os.pwrite(descriptor, source[at:], at)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the memory; views of it keep it."""
        self._memory = None  # type: ignore[assignment]


_readonly: dict[int, bool] = {}


class _Memory:
    """The mapping itself; ends when the last view does."""

    def __init__(self, size: int) -> None:
        room = max(_SMALLEST, 1 << (size - 1).bit_length())
        with _lock:
            if not _numbers:
                raise NifRejected(
                    reason=f"{lib.AIONIF_BUFFERS} buffers are open",
                    remedy="Close some, or put several arrays into one.",
                )
            self.number = _numbers.pop()
            self.address = _take_range(room)
        self.room = room
        error = lib.aionif_buffer_open(self.number, self.address, -(-size // _PAGE) * _PAGE)
        if error:
            with _lock:
                _give_back(self)
            raise NifRejected(reason=f"no memory for a buffer: {os.strerror(error)}")
        with _lock:
            insort(_live, (self.address, size, self.number))
        self.size = size
        # ffi.gc, so that a view alone keeps it: what cffi hands out refers to the owner.
        start = ffi.gc(ffi.cast("char *", self.address), _closer(self))
        self.view = ffi.buffer(start, size)


def _closer(memory: _Memory) -> Any:
    number, address, size, room = memory.number, memory.address, memory.size, memory.room

    def close(_: Any) -> None:
        with _lock:
            _live.remove((address, size, number))
        lib.aionif_buffer_close(number)
        with _lock:
            _addresses.setdefault(room, []).append(address)
            _numbers.append(number)

    return close


def _give_back(memory: _Memory) -> None:
    _addresses.setdefault(memory.room, []).append(memory.address)
    _numbers.append(memory.number)


def _take_range(room: int) -> int:
    global _top  # noqa: PLW0603 - under the lock
    free = _addresses.get(room)
    if free:
        return free.pop()
    if not _top:
        start = int(lib.aionif_arena()) + lib.AIONIF_BLOCKS * lib.AIONIF_BLOCK
        _top = -(-start // _SMALLEST) * _SMALLEST
    address = _top
    if address + room > int(lib.aionif_window(0, 0)) + int(lib.aionif_window_size()):
        raise NifRejected(reason="no addresses are left for buffers")
    _top += room
    return address


def find(address: int, size: int) -> tuple[int, bool] | None:
    """Return the number of the buffer that holds this memory, and whether workers may write."""
    index = bisect_right(_live, (address, 1 << 62, 0)) - 1
    if index < 0:
        return None
    start, length, number = _live[index]
    if address < start or address + size > start + length:
        return None
    return number, not _readonly.get(number, False)
