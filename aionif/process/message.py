"""Streams with their buffers beside them, laid out in memory that two processes share.

    stream's length, number of buffers | length and writability of each | stream | buffers

The stream is a pickle, or `plain` data. Pickle protocol 5 leaves large buffers (of numpy arrays,
bytearrays) out of it, and so does plain data; they are written here once, and read once on the
other side into memory of its own. So neither side's objects lie in memory that the other can still
write to. Imports nothing of the package, as workers load it too.
"""

from __future__ import annotations

import copyreg
import io
import os
import pickle
import struct
import sys
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable
    from io import BufferedReader

    FindClass = Callable[[str, str], Any]

__all__ = ("Laid", "Message", "load", "read", "read_file", "split", "split_file", "stream_size")

_HEAD = struct.Struct("<QQ")
_EACH = struct.Struct("<QQ")
_ALIGNMENT = 64
_LONG = 1 << 16
_AT_ONCE = 1024  # pieces: IOV_MAX
_NO_END = 1 << 62


class Laid:
    """A stream and its buffers, and how many bytes they take: `size`.

    pieces: of the stream. buffers: objects with the buffer protocol, contiguous.
    """

    def __init__(self, pieces: list[Any], buffers: list[Any]) -> None:
        length = sum(map(len, pieces))
        self.size = _HEAD.size + length
        if not buffers:
            self._pieces: list[Any] = [_HEAD.pack(length, 0), *pieces]
            return
        views = [memoryview(buffer) for buffer in buffers]
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
        if self.size < _LONG:
            memory[: self.size] = b"".join(self._pieces)
            return
        at = 0
        for piece in self._pieces:
            memory[at : at + len(piece)] = piece
            at += len(piece)

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


class Message(Laid):
    """An object that was pickled."""

    def __init__(self, value: Any) -> None:
        buffers: list[pickle.PickleBuffer] = []
        pieces = (_pickle_long if _is_long(value) else _pickle)(value, buffers.append)
        super().__init__(pieces, [buffer.raw() for buffer in buffers])


def _pickle(value: Any, take_buffer: Callable[[pickle.PickleBuffer], Any]) -> list[bytes]:
    if _CONNECTIONS in sys.modules:
        return _pickle_long(value, take_buffer)
    return [pickle.dumps(value, 5, buffer_callback=take_buffer)]


def _pickle_long(value: Any, take_buffer: Callable[[pickle.PickleBuffer], Any]) -> list[bytes]:
    """Slower, but what is long is not copied: a pickler writes it to its file as it is."""
    pieces = _Pieces()
    pickler = pickle.Pickler(pieces, 5, buffer_callback=take_buffer)
    connections = sys.modules.get(_CONNECTIONS)
    if connections is not None:
        pickler.dispatch_table = {
            **copyreg.dispatch_table,
            connections.Connection: _refuse_connection,
        }
    pickler.dump(value)
    return pieces


_CONNECTIONS = "multiprocessing.connection"


def _refuse_connection(connection: object) -> NoReturn:
    """By itself pickle would copy the number of its descriptor, which is another file there."""
    raise TypeError(f"a {type(connection).__name__} of multiprocessing belongs to its process")


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
    stream, buffers = split(memory)
    if find_class is None:
        return pickle.loads(stream, buffers=buffers)  # noqa: S301 - from our own worker, or parent
    return _load(io.BytesIO(stream), buffers, find_class)


def split(memory: Any, most: int = _NO_END) -> tuple[memoryview, list[bytes | bytearray]]:
    """Return the stream, where it is, and copies of its buffers, of which there may be `most`.

    Raises:
        ValueError: the lengths are those of no message.
    """
    length, count = _HEAD.unpack_from(memory, 0)
    view = memoryview(memory)
    if not count and length <= len(memory) - _HEAD.size:  # most of all messages
        return view[_HEAD.size : _HEAD.size + length], []
    start, length, places = _layout(memory, len(memory), most)
    buffers = [
        (bytearray if writable else bytes)(view[at : at + size]) for at, size, writable in places
    ]
    return view[start : start + length], buffers


def stream_size(memory: Any) -> int:
    """Return how long the stream of a message says it is."""
    return int(_HEAD.unpack_from(memory, 0)[0])


def read_file(file: BufferedReader, size: int, find_class: FindClass) -> Any:
    """Return the object in the first `size` bytes of a file, which may change or end meanwhile.

    Long strings of bytes are read to where they stay. Raises as `read` does.
    """
    start, _, places = _file_layout(file, size, _NO_END)
    buffers = [_read_buffer(file, *place) for place in places]
    file.seek(start)
    return _load(file, buffers, find_class)


def split_file(file: BufferedReader, size: int, most: int) -> tuple[bytes, list[bytes | bytearray]]:
    """Return copies of a stream in a file and of its buffers; see `split` and `read_file`."""
    start, length, places = _file_layout(file, size, most)
    stream = _read_buffer(file, start, length, 0)
    return bytes(stream), [_read_buffer(file, *place) for place in places]


def _file_layout(
    file: BufferedReader, size: int, most: int
) -> tuple[int, int, list[tuple[int, int, int]]]:
    file.seek(0)
    head = file.read(_HEAD.size)
    _, count = _HEAD.unpack(head)
    rest = min(count * _EACH.size, size) if count <= most else 0
    return _layout(head + file.read(rest), size, most)


def _layout(memory: Any, size: int, most: int) -> tuple[int, int, list[tuple[int, int, int]]]:
    """Return where the pickle begins, its length, and the place of each buffer."""
    length, count = _HEAD.unpack_from(memory, 0)
    start = _HEAD.size + count * _EACH.size
    if start > size or count > most:
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


def load(stream: bytes, find_class: FindClass) -> Any:
    """Return the object that was pickled without buffers beside it."""
    return _load(io.BytesIO(stream), [], find_class)


def _load(file: Any, buffers: list[Any], find_class: FindClass) -> Any:
    unpickler = _Unpickler(file, buffers=buffers)
    unpickler.finder = find_class
    return unpickler.load()


class _Unpickler(pickle.Unpickler):
    finder: FindClass

    def find_class(self, module: str, name: str) -> Any:
        found = self.finder(module, name)
        return super().find_class(module, name) if found is None else found
