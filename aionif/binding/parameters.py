"""Parameters as ctypes' `paramflags` declare them: defaults, and arguments that are results.

As CPython's Modules/_ctypes/_ctypes.c does it (_build_callargs, _build_result).
"""

from __future__ import annotations

import ctypes
import gc
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("Parameters", "flags_of")

Flags = tuple[tuple[Any, ...], ...]

_IN, _OUT, _LCID = 1, 2, 4
_NO_DEFAULT = object()


def flags_of(function: Any) -> Flags | None:
    """Return the paramflags of a ctypes function.

    ctypes has no attribute for them; the function holds them, as the garbage collector sees.
    """
    for held in gc.get_referents(function):
        if type(held) is tuple and held and all(map(_is_flag, held)):
            return held
    return None


def _is_flag(item: object) -> bool:
    return type(item) is tuple and bool(item) and isinstance(item[0], int)


class Parameters:
    """The parameters of one function."""

    def __init__(self, flags: Flags, argtypes: Sequence[Any]) -> None:
        rest = (None, _NO_DEFAULT)  # a flag, and perhaps a name, and a default
        self._parameters = [
            (*flag, *rest[len(flag) - 1 :], argtype)
            for flag, argtype in zip(flags, argtypes, strict=True)
        ]

    def complete(self, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return what the function is called with.

        Raises:
            TypeError: there are too few arguments, or too many.
        """
        rest = list(arguments)
        whole = [self._one(rest, *parameter) for parameter in self._parameters]
        if rest:
            taken = len(arguments) - len(rest)
            raise TypeError(f"call takes exactly {taken} arguments ({len(arguments)} given)")
        return tuple(whole)

    def _one(
        self, rest: list[Any], flag: int, name: str | None, default: object, argtype: Any
    ) -> Any:
        kind = flag & (_IN | _OUT | _LCID)
        if kind == _OUT:
            return _made(argtype) if default is _NO_DEFAULT else default
        if kind == _IN | _LCID:
            return 0 if default is _NO_DEFAULT else default
        if rest:
            return rest.pop(0)
        if default is _NO_DEFAULT:
            raise TypeError(f"required argument {name!r} missing")
        return default

    def result(self, result: Any, arguments: tuple[Any, ...]) -> Any:
        """Return what the call returns: the arguments that are results, where there are some."""
        found = [
            argument.__ctypes_from_outparam__() if flag & (_IN | _OUT) == _OUT else argument
            for argument, (flag, *_) in zip(arguments, self._parameters, strict=True)
            if flag & _OUT
        ]
        if not found:
            return result
        return found[0] if len(found) == 1 else tuple(found)


def _made(argtype: Any) -> Any:
    """Return new memory for the result that an argument of this type is."""
    if issubclass(argtype, ctypes.Array):
        return argtype()
    target = argtype._type_
    if isinstance(target, str):
        message = f"{argtype.__name__} 'out' parameter must be passed as default value"
        raise TypeError(message)
    return target()
