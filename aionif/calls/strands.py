"""Strands of libraries that are not thread-safe: one for the whole process, and for ever."""

from __future__ import annotations

from typing import Any

from aionif.calls.submit import plan_of
from aionif.core.native import ffi, lib

__all__ = ("forget_strands", "serial_strand")

_strands: dict[int, Any] = {}


def serial_strand(fn: Any) -> Any:
    """Return the strand of a function's library."""
    module = ffi.new("struct aionif_module *")
    address = plan_of(fn).address
    # By where it is loaded: a library may be named in several ways.
    key = int(module.bias) if lib.aionif_locate(address, module) else address
    if key not in _strands:
        _strands[key] = lib.aionif_strand_open(0)
    return _strands[key]


def forget_strands() -> None:
    """In the child of a fork: the strands are the parent's."""
    _strands.clear()
