"""Messages to and from worker processes: what was pickled comes back, and lies about it do not."""

from __future__ import annotations

import io
import os
import pickle
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aionif.process import message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LONG = 1 << 20

simple = st.none() | st.booleans() | st.integers() | st.text() | st.binary()
values = st.recursive(
    simple | st.binary().map(bytearray),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
)


def through_memory(sent: message.Message) -> Any:
    memory = bytearray(sent.size + 7)  # a block is larger than what is in it
    sent.write(memory)
    return message.read(memory)


def through_a_file(sent: message.Message) -> Any:
    descriptor = os.memfd_create("message")
    sent.write_file(descriptor)
    assert os.fstat(descriptor).st_size == sent.size
    with os.fdopen(descriptor, "rb") as file:
        return message.read_file(file, sent.size, find_nothing)


def find_nothing(_module: str, _name: str) -> None:
    return None


def file_of(data: bytes | bytearray) -> Any:
    return io.BufferedReader(io.BytesIO(data))


@pytest.fixture(params=[through_memory, through_a_file])
def passed(request: pytest.FixtureRequest) -> Callable[[message.Message], Any]:
    return request.param  # type: ignore[no-any-return]


@given(values)
def test_what_is_passed_in_memory_comes_back(value: Any) -> None:
    assert through_memory(message.Message(value)) == value


@given(values)
def test_what_is_passed_in_a_file_comes_back(value: Any) -> None:
    assert through_a_file(message.Message(value)) == value


@pytest.mark.parametrize("count", [1, 3, 1500], ids="{} arrays".format)
def test_arrays_come_back_with_their_flags(passed: Any, count: int) -> None:
    arrays = [np.arange(number + 1) for number in range(count)]
    arrays[0].flags.writeable = False
    back = passed(message.Message(arrays))
    assert all(np.array_equal(a, b) for a, b in zip(arrays, back, strict=True))
    assert [a.flags.writeable for a in back] == [a.flags.writeable for a in arrays]


@pytest.mark.parametrize("value", [bytes(LONG), "x" * LONG, bytearray(LONG)], ids=type)
def test_what_is_long_comes_back(passed: Any, value: Any) -> None:
    assert passed(message.Message([value, 1, value])) == [value, 1, value]


def test_long_bytes_are_written_from_where_they_are() -> None:
    value = bytes(LONG)
    assert any(piece is value for piece in message.Message((1, value))._pieces)


def lies() -> Iterator[bytes]:
    honest = bytearray(200)
    sent = message.Message(np.arange(3))
    sent.write(honest)
    yield from (bytes(honest[:size]) for size in range(sent.size))  # cut short
    for at in range(40):  # lengths and counts
        for byte in (0, 0xFF, 0x80):
            changed = bytearray(honest[: sent.size])
            changed[at] = byte
            if changed != honest[: sent.size]:
                yield bytes(changed)
    yield struct.pack("<QQ", 1 << 63, 1 << 63)


WRONG = (
    ValueError,
    pickle.UnpicklingError,
    EOFError,
    struct.error,
    TypeError,
    IndexError,
    MemoryError,  # a string that is said to be longer than any memory
)


def test_lies_about_lengths_are_errors_or_other_values() -> None:
    for lie in lies():
        with suppress(*WRONG):
            message.read(lie)
        with suppress(*WRONG):
            message.read_file(file_of(lie), len(lie), find_nothing)


def test_a_file_that_ends_before_its_size_is_an_error() -> None:
    sent = message.Message(np.arange(1000))
    memory = bytearray(sent.size)
    sent.write(memory)
    for size in (0, 10, 20, 100, sent.size - 1):
        with pytest.raises(WRONG):
            message.read_file(file_of(memory[:size]), sent.size, find_nothing)
