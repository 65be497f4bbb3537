"""Which buffers of Python may be passed for which pointers.

What is passed is an address, so nothing but this looks at what lies there: whole numbers where
floating-point ones are expected, or memory that must not be written to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Literal

    Kind = Literal["float", "complex", "integer", "any"]

__all__ = ("Shared", "UnfitError", "check_items", "check_writable", "kind_of_format")

# The letters of the struct module, and those that array.array has for text. Half a float has no
# type in C, and is commonly passed as a uint16_t.
_INTEGERS = frozenset("?cbBhHiIlLqQnNPuwe")
_FLOATS = frozenset("fdg")
_BIG_ENDIAN = (">", "!")


class UnfitError(TypeError):
    """A buffer that is none for a pointer."""

    def __init__(self, problem: str, remedy: str) -> None:
        super().__init__(problem)
        self.remedy = remedy


class Shared:
    """Memory that is passed by its address, and not as a view of it."""

    def memory_for_calls(self) -> Any:
        """Return it as what `ffi.buffer` makes, which keeps it."""
        raise NotImplementedError


def kind_of_format(text: str) -> Kind | None:
    """Return what the items of a buffer are by its format; None: nothing that C has a name for."""
    letter = text.lstrip("@=<>!")
    if letter[:1] == "Z":
        return "complex"
    if letter in _FLOATS:
        return "float"
    return "integer" if letter in _INTEGERS else None


def check_items(view: memoryview, kind: Kind, size: int) -> None:
    """Raise UnfitError unless the items of a buffer are what a pointer points to.

    size: bytes of what it points to.
    """
    problem = None
    if view.itemsize != size:
        problem = f"items have {view.itemsize} bytes, where {size} are expected"
    elif kind != "any" and kind_of_format(view.format) != kind:
        problem = f"items are of format {view.format!r}, where {_NAMES[kind]} are expected"
    elif kind != "any" and view.format.startswith(_BIG_ENDIAN) and size > 1:
        problem = f"items, of format {view.format!r}, have the other byte order"
    if problem is not None:
        raise UnfitError(
            f"it is a buffer whose {problem}", "Convert it, by numpy's astype() for one."
        )


def check_writable(view: memoryview) -> None:
    """Raise UnfitError for a read-only buffer."""
    if view.readonly:
        raise UnfitError(
            "it is a read-only buffer, and may be written to by the pointer",
            "Pass a copy; or declare the pointer const, if the function only reads.",
        )


_NAMES: dict[Kind, str] = {
    "float": "floating-point numbers",
    "complex": "complex numbers",
    "integer": "whole numbers",
}
