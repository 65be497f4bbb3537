"""Plain data from bytes that somebody else may have chosen: the other side of `plain`.

Nothing is made here but exact built-in types and arrays of numbers. There is a budget of memory,
from which what a value needs is taken before it is made; no count or length is believed that goes
beyond the bytes that there are. Nothing that is called recurses deeper than `DEEPEST`. Time is in
proportion to the budget: what could take more, keys that hash alike, has a budget of its own. No
single step is long, so other threads run meanwhile.

The bytes must be this process's own: whoever wrote them must not be able to change them any more.
"""

from __future__ import annotations

import struct
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple

from aionif.process.plain import (
    AT_ONCE,
    COMPLEX,
    CONTAINERS,
    COUNT,
    DEEPEST,
    FEW,
    FLOAT,
    LONGEST_INT,
    LONGEST_STR,
    NUMBER,
    OTHERS,
    TEXT,
    WIDEST,
    Tag,
)
from aionif.process.plain_arrays import copied_bytes, make_array

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = ("BudgetError", "PlainError", "decode", "most_buffers")

# Bytes of memory that values take: about, and rather more than less.
_OF_SCALAR, _OF_BYTES, _OF_SET, _OF_BUFFER = 32, 64, 256, 256
_OF_CONTAINER = 256  # so that there are not so many that the garbage collector takes long
_SLACK = 1 << 12  # that no budget is too small for
_MOST_WORK = 1 << 26  # comparisons of keys that hash alike

_FIRST_CONTAINER, _LAST_CONTAINER, _NUMBERS = Tag.TUPLE, Tag.FROZENSET, Tag.NUMBERS
_HASH_SECRETLY = {str, bytes}


class PlainError(ValueError):
    """Bytes that no encoder has written."""


class BudgetError(Exception):
    """A value that would take more memory than is allowed."""


def most_buffers(most: int) -> int:
    """Return how many buffers a message may have that is to take `most` bytes of memory."""
    return (most + _SLACK) // _OF_BUFFER


def decode(stream: bytes, buffers: list[Any], most: int, *, may_import: bool = True) -> Any:
    """Return the value that a stream and its buffers hold.

    buffers: bytes, and bytearrays for what can be written to. most: bytes of memory.
    may_import: False: where numpy is wanted and not loaded yet, say so.

    Raises:
        PlainError: it is not what `encode` writes. BudgetError: it takes more than `most`.
        ImportError: it holds an array of numpy, which is not installed here. NumpyWantedError.
    """
    if len(stream) == 1 and stream[0] < TEXT and not buffers:
        return stream[0]
    decoder = _Decoder(stream, buffers, most + _SLACK, may_import=may_import)
    try:
        return decoder.run()
    except PlainError:
        raise
    except (IndexError, struct.error, ValueError, TypeError, OverflowError) as problem:
        raise PlainError(f"{type(problem).__name__}: {problem}") from problem


class _Kind(NamedTuple):
    """A kind of container: what makes it of its items, and the memory it takes."""

    build: Callable[[_Decoder, list[Any]], Any]
    fixed: int
    each: int
    values: int = 1  # of one item


class _Decoder:
    """One stream. What ends beyond its end is noticed last: nothing can begin there."""

    __slots__ = ("buffers", "data", "may_import", "room", "work")

    def __init__(self, stream: bytes, buffers: list[Any], room: int, *, may_import: bool) -> None:
        self.data = stream
        self.buffers = iter(buffers)
        self.room = room
        self.work = _MOST_WORK
        self.may_import = may_import
        if buffers:
            self.take(sum(map(len, buffers)) + _OF_BUFFER * len(buffers))

    def take(self, cost: int) -> None:
        self.room -= cost
        if self.room < 0:
            raise BudgetError

    def run(self) -> Any:
        data, at, texts = self.data, 0, self.room
        outer: list[tuple[list[Any], int, Any]] = []
        items: list[Any] = []
        left, build = 1, _make_list
        while True:
            tag = data[at]
            at += 1
            if tag < TEXT:
                items.append(tag)
            elif tag < CONTAINERS:
                start, at = at, at + tag - TEXT
                texts -= tag  # about what it takes
                if texts < 0:
                    raise BudgetError
                items.append(data[start:at].decode())
            elif tag < OTHERS or _FIRST_CONTAINER <= tag <= _LAST_CONTAINER:
                outer.append((items, left, build))
                build, left, at = self.open(tag, at, len(outer))
                items = []
            elif tag < _NUMBERS:
                value, at = _READERS[tag - OTHERS](self, at)
                items.append(value)
            else:
                at, count = self.many(tag, at, items, left)
                left -= count - 1
            left -= 1
            while not left:
                if not outer:
                    return self.end(at, items[0])
                value = build(self, items)
                items, left, build = outer.pop()
                items.append(value)
                left -= 1

    def open(self, tag: int, at: int, depth: int) -> tuple[Any, int, int]:
        """Return what makes a container, one more than its values, and where they begin."""
        if tag < OTHERS:
            build, values, cost = _SHORT_KINDS[tag - CONTAINERS]
        else:
            build, fixed, each, times = _KINDS[tag - _FIRST_CONTAINER]
            (count,) = COUNT.unpack_from(self.data, at)
            at += COUNT.size
            values, cost = count * times, fixed + count * each
        self.room -= cost
        if self.room < 0:
            raise BudgetError
        if depth > DEEPEST or values > len(self.data) - at:
            raise PlainError("a container longer than its message, or nested too deep")
        return build, values + 1, at

    def many(self, tag: int, at: int, items: list[Any], left: int) -> tuple[int, int]:
        """Add numbers to a container's items; return where they end, and how many there were."""
        (count,) = COUNT.unpack_from(self.data, at)
        start = at + COUNT.size
        end = start + count * NUMBER.size
        if not 0 < count <= min(left, AT_ONCE) or end > len(self.data) or tag > Tag.FLOATS:
            raise PlainError("numbers that can't be")
        self.take(count * _OF_SCALAR)
        view = memoryview(self.data)[start:end]
        items += view.cast("q" if tag == Tag.NUMBERS else "d").tolist()
        return end, count

    def end(self, at: int, value: Any) -> Any:
        if at != len(self.data) or next(self.buffers, None) is not None:
            raise PlainError("a message that does not end where it ends")
        self.take(0)
        return value

    def short(self, at: int, times: int = 1) -> tuple[bytes, int]:
        """Return bytes of the stream; times: what is made of one of them."""
        (length,) = COUNT.unpack_from(self.data, at)
        start = at + COUNT.size
        if start + length > len(self.data):
            raise PlainError("a string longer than its message")
        self.take(_OF_BYTES + length * times)
        return self.data[start : start + length], start + length

    def long(self, kind: type) -> Any:
        buffer = next(self.buffers, None)
        if type(buffer) is not kind:
            raise PlainError("a buffer of another kind than its value")
        return buffer

    def check_keys(self, keys: list[Any]) -> None:
        """Raise where comparing those that hash alike would take long.

        Everybody knows how numbers hash, so there can be any number of them with one hash. Of two
        sets that hash alike, each member is compared with each that hashes like it; so the work may
        be the square of their sizes.
        """
        if len(keys) < 2:  # noqa: PLR2004 - a pair
            return
        kinds: set[type] = set()
        hashes: set[int] = set()
        for some in _pieces(keys):
            kinds.update(map(type, some))
        if kinds <= _HASH_SECRETLY:
            return
        for some in _pieces(keys):
            hashes.update(map(hash, some))
        if len(hashes) == len(keys):
            return
        seen: dict[int, int] = {}
        for key in keys:
            number = hash(key)
            before = seen.get(number, 0)
            seen[number] = before + 1
            if before:
                self.work -= before * _weight(key) ** 2
                if self.work < 0:
                    raise PlainError("too many keys that hash alike")


def _pieces(items: list[Any]) -> Iterable[list[Any]]:
    """Return items in pieces that one step can deal with."""
    if len(items) <= AT_ONCE:
        return (items,)
    return (items[start : start + AT_ONCE] for start in range(0, len(items), AT_ONCE))


def _weight(key: Any) -> int:
    """Return how much of a key can be compared with another."""
    weight, todo = 0, [key]
    while todo:
        each = todo.pop()
        kind = type(each)
        weight += 1
        if kind is tuple or kind is frozenset:
            todo += each
        elif kind is int:
            weight += each.bit_length() >> 6
        elif kind is str or kind is bytes:
            weight += len(each) >> 3
    return weight


# ---- containers ----


def _make_tuple(_: _Decoder, items: list[Any]) -> Any:
    return tuple(items)


def _make_list(_: _Decoder, items: list[Any]) -> Any:
    return items


def _make_dict(decoder: _Decoder, items: list[Any]) -> Any:
    keys = items[::2]
    decoder.check_keys(keys)
    pairs = zip(keys, items[1::2])  # noqa: B905 - as many, and `strict` takes as long as all else
    if len(keys) <= AT_ONCE:
        return dict(pairs)
    made: dict[Any, Any] = {}
    while some := dict(islice(pairs, AT_ONCE)):
        made.update(some)
    return made


def _make_set(decoder: _Decoder, items: list[Any]) -> Any:
    decoder.check_keys(items)
    made: set[Any] = set()
    for some in _pieces(items):
        made.update(some)
    return made


def _make_frozenset(decoder: _Decoder, items: list[Any]) -> Any:
    return frozenset(_make_set(decoder, items))


_KINDS = (
    _Kind(_make_tuple, _OF_CONTAINER, 24),
    _Kind(_make_list, _OF_CONTAINER, 16),
    _Kind(_make_dict, _OF_CONTAINER, 128, 2),
    _Kind(_make_set, _OF_SET, 192),
    _Kind(_make_frozenset, _OF_SET, 192),
)
_SHORT_KINDS = tuple(
    (kind.build, count * kind.values, kind.fixed + count * kind.each)
    for kind in _KINDS[:3]
    for count in range(FEW)
)


# ---- everything else ----


def _read_number(decoder: _Decoder, at: int) -> tuple[Any, int]:
    decoder.room -= _OF_SCALAR
    return NUMBER.unpack_from(decoder.data, at)[0], at + NUMBER.size


def _read_big_number(decoder: _Decoder, at: int) -> tuple[Any, int]:
    data, at = decoder.short(at, 2)
    if len(data) > LONGEST_INT:
        raise PlainError("a number that is too long")
    return int.from_bytes(data, "little", signed=True), at


def _read_float(decoder: _Decoder, at: int) -> tuple[Any, int]:
    decoder.room -= _OF_SCALAR
    return FLOAT.unpack_from(decoder.data, at)[0], at + FLOAT.size


def _read_complex(decoder: _Decoder, at: int) -> tuple[Any, int]:
    decoder.room -= _OF_SCALAR
    return complex(*COMPLEX.unpack_from(decoder.data, at)), at + COMPLEX.size


def _read_str(decoder: _Decoder, at: int) -> tuple[Any, int]:
    data, at = decoder.short(at)
    return _text(decoder, data), at


def _read_bytes(decoder: _Decoder, at: int) -> tuple[Any, int]:
    return decoder.short(at)


def _read_bytearray(decoder: _Decoder, at: int) -> tuple[Any, int]:
    data, at = decoder.short(at, 2)
    return bytearray(data), at


def _read_long_str(decoder: _Decoder, at: int) -> tuple[Any, int]:
    return _text(decoder, decoder.long(bytes)), at


def _text(decoder: _Decoder, data: bytes) -> str:
    size = len(data) * (1 if data.isascii() else WIDEST)
    decoder.take(size)
    if size > LONGEST_STR:
        raise PlainError("a text that is too long")
    return str(data, "utf-8", "surrogatepass")


def _read_long_bytes(decoder: _Decoder, at: int) -> tuple[Any, int]:
    return decoder.long(bytes), at


def _read_long_bytearray(decoder: _Decoder, at: int) -> tuple[Any, int]:
    return decoder.long(bytearray), at


def _read_array(decoder: _Decoder, at: int) -> tuple[Any, int]:
    data = decoder.data
    kind, length = data[at], data[at + 1]
    at += 2
    code, at = data[at : at + length].decode("ascii"), at + length
    dimensions = data[at]
    shape = struct.unpack_from(f"<{dimensions}Q", data, at + 1)
    buffer = next(decoder.buffers, None)
    if buffer is None:
        raise PlainError("an array without memory")
    decoder.take(_OF_SET + copied_bytes(kind, code, len(buffer)))
    value = make_array(kind, code, shape, buffer, may_import=decoder.may_import)
    return value, at + 1 + 8 * dimensions


_READERS: tuple[Callable[[_Decoder, int], tuple[Any, int]], ...] = (
    lambda _, at: (None, at),
    lambda _, at: (False, at),
    lambda _, at: (True, at),
    _read_number,
    _read_big_number,
    _read_float,
    _read_complex,
    _read_str,
    _read_bytes,
    _read_bytearray,
    _read_long_str,
    _read_long_bytes,
    _read_long_bytearray,
    _read_array,
)
