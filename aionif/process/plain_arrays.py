"""Arrays of plain data, from their memory and what is said of them.

The kinds are those of a list: no text of a dtype is looked at by numpy that is not on it. So there
are numbers in it and nothing else, in as much memory as there is.
"""

from __future__ import annotations

import sys
from array import array
from typing import Any

from aionif.process.plain import CODES, DTYPES, MOST_DIMENSIONS, ArrayKind

__all__ = ("NumpyWantedError", "copied_bytes", "make_array")

_CHUNK = 1 << 20  # bytes that are copied while other threads wait


class NumpyWantedError(Exception):
    """There is an array, and importing numpy takes a while: ask again where there is time."""


def copied_bytes(kind: int, code: str, size: int) -> int:
    """Return how much memory is taken besides the buffer."""
    return size if kind == ArrayKind.ARRAY or code == "|b1" else 0


def make_array(
    kind: int, code: str, shape: tuple[int, ...], buffer: Any, *, may_import: bool
) -> Any:
    """Return an array in `buffer`, or a copy of it.

    Raises:
        ValueError: there is none like that. NumpyWantedError. ImportError.
    """
    if kind == ArrayKind.ARRAY:
        return _make_array(code, buffer)
    if "numpy" not in sys.modules and not may_import:
        raise NumpyWantedError
    return _make_ndarray(kind & ~ArrayKind.FORTRAN, code, shape, buffer, kind & ArrayKind.FORTRAN)


def _make_array(code: str, buffer: Any) -> Any:
    if code not in CODES:
        raise ValueError("an array of no kind")
    made: array[Any] = array(code)
    if len(buffer) % made.itemsize:
        raise ValueError("an array whose last item is cut off")
    view = memoryview(buffer)
    for start in range(0, len(buffer), _CHUNK):
        made.frombytes(view[start : start + _CHUNK])
    return made


def _make_ndarray(
    kind: int, code: str, shape: tuple[int, ...], buffer: Any, is_fortran: int
) -> Any:
    if code not in DTYPES or kind not in (ArrayKind.NDARRAY, ArrayKind.SCALAR):
        raise ValueError("an array of no kind")
    size = int(code[2:])
    for length in shape:
        size *= length
    if size != len(buffer) or len(shape) > MOST_DIMENSIONS or (kind == ArrayKind.SCALAR and shape):
        raise ValueError("an array of another size than its memory")
    import numpy as np  # noqa: PLC0415 - where a worker has sent an array of it

    order: Any = "F" if is_fortran else "C"
    made: Any = np.ndarray(shape, np.dtype(code), buffer, order=order)
    if code == "|b1":  # numpy takes every byte of these for 0 or 1, also where it counts
        sound = np.empty_like(made)
        np.not_equal(made.view("u1"), 0, out=sound)
        sound.flags.writeable = made.flags.writeable
        made = sound
    return made[()] if kind == ArrayKind.SCALAR else made
