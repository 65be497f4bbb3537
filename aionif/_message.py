"""Pickles with their buffers beside them, laid out in memory that two processes share.

    pickle's length, number of buffers | length and writability of each | pickle | buffers

Pickle protocol 5 leaves large buffers (of numpy arrays, bytearrays) out of the stream; they are
written here once, and read once on the other side into memory of its own. So neither side's
objects lie in memory that the other can still write to. Imports nothing of the package, as workers
load it too.
"""

from __future__ import annotations

import io
import pickle
import struct
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Message", "read")

_HEAD = struct.Struct("<QQ")
_EACH = struct.Struct("<QQ")
_ALIGNMENT = 64


class Message:
    """An object that was pickled, and how many bytes it takes: `size`."""

    def __init__(self, value: Any) -> None:
        buffers: list[pickle.PickleBuffer] = []
        self._pickle = pickle.dumps(value, 5, buffer_callback=buffers.append)
        if not buffers:
            self._buffers: list[memoryview] = []
            self.size = _HEAD.size + len(self._pickle)
            return
        self._buffers = [buffer.raw() for buffer in buffers]
        self.size = _HEAD.size + _EACH.size * len(buffers) + len(self._pickle)
        for view in self._buffers:
            self.size = _aligned(self.size) + view.nbytes

    def write(self, memory: Any) -> None:
        """Write it to the start of a writable buffer."""
        count = len(self._buffers)
        _HEAD.pack_into(memory, 0, len(self._pickle), count)
        at = _HEAD.size
        for view in self._buffers:
            _EACH.pack_into(memory, at, view.nbytes, not view.readonly)
            at += _EACH.size
        memory[at : at + len(self._pickle)] = self._pickle
        at += len(self._pickle)
        for view in self._buffers:
            at = _aligned(at)
            memory[at : at + view.nbytes] = view
            at += view.nbytes


def _aligned(at: int) -> int:
    return (at + _ALIGNMENT - 1) & -_ALIGNMENT


def read(memory: Any, find_class: Callable[[str, str], Any] | None = None) -> Any:
    """Return the object in `memory`; nothing of it stays there.

    Raises:
        ValueError: the lengths are those of no message. Also whatever unpickling raises.
    """
    length, count = _HEAD.unpack_from(memory, 0)
    at = _HEAD.size
    if count * _EACH.size > len(memory):
        raise ValueError("a message with more buffers than it can hold")
    sizes = [_EACH.unpack_from(memory, at + index * _EACH.size) for index in range(count)]
    at += count * _EACH.size
    if at + length > len(memory):
        raise ValueError("a message longer than its memory")
    stream = bytes(memory[at : at + length])
    at += length
    buffers: list[bytes | bytearray] = []
    for size, writable in sizes:
        at = _aligned(at)
        if at + size > len(memory):
            raise ValueError("a buffer longer than its memory")
        buffers.append((bytearray if writable else bytes)(memory[at : at + size]))
        at += size
    if find_class is None:
        return pickle.loads(stream, buffers=buffers)  # noqa: S301 - from our own worker, or parent
    unpickler = _Unpickler(io.BytesIO(stream), buffers=buffers)
    unpickler.finder = find_class
    return unpickler.load()


class _Unpickler(pickle.Unpickler):
    finder: Callable[[str, str], Any]

    def find_class(self, module: str, name: str) -> Any:
        found = self.finder(module, name)
        return super().find_class(module, name) if found is None else found
