"""Arguments and results of ctypes functions, for calls in another process.

ctypes follows some pointers by itself: whoever looks at a `c_char_p` gets the string behind it, a
`py_object` is an object, a function pointer can be called. From a worker such an address may be
any, so none of these types may hold what a worker has returned or written: as a result, or in
memory that is copied back, they are refused before the call, by name. `POINTER(...)` follows when
it is told to. As a result it is one that refuses.

Where an argument points to memory, that is found by what ctypes keeps for the pointer, never by
what the pointer says: a worker may have written it.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import TYPE_CHECKING, Any, NoReturn

from aionif.errors import NifArgumentError
from aionif.memory import shared
from aionif.process.pointers import (
    is_address,
    is_foreign_address,
    refuse_callback,
    refuse_inside,
    refuse_pointer,
    refuse_result,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("pack_ctypes", "result_elsewhere")

_FUNCTION: Any = ctypes._CFuncPtr  # type: ignore[attr-defined] # noqa: SLF001
_SIMPLE: Any = ctypes._SimpleCData  # noqa: SLF001
_POINTER: Any = type(ctypes.POINTER(ctypes.c_int)()).__mro__[1]
_DATA = (ctypes.Array, ctypes.Structure, ctypes.Union, _SIMPLE)
_CONVERTED: Any = type(ctypes.byref(ctypes.c_int()))
_TAG = len("<cparam '")  # in the repr: nothing else tells a pointer from a value
_FOLLOWED = (ctypes.c_char_p, ctypes.c_wchar_p, ctypes.py_object, _FUNCTION)
_TEXTS = (ctypes.c_char_p, ctypes.c_wchar_p)


# ---- results ----


def result_elsewhere(name: str, restype: Any) -> Any:
    """Return the type of a result that comes from a worker, in place of a function's own.

    Raises:
        NifArgumentError: ctypes would follow it.
    """
    if not isinstance(restype, type):
        return restype  # None, or a callable that is given a number
    for _, inner in _pointers_in(restype):
        if issubclass(inner, _FOLLOWED):
            where = "" if inner is restype else f" in a {restype.__name__}"
            refuse_result(name, f"{inner.__name__}{where}", _remedy(inner))
    return _unfollowed(restype) if issubclass(restype, _POINTER) else restype


def _remedy(kind: Any) -> str:
    if issubclass(kind, _TEXTS):
        return (
            "Set it to ctypes.c_void_p, and read behind it with session.read_string; or call the "
            "function in a Python callable, which returns the bytes."
        )
    return "Set it to ctypes.c_void_p, or call the function in a Python callable in the worker."


@cache
def _unfollowed(pointer: Any) -> Any:
    """Return the type of a pointer that a worker returned: it can be passed on, and compared."""

    def refuse(_self: object, *_: object) -> NoReturn:
        raise NifArgumentError(
            argument="pointer",
            value=pointer.__name__,
            problem="points into the worker that returned it",
            remedy="Read behind it with session.read_bytes, in the session it came from.",
        )

    members = {
        "_type_": pointer._type_,
        "contents": property(refuse, refuse),
        "__getitem__": refuse,
        "__setitem__": refuse,
    }
    return type(pointer.__name__, (pointer,), members)


# ---- pointers inside of memory ----


@cache
def _pointers_in(kind: Any) -> tuple[tuple[int, Any], ...]:
    """Return offset and type of each pointer in memory of a type; of an array, in one item."""
    if issubclass(kind, (ctypes.Structure, ctypes.Union)):
        return tuple(_pointers_in_fields(kind))
    if issubclass(kind, ctypes.Array):
        return _pointers_in(kind._type_)
    return ((0, kind),) if issubclass(kind, (*_FOLLOWED, _POINTER, ctypes.c_void_p)) else ()


def _pointers_in_fields(kind: Any) -> Iterator[tuple[int, Any]]:
    for each in kind.__mro__:
        for name, inner, *_ in vars(each).get("_fields_", ()):
            found = _pointers_in(inner)
            count = _count_items(inner) if found else 0
            start = vars(each)[name].offset if found else 0
            for index in range(count):
                step = ctypes.sizeof(inner) // count * index
                yield from ((start + step + offset, pointer) for offset, pointer in found)


def _count_items(kind: Any) -> int:
    count = 1
    while issubclass(kind, ctypes.Array):
        count, kind = count * kind._length_, kind._type_
    return count


def _check_inside(data: Any, is_session: bool, *, comes_back: bool) -> None:  # noqa: FBT001
    """Raise NifArgumentError if what is passed along holds a pointer of this process.

    comes_back: or if it would hold one of the worker that is followed here.
    """
    kind: Any = type(data)
    found = _pointers_in(kind)
    if not found:
        return
    for _, inner in found if comes_back else ():
        if issubclass(inner, _FOLLOWED):
            refuse_inside(data, f"a {inner.__name__}", "Declare it as ctypes.c_void_p.")
    count = _count_items(kind)
    start, step = ctypes.addressof(data), ctypes.sizeof(kind) // max(count, 1)
    for index in range(0 if is_session else count):
        for offset, _ in found:
            value = ctypes.c_size_t.from_address(start + index * step + offset).value
            if is_foreign_address(value):
                refuse_inside(data)


# ---- arguments ----


def pack_ctypes(  # noqa: PLR0911 - a table in code
    is_session: bool,  # noqa: FBT001
    _index: int,
    argument: Any,
    given: Any,
    packer: Any,
) -> Any:
    """Return an argument, as it was converted, in the form in which it means the same there."""
    if isinstance(argument, _FUNCTION):
        return refuse_callback(argument) if argument else argument
    if isinstance(argument, (ctypes.Structure, ctypes.Union)):
        _check_inside(argument, is_session, comes_back=False)
        return argument
    if isinstance(argument, ctypes.py_object):
        return refuse_pointer(given)
    if isinstance(argument, _CONVERTED):
        return _pack_converted(argument, given, packer, is_session)
    if isinstance(argument, _POINTER):
        return _pack_pointer(argument, _value_of(argument), argument, packer, is_session)
    if isinstance(argument, ctypes.Array):
        return _pack_data(argument, ctypes.addressof(argument), packer, is_session)
    if isinstance(argument, bytes) or isinstance(given, ctypes.c_char_p):
        text = argument if isinstance(argument, bytes) else given.value
        return argument if text is None else _pack_bytes(text, packer)
    if isinstance(argument, ctypes.c_void_p):
        return _pack_address(argument, argument.value or 0, given, packer, is_session)
    inner = getattr(argument, "_as_parameter_", None)  # of a class of the user's
    return argument if inner is None else pack_ctypes(is_session, _index, inner, inner, packer)


def _value_of(pointer: Any) -> int:
    """Return where a pointer points to, without following it."""
    return int(ctypes.c_size_t.from_address(ctypes.addressof(pointer)).value)


def _pack_converted(  # noqa: PLR0911 - a table in code
    argument: Any,
    given: Any,
    packer: Any,
    is_session: bool,  # noqa: FBT001
) -> Any:
    """What `byref` or `from_param` returns: its repr alone says what is passed."""
    shown = repr(argument)
    if shown[_TAG] == "O":
        return refuse_pointer(given)
    if shown[_TAG] not in "PzZ":
        return argument  # by value
    if isinstance(given, str):
        text = ctypes.create_unicode_buffer(given)
        return _pack_data(text, ctypes.addressof(text), packer, is_session)
    address = int(shown.partition("(")[2].partition(")")[0], 16)
    kept = argument._obj  # noqa: SLF001 - there is no other way to what it keeps
    if isinstance(kept, bytes):
        return _pack_bytes(kept, packer)
    if isinstance(kept, ctypes.c_char_p) and not _holds(kept, address):
        return argument if kept.value is None else _pack_bytes(kept.value, packer)
    if isinstance(kept, (*_DATA, _POINTER)) and _holds(kept, address):
        return _pack_data(kept, address, packer, is_session)
    if isinstance(kept, _POINTER):
        return _pack_pointer(kept, address, argument, packer, is_session)
    return _pack_address(argument, address, given, packer, is_session)


def _holds(data: Any, address: int) -> bool:
    start = ctypes.addressof(data)
    return start <= address < start + max(ctypes.sizeof(data), 1)


def _pack_bytes(text: bytes, packer: Any) -> Any:
    here = ctypes.cast(ctypes.c_char_p(text), ctypes.c_void_p).value or 0
    return ctypes.c_void_p(packer.add(here, len(text) + 1, writable=False))


def _pack_data(data: Any, address: int, packer: Any, is_session: bool) -> Any:  # noqa: FBT001
    """Pass memory of ctypes, whole; address: what of it the argument points to."""
    _check_inside(data, is_session, comes_back=True)
    packer.keep.append(data)  # it is written to when the call has returned
    start = ctypes.addressof(data)
    there = packer.add(start, ctypes.sizeof(data), writable=True)
    return ctypes.c_void_p(there + address - start)


def _pack_pointer(
    pointer: Any,
    address: int,
    argument: Any,
    packer: Any,
    is_session: bool,  # noqa: FBT001
) -> Any:
    for kept in _kept_by(pointer):
        if isinstance(kept, (*_DATA, _POINTER)) and _holds(kept, address):
            return _pack_data(kept, address, packer, is_session)
    return _pack_address(argument, address, pointer, packer, is_session)


def _kept_by(pointer: Any) -> Iterator[Any]:
    """Return the objects that ctypes keeps alive for a pointer, or for what the pointer lies in."""
    while pointer._b_base_ is not None:
        pointer = pointer._b_base_
    todo = [pointer._objects]  # noqa: SLF001 - it has no other name
    while todo:
        each = todo.pop()
        if isinstance(each, dict):
            todo += each.values()
        elif isinstance(each, (*_DATA, _POINTER)):
            yield each


def _pack_address(
    argument: Any,
    address: int,
    given: Any,
    packer: Any,
    is_session: bool,  # noqa: FBT001
) -> Any:
    if not is_address(address):
        return argument
    found = shared.find(address, 1)
    if found is not None:
        packer.block.grant(found[0], writable=found[1])
        return argument
    return argument if is_session else refuse_pointer(given)
