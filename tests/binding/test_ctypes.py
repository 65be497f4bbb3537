"""Functions of ctypes: what they take, what they return, and when their types change."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from aionif import NifArgumentError, call_nif
from tests.support.binding import SLOW

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


class Point(ctypes.Structure):
    _fields_ = (("x", ctypes.c_int), ("y", ctypes.c_int))


class Big(ctypes.Structure):
    _fields_ = (("numbers", ctypes.c_double * 5), ("tag", ctypes.c_int))


@pytest.fixture
def c(path: Path) -> ctypes.CDLL:
    """A fresh ctypes view, whose functions have no types yet."""
    return ctypes.CDLL(str(path), use_errno=True)


def test_ctypes_without_types(c: ctypes.CDLL, call: Callable[..., Any]) -> None:
    assert call(c.doubled, 21, None) == 42
    assert call(c.length_of_text, b"four", SLOW) == 4
    assert call(c.sum_of_wide_text, "abc", SLOW) == 294
    assert call(c.sum_of, 10, *range(10)) == 45
    assert call(c.dot, ctypes.byref(Point(2, 3)), ctypes.pointer(Point(5, 7)), SLOW) == 31


def test_ctypes_with_types(c: ctypes.CDLL, call: Callable[..., Any]) -> None:
    c.sum_doubles.restype = ctypes.c_double
    c.sum_doubles.argtypes = [ctypes.POINTER(ctypes.c_double), ctypes.c_long, ctypes.c_int]
    array = (ctypes.c_double * 3)(0.5, 1.5, 2.5)
    assert call(c.sum_doubles, array, 3, SLOW) == 4.5
    c.sum_of_wide_text.argtypes = [ctypes.c_wchar_p, ctypes.c_int]
    assert call(c.sum_of_wide_text, "abc", SLOW) == 294
    c.negate.argtypes, c.negate.restype = [ctypes.c_bool], ctypes.c_bool
    assert call(c.negate, False) is True
    c.half_long.argtypes, c.half_long.restype = [ctypes.c_longdouble], ctypes.c_longdouble
    assert call(c.half_long, 3.0) == 1.5


def test_ctypes_buffers(c: ctypes.CDLL, call: Callable[..., Any]) -> None:
    c.sum_bytes.argtypes = [ctypes.c_void_p, ctypes.c_long, ctypes.c_int]
    for buffer in (b"\1\2\3", bytearray(b"\1\2\3"), np.array([1, 2, 3], dtype=np.uint8)):
        assert call(c.sum_bytes, buffer, 3, SLOW) == 6
    assert call(c.sum_bytes, ctypes.create_string_buffer(b"\1\2\3"), 3, SLOW) == 6


def test_ctypes_pointers(c: ctypes.CDLL, call: Callable[..., Any]) -> None:
    for kind in (None, ctypes.c_void_p, ctypes.POINTER(Point)):
        if kind is not None:
            c.dot.argtypes = [kind, kind, ctypes.c_int]
        for one in (ctypes.byref(Point(2, 3)), ctypes.pointer(Point(2, 3))):
            assert call(c.dot, one, ctypes.pointer(Point(5, 7)), SLOW) == 31


def test_ctypes_structures(c: ctypes.CDLL, call: Callable[..., Any]) -> None:
    c.mirror.argtypes, c.mirror.restype = [Point], Point
    point = call(c.mirror, Point(1, 2))
    assert (point.x, point.y) == (2, 1)
    c.make_big.argtypes, c.make_big.restype = [ctypes.c_int, Big, ctypes.c_int], Big
    for ms in (0, SLOW):
        big = call(c.make_big, 7, Big((1.0,) * 5, 0), ms)
        assert (list(big.numbers), big.tag) == ([1.0, 2.0, 3.0, 4.0, 5.0], 7)


def test_ctypes_results_by_the_callers_rule(c: ctypes.CDLL, call: Callable[..., Any]) -> None:
    c.doubled.restype = lambda value: f"<{value}>"
    assert call(c.doubled, 21, None) == "<42>"
    seen = []

    def check(result: Any, function: Any, arguments: tuple[Any, ...]) -> Any:
        seen.append((result, function, arguments))
        return "checked"

    c.length_of_text.errcheck = check
    assert call(c.length_of_text, b"four", 0) == "checked"
    assert seen == [(4, c.length_of_text, (b"four", 0))]

    def fail(result: Any, _function: Any, _arguments: tuple[Any, ...]) -> Any:
        raise OSError(result, "by errcheck")

    c.length_of_text.errcheck = fail
    for _ in range(2):
        with pytest.raises(OSError, match="by errcheck"):
            call(c.length_of_text, b"four", 0)


def test_ctypes_types_changed_later_are_respected(c: ctypes.CDLL, call: Callable[..., Any]) -> None:
    assert call(c.negate, 0) == 1
    c.negate.restype = ctypes.c_bool
    assert call(c.negate, 0) is True
    c.negate.argtypes = [ctypes.c_bool]
    assert call(c.negate, []) is True


def test_ctypes_callbacks_and_function_pointers(
    c: ctypes.CDLL, call_here: Callable[..., Any]
) -> None:
    operation_type = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int, ctypes.c_void_p)
    operation = operation_type(lambda value, _context: value * 10)
    assert call_here(c.apply, operation, 4, None) == 41
    c.find_operation.restype = operation_type
    found = call_here(c.find_operation)
    assert call_here(found, 21, None) == 42
    assert call_here(c.apply, found, 4, None) == 9


def test_ctypes_functions_that_need_the_interpreter_are_refused() -> None:
    with pytest.raises(NifArgumentError, match="PyDLL"):
        call_nif(ctypes.pythonapi.Py_GetVersion)


def test_variadics_of_ctypes(call: Callable[..., Any]) -> None:
    snprintf = ctypes.CDLL("libc.so.6").snprintf
    snprintf.argtypes = [ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p]
    out = ctypes.create_string_buffer(100)
    floats = [ctypes.c_double(n / 2) for n in range(10)]
    assert call(snprintf, out, 100, b"%d %s" + b" %.1f" * 10, 5, b"text", *floats) == 46
    assert out.value == b"5 text 0.0 0.5 1.0 1.5 2.0 2.5 3.0 3.5 4.0 4.5"
