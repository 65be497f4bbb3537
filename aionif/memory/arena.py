"""Memory of a call in the process tier: a block of the core's arena, and what is in it.

A block has the same address in the worker as here, but not the same memory: the core copies it into
the lane of the worker that gets the call. See csrc/processes/segment.h.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING

from aionif.core.native import ffi, lib
from aionif.errors import NifRejected

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("HEADER", "SIZE", "Block", "in_line", "is_in_line")

SIZE: int = lib.AIONIF_BLOCK
HEADER: int = (ffi.sizeof("struct aionif_block") + 63) & ~63
_ALIGNMENT = 16  # of malloc, which native code may count on
_GRANTS: int = lib.AIONIF_GRANTS

_free: list[int] = []
_mapped = False
_in_line: set[Block] = set()


class Block:
    """One call's memory; it goes back to the arena when nobody uses it any more.

    address: of the block. pointer: its head. used: bytes of it that are taken.
    """

    __slots__ = ("address", "pointer", "used")

    def __init__(self) -> None:
        if not _mapped:
            _map()
        try:
            self.address = _free.pop()
        except IndexError:
            raise NifRejected(
                reason=f"{lib.aionif_arena_blocks()} calls with memory of their own are under way",
                remedy="Lower max_queue; where address space is limited (ulimit -v), raise that.",
            ) from None
        self.pointer = ffi.cast("struct aionif_block *", self.address)
        self.used = HEADER
        head = self.pointer
        head.used = head.back = HEADER
        head.result = head.grant_count = 0

    def __del__(self) -> None:
        lib.aionif_block_clear(self.pointer)
        _free.append(self.address)

    def take(self, size: int) -> int:
        """Return the address of `size` bytes, or 0 where the block has not so many left."""
        offset = self.used
        self.used = (offset + size + _ALIGNMENT - 1) & -_ALIGNMENT
        if self.used > SIZE:
            self.used = offset
            return 0
        self.pointer.used = self.used
        return self.address + offset

    def grant(self, buffer: int, *, writable: bool) -> None:
        """Have the worker map a buffer, by its number in the core, before the call begins."""
        head = self.pointer
        for index in range(head.grant_count):
            if head.grants[index] >> 1 == buffer:
                head.grants[index] |= writable
                return
        if head.grant_count == _GRANTS:
            raise NifRejected(
                reason=f"a call can use at most {_GRANTS} buffers",
                remedy="Put several arrays into one aionif.Buffer.",
            )
        head.grants[head.grant_count] = buffer << 1 | writable
        head.grant_count += 1

    def has(self, buffer: int) -> bool:
        """Return whether the call is granted a buffer."""
        head = self.pointer
        return any(head.grants[index] >> 1 == buffer for index in range(head.grant_count))


@contextmanager
def in_line(block: Block | None) -> Iterator[None]:
    """Know of a call that waits until the core takes it."""
    if block is None:
        yield
        return
    _in_line.add(block)
    try:
        yield
    finally:
        _in_line.discard(block)


def is_in_line(buffer: int) -> bool:
    """Return whether a call waits to be taken that will be granted a buffer."""
    return any(block.has(buffer) for block in tuple(_in_line))


def _map() -> None:
    global _mapped  # noqa: PLW0603 - once a process
    start = int(lib.aionif_arena(0))
    if not start:
        raise NifRejected(
            reason="there is no memory for the arguments of worker processes",
            remedy="Start worker processes first.",
        )
    # The first ones on top: memory that was used before is in the worker's page tables already.
    _free.extend(start + index * SIZE for index in reversed(range(lib.aionif_arena_blocks())))
    _mapped = True
