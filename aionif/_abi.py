"""How arguments and results travel, as far as the core must know.

Not where each one is: the libraries that convert them see to that. Only how much of the stack may
hold arguments, and which results do not come back in the usual registers.

The bounds are generous. A word too many copies eight bytes that nobody reads; a word too few would
lose an argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ("Shape", "result_memory", "stack_words")

_INTEGER_REGISTERS = 6
_FLOAT_REGISTERS = 8
_WORD = 8
_LARGEST_IN_REGISTERS = 16  # bytes of a struct that still comes back in two registers


@dataclass(frozen=True, slots=True)
class Shape:
    """What one C type is to the calling convention; size in bytes."""

    kind: Literal["void", "integer", "float", "long double", "struct"]
    size: int
    holds_long_double: bool = False

    @property
    def words(self) -> int:
        """Stack words it may take, with the padding that sixteen-byte alignment may add."""
        padding = self.kind in ("long double", "struct")
        return -(-self.size // _WORD) + padding


def stack_words(shapes: Iterable[Shape]) -> int:
    """Return how many eight-byte stack words arguments of these shapes may fill."""
    shapes = list(shapes)
    if any(shape.kind in ("long double", "struct") for shape in shapes):
        return sum(shape.words for shape in shapes)
    floats = sum(shape.kind == "float" for shape in shapes)
    integers = len(shapes) - floats
    return max(integers - _INTEGER_REGISTERS, 0) + max(floats - _FLOAT_REGISTERS, 0)


def result_memory(shape: Shape) -> int:
    """Return the bytes of a result that the caller provides memory for, or 0."""
    in_memory = shape.kind == "struct" and shape.size > _LARGEST_IN_REGISTERS
    return shape.size if in_memory else 0
