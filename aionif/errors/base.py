"""The base of all errors: attributes, text, pickling."""

from __future__ import annotations

import reprlib
from dataclasses import dataclass
from types import BuiltinFunctionType, FunctionType
from typing import Any

from aionif.system.escape import one_line, printable

__all__ = ("NifError", "clip", "short_repr")

_NEWLINE = "\n"
_TEXT_LIMIT = 300  # characters of str() that may come from a panic's reason or from libc


# eq=False: exceptions are compared and hashed by identity; contextlib and logging rely on it.
@dataclass(kw_only=True, eq=False, repr=False)
class NifError(Exception):
    """Base of everything that aionif raises.

    function: name of the native function.
    library: path or name of its library.
    tier: where the call ran: "inline", "thread" or "process".
    """

    function: str | None = None
    library: str | None = None
    tier: str | None = None

    def __str__(self) -> str:
        where, what, remedy = self._where(), clip(self._what()), self._remedy()
        head = f"{printable(where)}: {what}" if where else what
        return f"{head}\n{printable(remedy, keep=_NEWLINE)}" if remedy else head

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        state = self.__dict__.copy()
        if notes := state.get("__notes__"):
            state["__notes__"] = list(notes)  # a note added to a copy is not the original's
        return _restore, (type(self), self.args), state

    def _where(self) -> str:
        library = (self.library or "").rpartition("/")[2]
        place = " in ".join(name for name in (self.function, library) if name)
        tier = None if self.tier is None else f"({self.tier} tier)"
        return " ".join(part for part in (place, tier) if part)

    def _what(self) -> str:
        return "the call failed"

    def _remedy(self) -> str:
        return ""


def _restore(cls: type[NifError], args: tuple[object, ...]) -> NifError:
    """Make an instance without `__init__`; its state follows through `__setstate__`."""
    error = cls.__new__(cls)
    error.args = args
    return error


def clip(text: str) -> str:
    """Make one printable line of bounded length; the text as it is stays in the attributes."""
    line = one_line(text)
    return line if len(line) <= _TEXT_LIMIT else f"{line[: _TEXT_LIMIT - 3]}..."


def short_repr(value: object) -> str:
    """Return a short text for a value; what has a name is shown by that."""
    if isinstance(value, (FunctionType, BuiltinFunctionType, type)):
        kind = "class" if isinstance(value, type) else "function"
        return f"<{kind} {value.__module__}.{value.__qualname__}>"
    try:
        return reprlib.repr(value)
    except ValueError:  # an int of more digits than sys.get_int_max_str_digits()
        return f"<{type(value).__name__} too long to show>"
