"""How arguments and results travel, as far as the core must know.

Not where each one is: the libraries that convert them see to that. Only how much of the stack may
hold arguments, which results do not come back in the usual registers, and which arguments leave
their value where it was.

The bounds are generous. A word too many copies eight bytes that nobody reads; a word too few would
lose an argument.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from aionif.system.processor import HERE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aionif.system.processor import Processor

__all__ = ("Shape", "array_of", "by_address", "result_memory", "stack_words", "struct_of")

_WORD = 8
_LARGEST_IN_REGISTERS = 16  # bytes of a struct that travels in two registers, whatever is in it


@dataclass(frozen=True, slots=True)
class Shape:
    """What one C type is to the calling convention; size in bytes.

    floats: how many floating-point numbers of one type are all that it consists of; 0 where there
        is anything else in it.
    """

    kind: Literal["void", "integer", "float", "long double", "struct"]
    size: int
    holds_long_double: bool = False
    floats: int = 0

    @property
    def words(self) -> int:
        """Stack words it may take, with the padding that sixteen-byte alignment may add."""
        padding = self.kind in ("long double", "struct")
        return -(-self.size // _WORD) + padding


def struct_of(size: int, members: Iterable[Shape], *, is_union: bool = False) -> Shape:
    """Return the shape of a struct or union of these members."""
    members = list(members)
    counts = [member.floats for member in members]
    floats = max(counts, default=0) if is_union else sum(counts)
    # Each number has the same size, and no padding is left over: so all are of one type.
    is_all = all(member.floats * size == member.size * floats for member in members)
    return Shape(
        "struct",
        size,
        any(member.holds_long_double for member in members),
        floats if is_all and all(counts) else 0,
    )


def array_of(size: int, item: Shape) -> Shape:
    """Return the shape of an array inside a struct."""
    count = size // item.size if item.size else 0
    return Shape("struct", size, item.holds_long_double, item.floats * count)


def _in_memory(shape: Shape, on: Processor) -> bool:
    if shape.kind != "struct" or 0 < shape.floats <= on.floats_of_a_struct:
        return False
    return shape.size > _LARGEST_IN_REGISTERS


def stack_words(shapes: Iterable[Shape], on: Processor = HERE) -> int:
    """Return how many eight-byte stack words arguments of these shapes may fill."""
    address = Shape("integer", _WORD)
    shapes = [address if by_address(shape, on) else shape for shape in shapes]
    if any(shape.kind in ("long double", "struct") for shape in shapes):
        return sum(shape.words for shape in shapes)
    floats = sum(shape.kind == "float" for shape in shapes)
    integers = len(shapes) - floats
    return max(integers - on.integer_registers, 0) + max(floats - on.float_registers, 0)


def result_memory(shape: Shape, on: Processor = HERE) -> int:
    """Return the bytes of a result that the caller provides memory for, or 0."""
    return shape.size if _in_memory(shape, on) else 0


def by_address(shape: Shape, on: Processor = HERE) -> bool:
    """Return whether an argument is passed as the address of a copy, which has to be kept."""
    return on.large_structs_by_address and _in_memory(shape, on)
