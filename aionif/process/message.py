"""Pickles with their buffers beside them, laid out in memory that two processes share.

    pickle's length, number of buffers | length and writability of each | pickle | buffers

Pickle protocol 5 leaves large buffers (of numpy arrays, bytearrays) out of the stream; they are
written here once, and read once on the other side into memory of its own. So neither side's
objects lie in memory that the other can still write to. Imports nothing of the package, as workers
load it too.
"""

from __future__ import annotations

import io
import os
import pickle
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import BufferedReader

    FindClass = Callable[[str, str], Any]

__all__ = ("Message", "read", "read_file")

_HEAD = struct.Struct("<QQ")
_EACH = struct.Struct("<QQ")
_ALIGNMENT = 64
_LONG = 1 << 16
_AT_ONCE = 1024  # pieces: IOV_MAX


class Message:
    """An object that was pickled, and how many bytes it takes: `size`."""

    def __init__(self, value: Any) -> None:
        buffers: list[pickle.PickleBuffer] = []
        pieces = (_pickle_long if _is_long(value) else _pickle)(value, buffers.append)
        length = sum(map(len, pieces))
        self.size = _HEAD.size + length
        if not buffers:
            self._pieces: list[bytes | memoryview] = [_HEAD.pack(length, 0), *pieces]
            return
        views = [buffer.raw() for buffer in buffers]
        self._pieces = [_HEAD.pack(length, len(views))]
        self._pieces += [_EACH.pack(view.nbytes, not view.readonly) for view in views]
        self._pieces += pieces
        self.size += _EACH.size * len(views)
        for view in views:
            gap = -self.size % _ALIGNMENT
            self._pieces += (bytes(gap), view)
            self.size += gap + view.nbytes

    def write(self, memory: Any) -> None:
        """Write it to the start of a writable buffer."""
        memory[: self.size] = b"".join(self._pieces)

    def write_file(self, descriptor: int) -> None:
        """Write it to the start of a file. Of new memory no page is mapped here, nor cleared."""
        pieces = [memoryview(piece) for piece in self._pieces if len(piece)]
        at = 0
        while pieces:
            written = os.pwritev(descriptor, pieces[:_AT_ONCE], at)
            at += written
            while pieces and written >= len(pieces[0]):
                written -= len(pieces.pop(0))
            if written:
                pieces[0] = pieces[0][written:]


def _pickle(value: Any, take_buffer: Callable[[pickle.PickleBuffer], Any]) -> list[bytes]:
    return [pickle.dumps(value, 5, buffer_callback=take_buffer)]


def _pickle_long(value: Any, take_buffer: Callable[[pickle.PickleBuffer], Any]) -> list[bytes]:
    """Slower, but what is long is not copied: a pickler writes it to its file as it is."""
    pieces = _Pieces()
    pickle.Pickler(pieces, 5, buffer_callback=take_buffer).dump(value)
    return pieces


class _Pieces(list[bytes]):
    write = list.append


def _is_long(value: Any) -> bool:
    kind = type(value)
    if kind is bytes or kind is str:
        return len(value) >= _LONG
    return kind is tuple and any(map(_is_long, value))


def read(memory: Any, find_class: FindClass | None = None) -> Any:
    """Return the object in memory that nobody writes to meanwhile; nothing of it stays there.

    find_class: as that of an unpickler; where it returns None, the unpickler's own is asked.

    Raises:
        ValueError: the lengths are those of no message. Also whatever unpickling raises.
    """
    start, length, places = _layout(memory, len(memory))
    view = memoryview(memory)
    stream = view[start : start + length]
    buffers = [
        (bytearray if writable else bytes)(view[at : at + size]) for at, size, writable in places
    ]
    if find_class is None:
        return pickle.loads(stream, buffers=buffers)  # noqa: S301 - from our own worker, or parent
    return _load(io.BytesIO(stream), buffers, find_class)


def read_file(file: BufferedReader, size: int, find_class: FindClass) -> Any:
    """Return the object in the first `size` bytes of a file, which may change or end meanwhile.

    Long strings of bytes are read to where they stay. Raises as `read` does.
    """
    file.seek(0)
    head = file.read(_HEAD.size)
    _, count = _HEAD.unpack(head)
    start, _, places = _layout(head + file.read(min(count * _EACH.size, size)), size)
    buffers = [_read_buffer(file, *place) for place in places]
    file.seek(start)
    return _load(file, buffers, find_class)


def _layout(memory: Any, size: int) -> tuple[int, int, list[tuple[int, int, int]]]:
    """Return where the pickle begins, its length, and the place of each buffer."""
    length, count = _HEAD.unpack_from(memory, 0)
    start = _HEAD.size + count * _EACH.size
    if start > size:
        raise ValueError("a message with more buffers than it can hold")
    if start + length > size:
        raise ValueError("a message longer than its memory")
    at = start + length
    places = []
    for index in range(count):
        room, writable = _EACH.unpack_from(memory, _HEAD.size + index * _EACH.size)
        at += -at % _ALIGNMENT
        if at + room > size:
            raise ValueError("a buffer longer than its memory")
        places.append((at, room, writable))
        at += room
    return start, length, places


def _read_buffer(file: BufferedReader, at: int, size: int, writable: int) -> bytes | bytearray:
    file.seek(at)
    if writable:
        found: bytes | bytearray = bytearray(size)
        got = file.readinto(found)
    else:
        found = file.read(size)
        got = len(found)
    if got != size:
        raise ValueError("a message that ends early")
    return found


def _load(file: Any, buffers: list[Any], find_class: FindClass) -> Any:
    unpickler = _Unpickler(file, buffers=buffers)
    unpickler.finder = find_class
    return unpickler.load()


class _Unpickler(pickle.Unpickler):
    finder: FindClass

    def find_class(self, module: str, name: str) -> Any:
        found = self.finder(module, name)
        return super().find_class(module, name) if found is None else found
