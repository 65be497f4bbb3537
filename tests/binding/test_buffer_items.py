"""Buffers as pointer arguments: what they hold must be what the pointer points to."""

from __future__ import annotations

import ctypes
from array import array
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from aionif import Buffer, NifArgumentError, NifExecutor, call_nif, load
from tests.support import run_on

if TYPE_CHECKING:
    from collections.abc import Callable

TIERS = ("inline", "thread", "process")
TYPES: dict[str, Any] = {
    "double": ctypes.c_double,
    "float": ctypes.c_float,
    "int64_t": ctypes.c_int64,
    "uint32_t": ctypes.c_uint32,
    "uint16_t": ctypes.c_uint16,
}


def by_cffi(name: str) -> Any:
    return load("libc.so.6", f"void *memmove({name} *to, const {name} *from, size_t n);").memmove


def by_ctypes(name: str) -> Any:
    function = ctypes.CDLL("libc.so.6").memmove
    pointer = ctypes.POINTER(TYPES[name])
    function.argtypes, function.restype = [pointer, pointer, ctypes.c_size_t], ctypes.c_void_p
    return function


def call(tier: str, function: Any, *arguments: Any) -> None:
    async def main() -> None:
        async with NifExecutor(isolation=tier, max_workers=1) as executor:  # type: ignore[arg-type]
            await executor.execute_nif(function, *arguments)

    run_on("asyncio", main)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("bind", [by_cffi, by_ctypes])
@pytest.mark.parametrize(
    ("name", "code"),
    [("double", "d"), ("float", "f"), ("int64_t", "q"), ("int64_t", "Q"), ("uint32_t", "i")],
)
def test_items_that_are_the_targets(
    bind: Callable[[str], Any], name: str, code: str, tier: str
) -> None:
    to = array(code, [0, 0])
    call(tier, bind(name), to, array(code, [3, 5]), 2 * to.itemsize)
    assert list(to) == [3, 5]
    numbers = np.zeros(2, dtype=code)
    call(tier, bind(name), numbers, np.array([3, 5], dtype=code), numbers.nbytes)
    assert numbers.tolist() == [3, 5]


WRONG: list[tuple[str, Any]] = [
    ("double", array("q", [0])),
    ("double", array("f", [0])),
    ("double", np.zeros(1, dtype=np.uint64)),
    ("double", np.zeros(1, dtype=np.complex64)),
    ("double", np.zeros(1, dtype=">f8")),
    ("double", np.zeros(1, dtype=[("a", "f4"), ("b", "f4")])),
    ("float", array("i", [0])),
    ("float", np.zeros(2, dtype=np.float16)),
    ("int64_t", array("d", [0])),
    ("int64_t", np.zeros(1, dtype=">i8")),
    ("uint32_t", np.zeros(1, dtype=np.float32)),
    ("uint32_t", memoryview(bytearray(8)).cast("f")),
]


@pytest.mark.parametrize("bind", [by_cffi, by_ctypes])
@pytest.mark.parametrize(("name", "buffer"), WRONG)
def test_items_that_are_something_else(bind: Callable[[str], Any], name: str, buffer: Any) -> None:
    with pytest.raises(NifArgumentError, match="buffer") as error:
        call_nif(bind(name), buffer, buffer, 4)
    assert error.value.argument == 0


def test_halves_of_floats_are_passed_as_they_commonly_are() -> None:
    to = np.zeros(2, dtype=np.float16)
    call_nif(by_cffi("uint16_t"), to, np.array([1, 2], dtype=np.float16), 4)
    assert to.tolist() == [1, 2]


@pytest.mark.parametrize("bind", [by_cffi, by_ctypes])
def test_a_read_only_buffer_is_not_written_to(bind: Callable[[str], Any]) -> None:
    numbers = np.zeros(2)
    numbers.flags.writeable = False
    for readonly in (numbers, memoryview(array("d", [0, 0])).toreadonly()):
        with pytest.raises(NifArgumentError, match=r"read-only|not writable") as error:
            call_nif(bind("double"), readonly, array("d", [0, 0]), 16)
        assert error.value.argument == 0
    assert numbers.tolist() == [0, 0]


def test_where_the_target_is_const_it_is_read() -> None:
    to = array("d", [0, 0])
    numbers = np.array([3.0, 5.0])
    numbers.flags.writeable = False
    call_nif(by_cffi("double"), to, numbers, 16)
    assert list(to) == [3, 5]


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("bind", [by_cffi, by_ctypes])
@pytest.mark.parametrize("name", TYPES)
def test_a_buffer_of_ours_is_taken_for_any_pointer(
    bind: Callable[[str], Any], name: str, tier: str
) -> None:
    with Buffer(16) as to, Buffer(16) as origin:
        origin.view()[:] = bytes(range(16))
        call(tier, bind(name), to, origin, 16)
        assert bytes(to.view()) == bytes(range(16))
