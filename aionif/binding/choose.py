"""Which binder a function belongs to."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

from aionif.binding import of_cffi, of_ctypes
from aionif.binding.plan import NifFunction
from aionif.core.native import ffi

if TYPE_CHECKING:
    from aionif.binding.plan import Plan

__all__ = ("bind", "is_foreign")


def bind(function: Any) -> Plan:
    """Return the plan of a NifLibrary, cffi or ctypes function.

    Raises:
        NifArgumentError: it is none of these, or its address holds no code.
    """
    if isinstance(function, NifFunction):
        return function.plan
    if isinstance(function, ctypes._CFuncPtr):  # type: ignore[attr-defined] # noqa: SLF001
        return of_ctypes.bind(function)
    return of_cffi.bind(function)


def is_foreign(function: Any) -> bool:
    """Return whether it belongs to cffi or ctypes, though perhaps it can't be called through us."""
    if isinstance(function, (NifFunction, ctypes._CFuncPtr)):  # type: ignore[attr-defined] # noqa: SLF001
        return True
    try:
        ffi.typeof(function)
    except TypeError:
        return False
    return True
