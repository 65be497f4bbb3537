"""Plain data from bytes that somebody else may have chosen: the other side of `plain`.

Nothing is made here but exact built-in types and arrays of numbers. There is a budget of memory,
from which what a value needs is taken before it is made; no count or length is believed that goes
beyond the bytes that there are. Nothing that is called recurses deeper than `DEEPEST`. Time is in
proportion to the budget: what could take more, keys that hash alike, has a budget of its own. No
single step is long, so other threads run meanwhile.

The bytes must be this process's own: whoever wrote them must not be able to change them any more.
"""

from __future__ import annotations

import json
import struct
from functools import partial
from itertools import islice
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

from aionif.process.plain import (
    AT_ONCE,
    COMPLEX,
    CONTAINERS,
    COUNT,
    DEEPEST,
    FEW,
    FLOAT,
    LONGEST_INT,
    LONGEST_JSON,
    LONGEST_STR,
    NUMBER,
    OTHERS,
    TEXT,
    WIDEST,
    Tag,
)
from aionif.process.plain_arrays import copied_bytes, make_array
from aionif.process.plain_keys import in_pieces, work_of

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("BudgetError", "PlainError", "decode", "most_buffers")

# Bytes of memory that values take: about, and rather more than less.
_OF_SCALAR, _OF_BYTES, _OF_DICT, _OF_SET, _OF_BUFFER = 32, 64, 192, 256, 256
_OF_JSON = 24  # for each byte
_OF_CONTAINER = 128  # so that there are not so many that the garbage collector takes long
_SLACK = 1 << 12  # that no budget is too small for
_MOST_WORK = 1 << 26  # comparisons of keys that hash alike

_READ, _FIRST_CONTAINER, _LAST_CONTAINER = Tag.NUMBER, Tag.TUPLE, Tag.FROZENSET
_CONSTANTS = (None, False, True)


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

    __slots__ = ("buffers", "data", "depth", "may_import", "room", "work")

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

    def run(self) -> Any:  # noqa: C901 - the hot path: a call for each value would be most of it
        data, at, room = self.data, 0, self.room  # small things have a budget of their own
        outer: list[tuple[list[Any], int, Any]] = []
        items: list[Any] = []
        build: Any = tuple
        left = 1
        while True:
            tag = data[at]
            at += 1
            if tag < TEXT:
                items.append(tag)
            elif tag < CONTAINERS:
                start, at = at, at + tag - TEXT
                room -= tag - 64  # about what it takes
                items.append(data[start:at].decode())
            elif tag < OTHERS:
                outer.append((items, left, build))
                build, left, cost = _SHORT_KINDS[tag - CONTAINERS]
                room -= cost
                items = []
            elif tag < _READ:
                items.append(_CONSTANTS[tag - OTHERS])
            elif tag < _FIRST_CONTAINER:
                self.depth = len(outer)
                value, at = _READERS[tag - _READ](self, at)
                items.append(value)
            elif tag <= _LAST_CONTAINER:
                outer.append((items, left, build))
                build, left, at = self.open(tag, at)
                items = []
            else:
                at, count = self.many(tag, at, items, left)
                left -= count - 1
            left -= 1
            if room < 0 or len(outer) > DEEPEST:
                self.refuse(len(outer))
            while not left:
                if not outer:
                    return self.end(at, items[0])
                value = build(items)
                items, left, build = outer.pop()
                items.append(value)
                left -= 1

    def refuse(self, depth: int) -> NoReturn:
        if depth > DEEPEST:
            raise PlainError("data that is nested too deep")
        raise BudgetError

    def open(self, tag: int, at: int) -> tuple[Any, int, int]:
        """Return what makes a container, one more than its values, and where they begin."""
        make, fixed, each, times = _KINDS[tag - _FIRST_CONTAINER]
        (count,) = COUNT.unpack_from(self.data, at)
        at += COUNT.size
        self.take(fixed + count * each)
        if count * times > len(self.data) - at:
            raise PlainError("a container longer than its message")
        return partial(make, self), count * times + 1, at

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


# ---- containers ----


def _check_keys(decoder: _Decoder, keys: list[Any]) -> None:
    decoder.work -= work_of(keys)
    if decoder.work < 0:
        raise PlainError("too many keys that hash alike")


def _make_tuple(_: _Decoder, items: list[Any]) -> Any:
    return tuple(items)


def _make_list(_: _Decoder, items: list[Any]) -> Any:
    return items


def _as_it_is(items: list[Any]) -> Any:
    return items


def _make_short_dict(items: list[Any]) -> Any:
    """Of so few keys that they can all be compared."""
    return dict(zip(items[::2], items[1::2]))  # noqa: B905 - as many, and `strict` takes long


def _make_dict(decoder: _Decoder, items: list[Any]) -> Any:
    keys = items[::2]
    _check_keys(decoder, keys)
    pairs = zip(keys, items[1::2], strict=True)
    made: dict[Any, Any] = {}
    while some := dict(islice(pairs, AT_ONCE)):
        made.update(some)
    return made


def _make_set(decoder: _Decoder, items: list[Any]) -> Any:
    _check_keys(decoder, items)
    made: set[Any] = set()
    for some in in_pieces(items):
        made.update(some)
    return made


def _make_frozenset(decoder: _Decoder, items: list[Any]) -> Any:
    return frozenset(_make_set(decoder, items))


_KINDS = (
    _Kind(_make_tuple, _OF_CONTAINER, 24),
    _Kind(_make_list, _OF_CONTAINER, 16),
    _Kind(_make_dict, _OF_DICT, 96, 2),
    _Kind(_make_set, _OF_SET, 192),
    _Kind(_make_frozenset, _OF_SET, 192),
)
_SHORT_KINDS = tuple(
    (build, count * kind.values + 1, kind.fixed + count * kind.each)
    for kind, build in zip(_KINDS, (tuple, _as_it_is, _make_short_dict), strict=False)
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


_scan_json: Any = json.JSONDecoder().scan_once  # type: ignore[attr-defined]


def _read_json(decoder: _Decoder, at: int) -> tuple[Any, int]:
    """A piece whose length and depth are bounded, so that the scanner may call itself."""
    data, at = decoder.short(at, _OF_JSON)
    if len(data) > LONGEST_JSON or data.count(b"{") + data.count(b"[") > DEEPEST - decoder.depth:
        raise PlainError("JSON that is too long, or may be nested too deep")
    text = data.decode()
    try:
        value, end = _scan_json(text, 0)
    except StopIteration:
        raise PlainError("JSON without a value") from None
    if end != len(text):
        raise PlainError("JSON that does not end where it ends")
    return value, at


_READERS: tuple[Callable[[_Decoder, int], tuple[Any, int]], ...] = (
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
    _read_json,
)
