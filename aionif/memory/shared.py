"""Memory that this process and worker processes have at the same address: files in the window.

A range of addresses that is given back is taken again for the next file of its size. What calls
copy their arguments to may stay warm: the next call of the same executor finds pages that the
kernel need not make, in a file that workers have mapped. A worker could so look at what a call of
another worker was passed, so calls in a sandbox have none of it.
"""

from __future__ import annotations

import errno
import os
import threading
from bisect import bisect_right, insort
from typing import TYPE_CHECKING, Any, NamedTuple
from weakref import finalize

from aionif.core.native import ffi, lib
from aionif.errors import NifRejected
from aionif.memory import window
from aionif.memory.arena import is_in_line
from aionif.system.shortage import explain, size_text

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Memory", "Warm", "find")

_PAGE = os.sysconf("SC_PAGESIZE")
_SMALLEST = 1 << 16  # address space is plenty; classes of sizes keep it from falling to pieces
_MOST_WARM = 32 << 20  # bytes of one executor
_MOST_FILES = 16

# The garbage collector may run at any moment, and end another memory's life there.
_lock = threading.RLock()
_moving = threading.Lock()  # one of them at a time
_numbers: list[int] = list(reversed(range(lib.AIONIF_BUFFERS)))
_addresses: dict[int, list[int]] = {}  # free ranges of the window, by size
_top = 0  # of the window that was used so far
_live: list[tuple[int, int, int, bool]] = []  # address, size, number, writable; by address


class _File(NamedTuple):
    """A file and its range. length: bytes. room: of the range, the power of two above."""

    number: int
    address: int
    length: int
    room: int


def _reserve_addresses() -> None:
    try:
        window.reserve()
    except OSError as problem:
        reason, remedy = explain(problem.errno or 0, problem.strerror or "")
        raise NifRejected(reason=reason, remedy=remedy) from problem


class Memory:
    """A file in use; it ends with the last view.

    size: bytes; writable: by workers, too. The memory starts as zeros unless it is `warm`.

    Raises:
        NifRejected: there is no memory, or too many files are open.
    """

    def __init__(self, size: int, *, writable: bool, warm: Warm | None = None) -> None:
        _reserve_addresses()
        file = (warm and warm.take(size)) or _open(size, writable=writable)
        self.number, self.address, self.size = file.number, file.address, size
        with _lock:
            insort(_live, (file.address, size, file.number, writable))
        # ffi.gc, so that a view alone keeps it: what cffi hands out refers to the owner.
        start = ffi.gc(ffi.cast("char *", file.address), _ender(file, size, writable, warm))
        self.view = ffi.buffer(start, size)

    @property
    def descriptor(self) -> int:
        """Of the file."""
        return int(lib.aionif_buffer_descriptor(self.number))

    def fill(self, data: Any) -> None:
        """Copy an object with the buffer protocol to its start; no page is mapped here for it."""
        source = memoryview(data).cast("B")
        self.write(
            lambda file: _write_all(file, source),
            lambda view: view.__setitem__(slice(source.nbytes), source),
        )

    def write(self, to_file: Callable[[int], None], to_view: Callable[[Any], None]) -> None:
        """Write by the file, which is faster, or by the mapping, where the file is sealed."""
        try:
            to_file(self.descriptor)
        except PermissionError:
            to_view(self.view)

    def revoke(self) -> None:
        """Take it back from all workers: go on in another file, at the same address.

        Raises:
            NifRejected: a call that was passed it has not ended, or the system lacks something.
        """
        with _moving:
            waits = is_in_line(self.number)
            error = errno.EBUSY if waits else lib.aionif_buffer_revoke(self.number)
        if error == errno.EBUSY:
            raise NifRejected(
                reason="a call that was passed the buffer has not ended",
                remedy="Await that call, or cancel it, and then revoke the buffer.",
            )
        if error:
            reason, remedy = explain(error, "memory for a buffer")
            raise NifRejected(reason=f"a buffer could not be moved: {reason}", remedy=remedy)


class Warm:
    """Files that calls of one executor have let go of, for its next calls."""

    def __init__(self) -> None:
        self._files: list[_File] = []  # the one that was used last is the last
        self._is_open = True
        finalize(self, _close_all, self._files)

    def take(self, size: int) -> _File | None:
        """Return a file that fits, without much waste; None: there is none."""
        with _lock:
            for index in reversed(range(len(self._files))):
                if size <= self._files[index].length <= 4 * size + _SMALLEST:
                    return self._files.pop(index)
        return None

    def keep(self, file: _File) -> None:
        """Keep a file that nobody uses any more, and close those that are then too many."""
        with _lock:
            self._files.append(file)
            while self._files and self._is_too_much():
                _close(self._files.pop(0))

    def _is_too_much(self) -> bool:
        return (
            not self._is_open
            or len(self._files) > _MOST_FILES
            or sum(file.length for file in self._files) > _MOST_WARM
        )

    def close(self) -> None:
        """Keep nothing from now on."""
        with _lock:
            self._is_open = False
            self.forget()

    def forget(self) -> None:
        """Close what is kept. In the child of a fork it is in use elsewhere, by the parent."""
        _close_all(self._files)


def find(address: int, size: int) -> tuple[int, bool] | None:
    """Return the number of the file that holds this memory, and whether workers may write."""
    index = bisect_right(_live, (address, 1 << 62, 0, False)) - 1
    if index < 0:
        return None
    start, length, number, writable = _live[index]
    if address < start or address + size > start + length:
        return None
    return number, writable


def _ender(file: _File, size: int, writable: bool, warm: Warm | None) -> Any:  # noqa: FBT001
    def end(_: Any) -> None:
        with _lock:
            _live.remove((file.address, size, file.number, writable))
        if warm is None:
            _close(file)
        else:
            warm.keep(file)

    return end


# ---- files ----


def _write_all(descriptor: int, source: memoryview) -> None:
    at = 0
    while at < source.nbytes:
        at += os.pwrite(descriptor, source[at:], at)


def _open(size: int, *, writable: bool) -> _File:
    room = max(_SMALLEST, 1 << (size - 1).bit_length())
    with _lock:
        if not _numbers:
            raise NifRejected(
                reason=f"{lib.AIONIF_BUFFERS} buffers are open",
                remedy="Close some, or put several arrays into one.",
            )
        address = _take_range(room)
        file = _File(_numbers.pop(), address, -(-size // _PAGE) * _PAGE, room)
    error = lib.aionif_buffer_open(file.number, file.address, file.length, writable)
    if error:
        _give_back(file)
        reason, remedy = explain(error, "memory for a buffer")
        raise NifRejected(reason=f"a buffer could not be made: {reason}", remedy=remedy)
    return file


def _close(file: _File) -> None:
    lib.aionif_buffer_close(file.number)
    _give_back(file)


def _close_all(files: list[_File]) -> None:
    while files:
        _close(files.pop())


def _give_back(file: _File) -> None:
    with _lock:
        _addresses.setdefault(file.room, []).append(file.address)
        _numbers.append(file.number)


def _take_range(room: int) -> int:
    global _top  # noqa: PLW0603 - under the lock
    free = _addresses.get(room)
    if free:
        return free.pop()
    if not _top:
        start = int(lib.aionif_arena(0)) + lib.aionif_arena_blocks() * lib.AIONIF_BLOCK
        _top = -(-start // _SMALLEST) * _SMALLEST
    address = _top
    if address + room > int(lib.aionif_window(0, 0)) + int(lib.aionif_window_size()):
        raise NifRejected(
            reason=f"no addresses are left for a buffer of {size_text(room)}: all have "
            f"{size_text(int(lib.aionif_window_size()))}, a quarter of what ulimit -v allowed",
            remedy="Raise ulimit -v before worker processes are first used, or close buffers.",
        )
    _top += room
    return address


def _after_fork_in_child() -> None:
    global _lock, _moving  # noqa: PLW0603 - a thread that is gone may have held them
    _lock = threading.RLock()
    _moving = threading.Lock()


os.register_at_fork(after_in_child=_after_fork_in_child, after_in_parent=lib.aionif_buffers_forked)
