"""Plain data: what is encoded comes back, and bytes that somebody has chosen do no harm."""

from __future__ import annotations

import reprlib
import struct
import sys
import time
from array import array
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aionif.process import plain
from aionif.process.plain import DEEPEST, Tag, UnplainError, encode
from aionif.process.plain_reader import BudgetError, PlainError, decode
from aionif.process.remote_errors import rebuild
from tests.fuzz.bounds import outcome_of
from tests.fuzz.plain import ALLOWED, copied

if TYPE_CHECKING:
    from collections.abc import Callable

MOST = 1 << 20
MODULUS = (1 << 61) - 1  # numbers that differ by this hash alike

keys = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=4,
)
values = st.recursive(
    keys | st.complex_numbers(allow_nan=False) | st.binary() | st.binary().map(bytearray),
    lambda inner: (
        st.lists(inner)
        | st.lists(st.integers(), min_size=7)
        | st.lists(st.floats(allow_nan=False), min_size=7)
        | st.dictionaries(keys, inner)
        | st.sets(keys)
        | st.tuples(inner, inner)
    ),
)


def passed(value: Any, most: int = 1 << 26) -> Any:
    stream, buffers = encode(value)
    return decode(bytes(stream), [copied(buffer) for buffer in buffers], most)


def count(number: int) -> bytes:
    return struct.pack("<I", number)


# ---- what comes back ----


@given(values)
def test_what_is_encoded_comes_back(value: Any) -> None:
    assert_same(passed(value), value)


def assert_same(one: Any, other: Any) -> None:
    assert type(one) is type(other)
    assert one == other
    if isinstance(one, (list, tuple)):
        for each, its in zip(one, other, strict=True):
            assert_same(each, its)
    if isinstance(one, dict):
        assert list(one) == list(other)
        assert_same(list(one.values()), list(other.values()))


EDGES = [
    *(
        sign * (1 << bits) + offset
        for bits in (7, 8, 63, 64)
        for sign in (1, -1)
        for offset in (-1, 0)
    ),
    *("x" * size for size in (0, 1, 63, 64, 4095, 4096)),
    "é" * 31,
    "é" * 32,
    "\ud800",
    "\ud800" * 5000,
    *(list(range(size)) for size in (7, 8, 8192, 8193, 20_000)),
    [1] * 9 + [True],
    [1] * 9 + [1 << 63],
    dict.fromkeys(range(20_000)),
    set(range(20_000)),
    {(x, y) for x, y in product(range(-50, 50), repeat=2)},  # -1 and -2 hash alike
    {10**4200: 1, -(10**4000): 2},
    {"a": True, "b": 1, "c": 1.0, "d": None, "e": [1, "é", [{}]], "f": 1 << 99, "": -0.0},
    {"a": float("inf"), "b": 1e16, "c": 5e-324, "quote": '"\\\n\t\x00\x7f\u2028'},
    {"half a character": "\ud83d", "two of them": "\ud83d\ude00", "both": "\U0001f600"},
    {"a": 10**4299},
    {"a": "[" * 99},
    {"a": "[" * 100},
    [{"a": [{"b": [{"c": [{"d": [1]}]}]}]}],
    {str(n): n for n in range(33)},
    {"a": "x" * 5000},
    ["a", 1],
    ["a", (1,)],
    {"a": (1,)},
    {"a": b""},
    {1: "a"},
    {"a": {1: 2}},
    [True, 1, 0, False],
]


@pytest.mark.parametrize("value", EDGES, ids=lambda value: reprlib.repr(value)[:20])
def test_edges(value: Any) -> None:
    assert_same(passed(value), value)


@pytest.mark.parametrize("dtype", sorted(plain.DTYPES))
def test_each_dtype_comes_back(dtype: str) -> None:
    for shape in ((), (0,), (3,), (2, 3), (2, 0, 3), (1,) * 32):
        sent = np.ones(shape, dtype)
        for one in (sent, np.asfortranarray(sent), sent[...][::-1] if shape else sent):
            back = passed(one)
            assert (back == one).all()
            assert (back.dtype, back.shape) == (one.dtype, one.shape)
    number = passed(np.dtype(dtype).type(1))
    assert (number, type(number)) == (1, np.dtype(dtype).type)


@pytest.mark.parametrize("code", sorted(plain.CODES))
def test_arrays_of_the_standard_library(code: str) -> None:
    assert_same(passed(array(code, range(5))), array(code, range(5)))


def test_what_could_be_written_to_can_be() -> None:
    sent = np.arange(3)
    assert passed(sent).flags.writeable
    sent.flags.writeable = False
    assert not passed(sent).flags.writeable


class Text(str):
    __slots__ = ()


NOT_PLAIN = [Text("x"), object(), range(3), array("u", "x"), np.array([None]), np.array(["x"]), len]
NOT_PLAIN += [np.zeros(1, "f8,i4"), np.zeros(1, "M8[s]"), np.ma.array([1]), memoryview(b"")]


@pytest.mark.parametrize("value", NOT_PLAIN, ids=lambda value: type(value).__name__)
def test_what_is_not_plain_is_named(value: Any) -> None:
    for one in (value, [value], {1: (value,)}, [1] * 9 + [value]):
        with pytest.raises(UnplainError) as error:
            encode(one)
        assert type(value).__name__.rpartition(".")[2] in str(error.value)


def test_what_one_step_would_take_too_long_to_make_is_named() -> None:
    for value in (1 << 8 * plain.LONGEST_INT, "x" * (plain.LONGEST_STR + 1), "é" * (1 << 22)):
        with pytest.raises(UnplainError, match=f"an? {type(value).__name__} of"):
            encode(value)
    assert_same(passed("é" * ((1 << 20) - 1), 1 << 24), "é" * ((1 << 20) - 1))
    long = "é" * (1 << 21)
    with pytest.raises(PlainError, match="too long"):
        decode(bytes((Tag.LONG_STR,)), [(long + "x").encode()], 1 << 30)
    with pytest.raises(PlainError, match="too long"):
        decode(big(1 << 8 * plain.LONGEST_INT), [], 1 << 30)


def nest(depth: int) -> Any:
    value: Any = ()
    for _ in range(depth - 1):
        value = (value,)
    return value


def test_depth() -> None:
    assert_same(passed({nest(DEEPEST - 1): 1}), {nest(DEEPEST - 1): 1})
    circle: list[Any] = []
    circle.append(circle)
    for value in (nest(DEEPEST + 1), circle):
        with pytest.raises(UnplainError, match="nested deeper"):
            encode(value)


# ---- attacks ----

ROW, EMPTY = plain.CONTAINERS + 1, plain.CONTAINERS  # a tuple of one, and of none
LIST, SET, DICT, FROZEN = (bytes((tag,)) for tag in (Tag.LIST, Tag.SET, Tag.DICT, Tag.FROZENSET))


def big(value: int) -> bytes:
    data = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
    return bytes((Tag.BIG_NUMBER,)) + count(len(data)) + data


def json_piece(text: str) -> bytes:
    return bytes((Tag.JSON,)) + count(len(text)) + text.encode()


def many_that_hash_alike(number: int) -> bytes:
    return SET + count(number) + b"".join(big(index * MODULUS) for index in range(number))


def sets_of_sets(depth: int, seed: int = 0) -> bytes:
    """Frozensets whose members all hash alike: comparing two takes the square of their size."""
    if depth == 0:
        return big((seed + 1) * MODULUS)
    inner = b"".join(sets_of_sets(depth - 1, seed * 8 + index) for index in range(8))
    return FROZEN + count(8) + inner


ATTACKS: dict[str, bytes | Callable[[], bytes]] = {
    "tuples in tuples as a key": DICT + count(1) + bytes((ROW,)) * 600_000 + bytes((EMPTY, 0)),
    "tuples in tuples": bytes((ROW,)) * 600_000 + bytes((EMPTY,)),
    "a list of 4 billion": LIST + count((1 << 32) - 1),
    "a list of all the bytes that follow": LIST + count(1 << 20) + bytes(1 << 20),
    "lists that hold as many as the bytes that follow": b"".join(
        LIST + count(900_000 - index) for index in range(DEEPEST)
    )
    + bytes(900_000),
    "many empty sets": LIST + count(100_000) + (SET + count(0)) * 100_000,
    "many empty dicts": LIST + count(500_000) + bytes((plain.CONTAINERS + 16,)) * 500_000,
    "many short strings": LIST + count(300_000) + bytes((plain.TEXT + 2, 120, 121)) * 300_000,
    "a string of 4 GiB": bytes((Tag.STR,)) + count((1 << 32) - 1) + b"x",
    "wide characters": bytes((Tag.STR,)) + count(900_000) + "\U0001f600".encode() + b"x" * 899_996,
    "a number of 4 GiB": bytes((Tag.BIG_NUMBER,)) + count((1 << 32) - 1) + b"x",
    "numbers without end": LIST + count(100) + bytes((Tag.NUMBERS,)) + count(1 << 31) + bytes(800),
    "more numbers than the list has": LIST
    + count(9)
    + bytes((Tag.NUMBERS,))
    + count(10)
    + bytes(80),
    "no numbers": LIST + count(9) + (bytes((Tag.NUMBERS,)) + count(0)) * 90,
    "keys that hash alike": lambda: many_that_hash_alike(6000),
    "long keys that hash alike": lambda: (
        SET + count(2) + b"".join(big((index + 1 << 800_000) * MODULUS) for index in range(2))
    ),
    "sets of sets that hash alike": lambda: sets_of_sets(5),
    "a key that can't be hashed": DICT + count(1) + bytes((plain.CONTAINERS + 8, 0)),
    "half a pair": DICT + count(2) + bytes(3),
    "JSON in JSON": json_piece("[" * 4000 + "]" * 4000),
    "JSON as deep as can be, in what is": bytes((ROW,)) * 50 + json_piece("[" * 60 + "]" * 60),
    "JSON that goes on": json_piece("[1]]"),
    "JSON that is none": json_piece("[1"),
    "no JSON": json_piece(""),
    "long JSON": json_piece("[" + "1," * 3000 + "1]"),
    "JSON without end": bytes((Tag.JSON,)) + count(1 << 31) + b"[1]",
    "JSON with a number of too many digits": json_piece("[" + "9" * 4500 + "]"),
    "JSON that is no text": bytes((Tag.JSON,)) + count(1) + b"\xff",
    "much JSON": LIST + count(20_000) + json_piece('{"a":[],"b":[],"c":[]}') * 20_000,
    "nothing": b"",
    "two values": bytes(2),
    "bytes that are no text": bytes((plain.TEXT + 1, 0xFF)),
    "an unknown tag": bytes((255,)),
    "a buffer that is not there": bytes((Tag.LONG_BYTES,)),
}


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_end_soon_and_take_little(name: str) -> None:
    attack = ATTACKS[name]
    stream = attack if isinstance(attack, bytes) else attack()
    start = time.process_time()
    outcome, peak = outcome_of(lambda: decode(stream, [], MOST), ALLOWED)
    assert outcome in (PlainError, BudgetError)
    assert peak < 4 * MOST + 4 * len(stream)
    assert time.process_time() - start < 10


ARRAYS = {
    "of objects": (0, b"|O8", (1,), 8),
    "of a dtype that is a program": (0, b"f8,(9)O", (1,), 8),
    "of text": (0, b"<U2", (1,), 8),
    "with items of no size": (0, b"|V0", (1 << 40,), 0),
    "larger than its memory": (0, b"<f8", (1 << 40,), 8),
    "of a size that wraps around": (0, b"<f8", (1 << 61, 1), 0),
    "of a size that wraps around twice": (0, b"|i1", (1 << 32, 1 << 32), 0),
    "smaller than its memory": (0, b"<f8", (1,), 16),
    "of no items and beyond all bounds": (0, b"<f8", (0, 1 << 63), 0),
    "with too many dimensions": (0, b"|i1", (1,) * 33, 1),
    "a number with a shape": (1, b"<f8", (1,), 8),
    "of no kind": (3, b"<f8", (1,), 8),
    "an array.array of characters": (2, b"u", (2,), 8),
    "an array.array that is cut off": (2, b"d", (2,), 9),
    "a code that is no text": (0, b"\xff", (1,), 8),
}


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_that_can_not_be(name: str) -> None:
    kind, code, shape, size = ARRAYS[name]
    stream = bytes((Tag.ARRAY, kind, len(code))) + code + bytes((len(shape),))
    stream += struct.pack(f"<{len(shape)}Q", *shape)
    for buffer in (bytes(size), bytearray(size)):
        with pytest.raises(PlainError):
            decode(stream, [buffer], MOST)


def test_truth_is_0_or_1() -> None:
    """numpy counts by the bytes, and so makes room for too few where they are anything else."""
    stream, _ = encode(np.ones(4, bool))
    for kind in (bytes, bytearray):
        found = decode(bytes(stream), [kind(b"\xff\x02\x00\x01")], MOST)
        assert bytes(found.view("u1")) == b"\1\1\0\1"
        assert len(np.arange(4)[found]) == 3


def test_no_buffer_is_used_twice_or_left() -> None:
    stream = bytes((plain.CONTAINERS + 2, Tag.LONG_BYTEARRAY, Tag.LONG_BYTEARRAY))
    one, other = decode(stream, [bytearray(1), bytearray(2)], MOST)
    assert (len(one), len(other)) == (1, 2)
    for buffers in ([bytearray(1)], [bytearray(1)] * 3, [bytes(1)] * 2, []):
        with pytest.raises(PlainError):
            decode(stream, buffers, MOST)


def test_cut_anywhere_it_is_an_error() -> None:
    stream = encode([1, "text", {"a": (2.5, None, 1 << 70)}, {b"x"}, list(range(9)), "y" * 99])[0]
    for size in range(len(stream)):
        with pytest.raises(PlainError):
            decode(bytes(stream[:size]), [], MOST)


def test_numpy_is_imported_where_there_is_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from aionif.process.plain_arrays import NumpyWantedError

    stream, buffers = encode(np.arange(3))
    monkeypatch.delitem(sys.modules, "numpy")
    with pytest.raises(NumpyWantedError):
        decode(bytes(stream), [bytearray(buffers[0])], MOST, may_import=False)
    monkeypatch.setitem(sys.modules, "numpy", None)  # not installed
    with pytest.raises(ImportError):
        decode(bytes(stream), [bytearray(buffers[0])], MOST)


# ---- exceptions ----

STRANGE: list[tuple[Any, Any]] = [
    ("ValueError", {"arguments": [1]}),
    ("ValueError", {}),
    ("ValueError", None),
    (None, {"arguments": ()}),
    ("KeyboardInterrupt", {"arguments": ()}),
    ("SystemExit", {"arguments": (0,)}),
    ("StopIteration", {"arguments": (1,)}),
    ("GeneratorExit", {"arguments": ()}),
    ("SyntaxError", {"arguments": ("x", ("file", 1, 1 << 60, "text", 1, 1 << 60))}),
    ("ExceptionGroup", {"arguments": ("x", [])}),
    ("eval", {"arguments": ("1",)}),
    ("os.system", {"arguments": ("true",)}),
    ("UnicodeDecodeError", {"arguments": ("utf-8", b"", -1, 0, "x")}),
    ("UnicodeEncodeError", {"arguments": ("utf-8", "", 5, 6, "x")}),
    ("UnicodeTranslateError", {"arguments": ("", 1 << 62, 1, "x")}),
    ("UnicodeDecodeError", {"arguments": (1, 2)}),
]


@pytest.mark.parametrize(("name", "said"), STRANGE, ids=str)
def test_exceptions_that_are_not_made(name: Any, said: Any) -> None:
    error = rebuild(name, said, "traceback", {"tier": "process"})
    assert type(error).__name__ == "NifRemoteError"
    assert str(error)


def test_what_is_said_of_an_exception_is_text_or_nothing() -> None:
    said = {"arguments": (), "name": 5, "path": b"", "notes": [1, "a note", None], "text": 7}
    error = rebuild("ImportError", said, "", {})
    assert isinstance(error, ImportError)
    assert (error.name, error.path, error.__notes__) == (None, None, ["a note"])
    assert rebuild("app.Bad", said, "", {}).text == ""  # type: ignore[attr-defined]
