"""Arguments for another process: what each pointer points to goes along.

Scalars and structs travel in the call's registers as everywhere. Memory that an argument points to
is copied into the call's block, whose address is passed in its place, and copied back when the call
has returned, if Python could see the change. Memory of an `aionif.Buffer` stays where it is: it has
the same address there. What is too large for a block is copied into a buffer first.

What is declared as a pointer to const is taken at its word, as what is read-only here: a buffer is
then mapped for reading alone, and nothing is copied back.

What can't be followed is refused: a pointer inside a struct, a function of this process, a pointer
whose target has no known size. A session may pass on pointers that its worker returned, so there
they are taken for such.
"""

from __future__ import annotations

import ctypes
from functools import partial
from typing import TYPE_CHECKING, Any

import _cffi_backend as backend

from aionif.binding.abi import result_memory
from aionif.binding.of_cffi import CData, shape_of
from aionif.core.native import ffi
from aionif.errors import NifArgumentError
from aionif.memory import shared
from aionif.memory.arena import SIZE, Block
from aionif.process import mapped
from aionif.process.packed import Packed, Packing
from aionif.process.packing_ctypes import pack_ctypes
from aionif.process.pointers import (
    is_address,
    is_foreign_address,
    refuse_callback,
    refuse_inside,
    refuse_pointer,
    refuse_result,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from aionif.binding.plan import Plan

__all__ = ("packing_of",)

_OWNERS = (
    getattr(backend, "__CDataOwn"),
    getattr(backend, "__CDataFromBuf"),
)
# here, there, bytes, whether it can be written to for certain, whether it is of a file
_Span = tuple[int, int, int, bool, bool]


def packing_of(plan: Plan, warm: shared.Warm | None, *, is_session: bool) -> Packing:
    """Return how calls of `plan` get their memory across."""
    if plan.ctype is None:
        return Packing(_packer(plan, partial(pack_ctypes, is_session), warm), _unpack)
    ctype = plan.ctype
    if ctype.result.kind == "function":
        refuse_result(plan.name, "a function pointer", "Declare it to return void *.")
    needs = (
        ctype.ellipsis
        or result_memory(shape_of(ctype.result))
        or any(_holds_pointers(argument) for argument in ctype.args)
    )
    if not needs:
        return Packing(plan.prepare, None)

    def pack_one(index: int, argument: Any, given: Any, packer: _Packer) -> Any:
        expected = ctype.args[index] if index < len(ctype.args) else None
        packer.is_readonly = index in plan.constant or _is_readonly(given)
        packer.is_sure = not isinstance(given, _OWNERS[1])
        packer.is_mapped = mapped.is_mapped(given)
        return _pack_cffi(expected, argument, packer, is_session)

    return Packing(_packer(plan, pack_one, warm), _unpack)


class _Packer:
    """The memory of one call while it is put together."""

    def __init__(self, warm: shared.Warm | None) -> None:
        self.warm = warm
        self.block = Block()
        self.keep: list[Any] = []
        self.back: list[_Span] = []
        self.is_readonly = False  # the argument that is looked at
        self.is_sure = True
        self.is_mapped = False

    def add(self, address: int, size: int, *, writable: bool) -> int:
        """Return where the worker will find this memory."""
        found = shared.find(address, size)
        if found is not None:
            self.block.grant(found[0], writable=writable and found[1])
            return address
        there = self.block.take(size) if size <= SIZE // 2 else 0
        if not there:
            # Where a worker has once been let write, it can write for as long as it lives.
            warm = None if writable else self.warm
            large = shared.Memory(max(size, 1), writable=writable, warm=warm)
            self.keep.append(large)
            self.block.grant(large.number, writable=writable)
            there = large.address
            try:
                large.fill(ffi.buffer(ffi.cast("char *", address), size))
            except OSError as problem:
                mapped.refuse_cut(problem)
        else:
            if writable:
                self.block.pointer.back = self.block.used
            if self.is_mapped:
                mapped.copy(there, address, size)
            else:
                ctypes.memmove(there, address, size)  # without the interpreter's lock
        if writable:
            self.back.append((address, there, size, self.is_sure, self.is_mapped))
        return there


def _packer(
    plan: Plan, pack_one: Callable[[int, Any, Any, _Packer], Any], warm: shared.Warm | None
) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    memory = int(plan.struct.result_memory)

    def pack(given: tuple[Any, ...]) -> tuple[Any, ...]:
        arguments = given if plan.prepare is None else plan.prepare(given)
        packer = _Packer(warm)
        if memory:
            where = packer.block.take(memory)
            if not where:
                raise NifArgumentError(
                    argument="fn", value=plan.name, problem=f"returns {memory} bytes by value"
                )
            packer.block.pointer.result = where - packer.block.address
        packed = Packed(
            pack_one(index, each, given[index], packer) for index, each in enumerate(arguments)
        )
        packed.block = packer.block
        packed.keep = (arguments, packer.keep)
        packed.back = packer.back
        return packed

    return pack


def _unpack(result: Any, arguments: tuple[Any, ...], _door: Any) -> Any:
    if type(arguments) is Packed:
        for here, there, size, is_sure, is_mapped in arguments.back:
            if is_mapped:
                mapped.copy(here, there, size)
            elif is_sure or ctypes.string_at(here, size) != ctypes.string_at(there, size):
                ctypes.memmove(here, there, size)
    return result


# ---- cffi ----


def _pack_cffi(expected: Any, argument: Any, packer: _Packer, is_session: bool) -> Any:  # noqa: FBT001
    if type(argument) is bytes and (expected is None or expected.kind == "pointer"):
        here = int(ffi.cast("uintptr_t", ffi.from_buffer(argument)))
        there = packer.add(here, len(argument) + 1, writable=False)  # with the NUL that ends it
        return backend.cast(expected or ffi.typeof("char *"), there)
    if not isinstance(argument, CData):
        return argument  # a number, or what cffi is about to refuse
    ctype = backend.typeof(argument)
    if ctype.kind in ("struct", "union"):
        _check_inside(argument, ctype, is_session)
        return argument
    if ctype.kind == "function":
        return argument if int(ffi.cast("uintptr_t", argument)) == 0 else refuse_callback(argument)
    if ctype.kind not in ("pointer", "array"):
        return argument
    return _pack_pointer(expected, argument, ctype, packer, is_session)


def _pack_pointer(
    expected: Any,
    argument: Any,
    ctype: Any,
    packer: _Packer,
    is_session: bool,  # noqa: FBT001
) -> Any:
    address = int(ffi.cast("uintptr_t", argument))
    if not is_address(address):
        return argument
    size = _size_behind(argument, ctype)
    if size is None:
        found = shared.find(address, 1)
        if found is not None:
            packer.block.grant(found[0], writable=found[1] and not packer.is_readonly)
            return argument
        if is_session:
            return argument
        refuse_pointer(argument)
    _check_inside(argument, ctype, is_session)
    there = packer.add(address, size, writable=not packer.is_readonly)
    target = expected if expected is not None else ctype
    if target.kind == "array":
        target = backend.new_pointer_type(target.item)
    return backend.cast(target, there)


def _size_behind(argument: Any, ctype: Any) -> int | None:
    if ctype.kind == "array":
        return int(backend.sizeof(argument))
    if type(argument) is _OWNERS[0]:
        item = ctype.item
        inside = item.kind in ("struct", "union")
        return int(backend.sizeof(argument[0]) if inside else backend.sizeof(item))
    return None


def _is_readonly(given: Any) -> bool:
    if isinstance(given, CData):
        return False
    try:
        return memoryview(given).readonly
    except TypeError:
        return False


def _holds_pointers(ctype: Any) -> bool:
    if ctype.kind in ("pointer", "function"):
        return True
    if ctype.kind in ("struct", "union"):
        return any(_holds_pointers(field.type) for _, field in ctype.fields or ())
    return ctype.kind == "array" and _holds_pointers(ctype.item)


def _check_inside(argument: Any, ctype: Any, is_session: bool) -> None:  # noqa: FBT001
    """Raise NifArgumentError if what is passed along holds a pointer of this process."""
    if is_session or (ctype.kind in ("pointer", "array") and not _holds_pointers(ctype.item)):
        return
    if ctype.kind in ("pointer", "array"):
        count = len(argument) if ctype.kind == "array" else 1
        for index in range(count):
            _check_value(argument[index], ctype.item)
    else:
        _check_value(argument, ctype)


def _check_value(value: Any, ctype: Any) -> None:
    if ctype.kind in ("pointer", "function"):
        address = int(ffi.cast("uintptr_t", value))
        if is_foreign_address(address):
            refuse_inside(value)
    elif ctype.kind in ("struct", "union"):
        for name, field in ctype.fields or ():
            if _holds_pointers(field.type):
                _check_value(getattr(value, name), field.type)
    elif ctype.kind == "array" and _holds_pointers(ctype.item):
        for item in value:
            _check_value(item, ctype.item)
