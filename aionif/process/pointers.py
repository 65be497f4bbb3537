"""What no way into another process can pass on, for cffi and ctypes alike."""

from __future__ import annotations

from typing import Any, NoReturn

from aionif.errors import NifArgumentError
from aionif.memory import shared
from aionif.system.processor import HERE

__all__ = (
    "INSIDE",
    "is_address",
    "is_foreign_address",
    "refuse_callback",
    "refuse_inside",
    "refuse_pointer",
    "refuse_result",
)

INSIDE = "Put what it points to into an aionif.Buffer, and store its address."

# What is outside is not an address: a flag, a small number.
_LOWEST, _HIGHEST = 1 << 16, HERE.end_of_addresses


def is_address(number: int) -> bool:
    """Return whether it may be one."""
    return _LOWEST <= number < _HIGHEST


def is_foreign_address(number: int) -> bool:
    """Return whether it may be one that means nothing to workers: it is of no buffer."""
    return is_address(number) and shared.find(number, 1) is None


def refuse_inside(value: Any, what: str = "a pointer", remedy: str = INSIDE) -> NoReturn:
    raise NifArgumentError(
        argument="args",
        value=value,
        problem=f"is {what} inside a struct or array, which another process can't follow",
        remedy=remedy,
    )


def refuse_callback(argument: Any) -> NoReturn:
    raise NifArgumentError(
        argument="args",
        value=argument,
        problem="is a function of this process, which a worker process can't call",
        remedy='Run it with isolation="thread", or call a function that takes no callback.',
    )


def refuse_pointer(argument: Any) -> NoReturn:
    raise NifArgumentError(
        argument="args",
        value=argument,
        problem="points to memory of unknown size, which can't be passed to another process",
        remedy="Pass bytes, ffi.new memory or an aionif.Buffer; a pointer that a worker returned "
        "is valid in the session it came from.",
    )


def refuse_result(name: str, what: str, remedy: str) -> NoReturn:
    """A result that would be followed here, to where a worker has said."""
    raise NifArgumentError(
        argument="fn",
        value=name,
        problem=f"returns {what}, which means nothing outside of the worker that returned it",
        remedy=remedy,
    )
