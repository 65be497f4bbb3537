"""Plain data as bytes, in which sealed workers reply. `plain_reader` is the other side.

A value is a stream, and buffers beside it for what is long, each used once and in order. The stream
has a tag for each value, in the order of a walk through them:

    0..127      that number
    128..191    a str of 0 to 63 bytes
    192..215    a tuple, list or dict of 0 to 7
    216..       what `Tag` names, with a count or a length where it needs one

Small records are one piece of JSON, where JSON says the same: the interpreter reads and writes that
faster than any code here could. There are no references: what is in two places is written twice,
and what holds itself is refused. Only values whose type is exactly one of these are written, as a
subclass would come back as something else.

Workers load this file alone, so it imports nothing of the package.
"""

from __future__ import annotations

import json
import struct
import sys
from array import array
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

__all__ = (
    "AT_ONCE",
    "CODES",
    "COMPLEX",
    "CONTAINERS",
    "COUNT",
    "DEEPEST",
    "DTYPES",
    "FEW",
    "FLOAT",
    "LONGEST_INT",
    "LONGEST_JSON",
    "LONGEST_STR",
    "MOST_DIMENSIONS",
    "NUMBER",
    "OTHERS",
    "TEXT",
    "WIDEST",
    "ArrayKind",
    "Tag",
    "UnplainError",
    "encode",
)

DEEPEST = 100
"""Containers within each other."""

AT_ONCE = 1 << 13
"""Numbers in one piece."""

LONGEST_INT = 1 << 20
"""Bytes. Making one takes one step, in which no other thread runs; so does a str."""

LONGEST_STR = 1 << 24
"""Bytes of memory: where it is not ASCII, those of the widest characters."""

LONGEST_JSON = 1 << 12
"""Bytes."""

WIDEST = 4
"""Bytes of a character."""

COUNT = struct.Struct("<I")
NUMBER = struct.Struct("<q")
FLOAT = struct.Struct("<d")
COMPLEX = struct.Struct("<dd")

TEXT, CONTAINERS, OTHERS = 128, 192, 216
FEW = 8
_SHORT_TEXT = CONTAINERS - TEXT
_LONG = 1 << 12  # bytes; what is as long as that lies beside the stream


class Tag:
    """Those that do not say by themselves what they are."""

    NONE, FALSE, TRUE, NUMBER, BIG_NUMBER, FLOAT, COMPLEX = range(216, 223)
    STR, BYTES, BYTEARRAY, LONG_STR, LONG_BYTES, LONG_BYTEARRAY, ARRAY = range(223, 230)
    JSON = 230  # a small dict or list that JSON can say: the interpreter reads it in C
    TUPLE, LIST, DICT, SET, FROZENSET = range(231, 236)
    NUMBERS, FLOATS = range(236, 238)  # many items of a container at once


class UnplainError(TypeError):
    """A value that is not plain data; the text names it."""


# ---- arrays ----


class ArrayKind:
    """What an array is on both sides; FORTRAN is added to it where columns come first."""

    NDARRAY, SCALAR, ARRAY = range(3)
    FORTRAN = 4


MOST_DIMENSIONS = 32
CODES = frozenset("bBhHiIlLqQfd")
"""Of array.array."""

DTYPES = frozenset(
    {f"|{kind}1" for kind in "biu"}
    | {f"{order}{kind}{size}" for order in "<>" for kind in "iu" for size in (2, 4, 8)}
    | {f"{order}f{size}" for order in "<>" for size in (2, 4, 8, 16)}
    | {f"{order}c{size}" for order in "<>" for size in (8, 16, 32)}
)
"""Of numpy: numbers, and nothing that a dtype's text could say besides."""


# ---- encoding ----


class _Encoder:
    def __init__(self) -> None:
        self.out = bytearray()
        self.buffers: list[Any] = []
        self.depth = 0

    def put(self, value: Any) -> None:
        kind = type(value)
        (_WRITERS.get(kind) or _writer_of(kind))(self, value)

    def head(self, tag: int, count: int) -> None:
        if count >> 32:
            raise UnplainError(f"a container of {count} items")
        self.out.append(tag)
        self.out += COUNT.pack(count)

    def data(self, data: bytes | bytearray, short: int, long: int) -> None:
        if len(data) < _LONG:
            self.head(short, len(data))
            self.out += data
        else:
            self.out.append(long)
            self.buffers.append(data)

    def items(self, values: Iterable[Any]) -> None:
        if self.depth == DEEPEST:
            raise UnplainError(f"data nested deeper than {DEEPEST} levels, or within itself")
        self.depth += 1
        out = self.out
        for value in values:
            kind = type(value)
            if kind is str and value.isascii() and len(value) < _SHORT_TEXT:  # most of all data
                out.append(TEXT + len(value))
                out += value.encode()
            elif kind is int and 0 <= value < TEXT:
                out.append(value)
            else:
                (_WRITERS.get(kind) or _writer_of(kind))(self, value)
        self.depth -= 1


def _put_none(to: _Encoder, _value: None) -> None:
    to.out.append(Tag.NONE)


def _put_bool(to: _Encoder, value: bool) -> None:  # noqa: FBT001 - data
    to.out.append(Tag.TRUE if value else Tag.FALSE)


def _put_int(to: _Encoder, value: int) -> None:
    if 0 <= value < TEXT:
        to.out.append(value)
    elif -(1 << 63) <= value < 1 << 63:
        to.out.append(Tag.NUMBER)
        to.out += NUMBER.pack(value)
    else:
        if value.bit_length() >= 8 * LONGEST_INT:
            raise UnplainError(f"an int of {value.bit_length()} bits")
        data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
        to.head(Tag.BIG_NUMBER, len(data))
        to.out += data


def _put_float(to: _Encoder, value: float) -> None:
    to.out.append(Tag.FLOAT)
    to.out += FLOAT.pack(value)


def _put_complex(to: _Encoder, value: complex) -> None:
    to.out.append(Tag.COMPLEX)
    to.out += COMPLEX.pack(value.real, value.imag)


def _put_str(to: _Encoder, value: str) -> None:
    try:
        data = value.encode()
    except UnicodeEncodeError:  # names of files may hold such
        data = value.encode("utf-8", "surrogatepass")
        _check_length(data)
        to.data(data, Tag.STR, Tag.LONG_STR)
        return
    if len(data) < _SHORT_TEXT:
        to.out.append(TEXT + len(data))
        to.out += data
    else:
        _check_length(data)
        to.data(data, Tag.STR, Tag.LONG_STR)


def _check_length(text: bytes) -> None:
    if len(text) * (1 if text.isascii() else WIDEST) > LONGEST_STR:
        raise UnplainError(f"a str of {len(text)} bytes, which is too long; bytes may be longer")


def _put_bytes(to: _Encoder, value: bytes) -> None:
    to.data(value, Tag.BYTES, Tag.LONG_BYTES)


def _put_bytearray(to: _Encoder, value: bytearray) -> None:
    to.data(value, Tag.BYTEARRAY, Tag.LONG_BYTEARRAY)


def _put_tuple(to: _Encoder, value: tuple[Any, ...]) -> None:
    _put_row(to, value, CONTAINERS, Tag.TUPLE)


def _put_list(to: _Encoder, value: list[Any]) -> None:
    if len(value) >= FEW or not _put_json(to, value):
        _put_row(to, value, CONTAINERS + FEW, Tag.LIST)


def _put_row(to: _Encoder, value: tuple[Any, ...] | list[Any], short: int, long: int) -> None:
    if len(value) < FEW:
        to.out.append(short + len(value))
        to.items(value)
    else:
        to.head(long, len(value))
        _put_many(to, value)


def _put_many(to: _Encoder, values: tuple[Any, ...] | list[Any]) -> None:
    """Write items: numbers of one kind by one copy."""
    kinds = set(map(type, values))
    code, tag = ("q", Tag.NUMBERS) if kinds == {int} else ("d", Tag.FLOATS)
    if kinds not in ({int}, {float}):
        to.items(values)
        return
    try:
        numbers = array(code, values)
    except OverflowError:
        to.items(values)
        return
    for start in range(0, len(numbers), AT_ONCE):
        some = numbers[start : start + AT_ONCE]
        to.head(tag, len(some))
        to.out += some.tobytes()


def _put_dict(to: _Encoder, value: dict[Any, Any]) -> None:
    if _put_json(to, value):
        return
    if len(value) < FEW:
        to.out.append(CONTAINERS + 2 * FEW + len(value))
    else:
        to.head(Tag.DICT, len(value))
    to.items(chain.from_iterable(value.items()))


_JSON = frozenset({str, int, float, bool, type(None)})
_WITHIN = frozenset({dict, list})
_MOST_JSON, _DEEPEST_JSON = 32, 4  # items of each container, and levels


def _json_writer() -> Callable[[Any], str]:
    write: Any = getattr(json.encoder, "c_make_encoder", None)
    if write is None:
        return json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
    # What the above would make for each value. It is given nothing that it can't write.
    escape = json.encoder.encode_basestring
    chunks = write(None, None, escape, None, ":", ",", *(False, False, True))
    return lambda value: "".join(chunks(value, 0))


_write_json = _json_writer()


def _is_json(value: Any, depth: int = 1) -> bool:
    """Return whether JSON says exactly what this is, soon."""
    if not 0 < len(value) <= _MOST_JSON or depth > _DEEPEST_JSON:
        return False
    if type(value) is dict:
        for key in value:
            if type(key) is not str:
                return False
        value = value.values()
    for each in value:
        kind = type(each)
        if kind not in _JSON and not (kind in _WITHIN and _is_json(each, depth + 1)):
            return False
    return True


def _put_json(to: _Encoder, value: Any) -> bool:
    """Write a small container as JSON; False: it has to be written as every other."""
    if to.depth + _DEEPEST_JSON > DEEPEST or not _is_json(value):
        return False
    try:
        data = _write_json(value).encode()
    except ValueError:  # a number of more digits than may be written, or half a character
        return False
    if len(data) > LONGEST_JSON or data.count(b"{") + data.count(b"[") > DEEPEST - to.depth:
        return False
    to.head(Tag.JSON, len(data))
    to.out += data
    return True


def _put_set(to: _Encoder, value: set[Any]) -> None:
    to.head(Tag.SET, len(value))
    _put_many(to, tuple(value))


def _put_frozenset(to: _Encoder, value: frozenset[Any]) -> None:
    to.head(Tag.FROZENSET, len(value))
    _put_many(to, tuple(value))


def _put_array(to: _Encoder, value: array[Any]) -> None:
    if value.typecode not in CODES:
        raise UnplainError(f"an array.array of code {value.typecode!r}")
    _put_array_head(to, ArrayKind.ARRAY, value.typecode, (len(value),))
    to.buffers.append(memoryview(value).cast("B"))


def _put_ndarray(to: _Encoder, value: Any) -> None:
    dtype = value.dtype.str
    if dtype not in DTYPES or value.ndim > MOST_DIMENSIONS:
        raise UnplainError(f"a numpy.ndarray of dtype {value.dtype}, of {value.ndim} dimensions")
    is_fortran = value.flags.f_contiguous and not value.flags.c_contiguous
    flat = (value.T if is_fortran else value).reshape(-1)
    flat = sys.modules["numpy"].ascontiguousarray(flat)
    _put_array_head(to, ArrayKind.NDARRAY | is_fortran * ArrayKind.FORTRAN, dtype, value.shape)
    view = memoryview(flat.view("u1"))
    to.buffers.append(view if value.flags.writeable else view.toreadonly())


def _put_scalar(to: _Encoder, value: Any) -> None:
    if value.dtype.str not in DTYPES:
        raise UnplainError(f"a numpy.{type(value).__name__}")
    _put_array_head(to, ArrayKind.SCALAR, value.dtype.str, ())
    to.buffers.append(value.tobytes())


def _put_array_head(to: _Encoder, kind: int, code: str, shape: tuple[int, ...]) -> None:
    to.out += bytes((Tag.ARRAY, kind, len(code))) + code.encode() + bytes((len(shape),))
    to.out += struct.pack(f"<{len(shape)}Q", *shape)


_WRITERS: dict[type, Callable[[_Encoder, Any], None]] = {
    type(None): _put_none,
    bool: _put_bool,
    int: _put_int,
    float: _put_float,
    complex: _put_complex,
    str: _put_str,
    bytes: _put_bytes,
    bytearray: _put_bytearray,
    tuple: _put_tuple,
    list: _put_list,
    dict: _put_dict,
    set: _put_set,
    frozenset: _put_frozenset,
    array: _put_array,
}


def _writer_of(kind: type) -> Callable[[_Encoder, Any], None]:
    """Return how values of a type that is not built in are written; no subclass is its base."""
    numpy = sys.modules.get("numpy")
    if numpy is not None and kind is numpy.ndarray:
        return _put_ndarray
    if numpy is not None and kind.__module__ == "numpy" and issubclass(kind, numpy.generic):
        return _put_scalar
    raise UnplainError(f"{kind.__module__}.{kind.__qualname__}")


def encode(value: Any) -> tuple[bytearray, list[Any]]:
    """Return a value as a stream, and the buffers that go beside it.

    Raises:
        UnplainError: it holds what is not plain data.
    """
    encoder = _Encoder()
    encoder.put(value)
    return encoder.out, encoder.buffers
