"""Plans of ctypes functions.

ctypes converts by `argtypes`, or by what each argument is where there are none. The conversions by
`argtypes` are made here, through the same `from_param` that ctypes itself would call, because what
they return (the memory of a wide string, for one) has to live as long as the call. The thunk is
then called without `argtypes`, which passes what is converted already as it is.
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import TYPE_CHECKING, Any

from aionif.binding.abi import Shape, array_of, by_address, result_memory, stack_words, struct_of
from aionif.binding.buffers import Shared, check_items
from aionif.binding.parameters import Parameters, flags_of
from aionif.binding.plan import Plan, check_code, symbol_at
from aionif.core.native import THUNK, lib
from aionif.errors import NifArgumentError
from aionif.system.processor import HERE

if TYPE_CHECKING:
    from collections.abc import Callable

    from aionif.binding.buffers import Kind

__all__ = ("bind",)

_HOLDS_THE_GIL = 4  # FUNCFLAG_PYTHONAPI, of ctypes.PyDLL
_FLOATS = (ctypes.c_float, ctypes.c_double)
_BYTES = (ctypes.c_char, ctypes.c_byte, ctypes.c_ubyte, None)
_ADDRESSES = (ctypes.c_void_p, ctypes.c_char_p, ctypes.c_wchar_p, ctypes.py_object)
_POINTER: Any = ctypes.POINTER(ctypes.c_int).__mro__[1]  # the base of all pointer types
_OF_CTYPES: Any = ctypes.c_int.__mro__[2]  # the base of all its types, which has no public name

_plans: dict[tuple[Any, ...], Plan] = {}


def bind(function: Any, convert: Callable[[str, Any], Any] | None = None) -> Plan:
    """Return the plan of a ctypes function, as its argtypes and restype are now.

    convert: makes the type that its result is to have of its name and its restype.
    """
    address = ctypes.cast(function, ctypes.c_void_p).value or 0
    flags = type(function)._flags_
    argtypes = None if function.argtypes is None else tuple(function.argtypes)
    restype = function.restype
    if convert is not None:
        restype = convert(getattr(function, "__name__", "the function"), restype)
    declared = flags_of(function)
    check = getattr(function, "errcheck", None)
    key = (address, flags, argtypes, restype, check, declared and id(declared))
    plan = _plans.get(key)
    if plan is None:
        parameters = Parameters(declared, argtypes) if declared and argtypes else None
        plan = _plans[key] = _plan(function, address, flags, argtypes, restype, parameters)
    return plan


def _plan(  # noqa: PLR0913, PLR0917 - what a ctypes function consists of
    function: Any,
    address: int,
    flags: int,
    argtypes: tuple[Any, ...] | None,
    restype: Any,
    parameters: Parameters | None,
) -> Plan:
    symbol, library = symbol_at(address)
    name = getattr(function, "__name__", symbol)
    if flags & _HOLDS_THE_GIL:
        raise NifArgumentError(
            argument="fn",
            value=name,
            problem="belongs to a ctypes.PyDLL and needs the interpreter's lock",
            remedy="Load it with ctypes.CDLL; functions of the Python API can't be isolated.",
        )
    check_code(name, address)
    lib.aionif_refresh()
    capture = _untyped(flags)(THUNK)
    capture.restype = restype
    result = _shape(restype)
    return Plan(
        name=name,
        library=_name_of_library(function) or library,
        address=address,
        capture=capture,
        replay=capture,
        words=0 if argtypes is None else stack_words(map(_shape, argtypes)),
        result_memory=result_memory(result),
        result_x87=HERE.has_x87 and result.kind == "long double",
        prepare=_preparation(name, argtypes),
        count_words=_count_words,
        complete=None if parameters is None else parameters.complete,
        finish=_finish(function, parameters),
        explain=_explain,
        keep=function,
    )


@cache
def _untyped(flags: int) -> Any:
    """Return a function type like the caller's, but for `argtypes`, which a CFUNCTYPE has too."""
    members = {"_flags_": flags, "_restype_": ctypes.c_int}
    return type("AionifThunk", (ctypes._CFuncPtr,), members)  # type: ignore[attr-defined] # noqa: SLF001


def _name_of_library(function: Any) -> str | None:
    return getattr(getattr(function, "__self__", None), "_name", None)


def _shape(ctype: Any) -> Shape:
    """Return what a ctypes type, or a callable in its place, is to the calling convention."""
    if ctype is None:
        return Shape("void", 0)
    if not isinstance(ctype, type):
        return Shape("integer", 8)
    if issubclass(ctype, ctypes.c_longdouble):
        return Shape("long double", ctypes.sizeof(ctype), holds_long_double=True, floats=1)
    if issubclass(ctype, (ctypes.Structure, ctypes.Union)):
        fields = [field for each in ctype.__mro__ for field in vars(each).get("_fields_", ())]
        members = [_member_shape(field[1]) for field in fields]
        return struct_of(ctypes.sizeof(ctype), members, is_union=issubclass(ctype, ctypes.Union))
    if issubclass(ctype, _FLOATS):
        return Shape("float", ctypes.sizeof(ctype), floats=1)
    return Shape("integer", 8)


def _member_shape(ctype: Any) -> Shape:
    if issubclass(ctype, ctypes.Array):  # as an argument it would be a pointer
        return array_of(ctypes.sizeof(ctype), _member_shape(ctype._type_))
    return _shape(ctype)


def _count_words(arguments: tuple[Any, ...]) -> int:
    """Bound the stack words of arguments that are converted already, or that ctypes converts."""
    return stack_words([_argument_shape(argument) for argument in arguments])


def _argument_shape(argument: Any) -> Shape:
    if isinstance(argument, (ctypes._SimpleCData, ctypes.Structure, ctypes.Union)):  # noqa: SLF001
        return _shape(type(argument))
    size = 16 if isinstance(argument, _CONVERTED) else 8  # it may be a long double: no way to ask
    return Shape("struct" if size > 8 else "integer", size)  # noqa: PLR2004 - a register's size


_CONVERTED = type(ctypes.byref(ctypes.c_int()))  # what from_param returns


def _preparation(
    name: str, argtypes: tuple[Any, ...] | None
) -> Callable[[tuple[Any, ...]], tuple[Any, ...]]:
    converters = [_converter(argtype) for argtype in argtypes or ()]

    def prepare(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        if len(arguments) < len(converters):
            raise NifArgumentError(
                function=name,
                argument="args",
                value=len(arguments),
                problem=f"has the wrong length: argtypes names {len(converters)}",
                remedy=f"Pass {len(converters)} arguments.",
            )
        converted = []
        for index, argument in enumerate(arguments):
            try:
                convert = converters[index] if index < len(converters) else _keep_text
                converted.append(convert(argument))
            except (TypeError, ValueError, OverflowError, AttributeError) as problem:
                raise _complaint(name, index, argument, problem) from problem
        return tuple(map(_copy, converted)) if HERE.large_structs_by_address else tuple(converted)

    return prepare


def _copy(argument: Any) -> Any:
    """Return a copy of what is passed by the address of one; ctypes keeps its own for the capture.

    As an array, which is passed as an address too, and keeps what its items refer to.
    """
    kind = type(argument)
    if isinstance(argument, (ctypes.Structure, ctypes.Union)) and by_address(_shape(kind)):
        return (kind * 1)(argument)
    return argument


def _converter(argtype: Any) -> Callable[[Any], Any]:
    from_param = argtype.from_param
    item: Any = ctypes.c_char
    if argtype in (ctypes.c_void_p, ctypes.c_char_p):
        pass
    elif isinstance(argtype, type) and issubclass(argtype, _POINTER):
        item = argtype._type_  # type: ignore[attr-defined] # of all but the base
    else:
        return from_param  # type: ignore[no-any-return] # a method of anybody's

    def convert(argument: Any) -> Any:
        if not isinstance(argument, (bytes, str, int, type(None), _CONVERTED)):
            argument = _from_buffer(item, argument)
        return from_param(argument)

    return convert


def _from_buffer(item: Any, argument: Any) -> Any:
    """Return the memory of an object with the buffer protocol, without a copy.

    item: what is pointed to. What is of ctypes has the protocol too, of itself: a pointer's memory
    is not what it points to.
    """
    if isinstance(argument, _OF_CTYPES):
        return argument
    if isinstance(argument, Shared):
        view = memoryview(argument.memory_for_calls())
    else:
        try:
            view = memoryview(argument)
        except TypeError:
            return argument
        if item not in _BYTES:
            check_items(view, _kind_of(item), ctypes.sizeof(item))
    return (item * (view.nbytes // ctypes.sizeof(item))).from_buffer(view)


def _kind_of(item: Any) -> Kind:
    if not issubclass(item, ctypes._SimpleCData) or item in _ADDRESSES:  # noqa: SLF001
        return "any"
    return "float" if item in _FLOATS or item is ctypes.c_longdouble else "integer"


def _keep_text(argument: Any) -> Any:
    return ctypes.create_unicode_buffer(argument) if isinstance(argument, str) else argument


def _finish(
    function: Any, parameters: Parameters | None
) -> Callable[[Any, tuple[Any, ...]], Any] | None:
    check = getattr(function, "errcheck", None)
    if check is None:
        return None if parameters is None else parameters.result

    def finish(result: Any, arguments: tuple[Any, ...]) -> Any:
        checked = check(result, function, arguments)
        if checked is not arguments:
            return checked
        return result if parameters is None else parameters.result(result, arguments)

    return finish


def _complaint(name: str, index: int, argument: Any, problem: BaseException) -> NifArgumentError:
    text = isinstance(argument, str)
    return NifArgumentError(
        function=name,
        argument=index,
        value=argument,
        problem=f"can't be passed: {problem}",
        remedy=getattr(problem, "remedy", None)
        or ("Pass bytes: text.encode()." if text else "Pass what argtypes asks for."),
    )


def _explain(arguments: tuple[Any, ...], problem: BaseException) -> NifArgumentError:
    """Find the argument in what ctypes says: `argument 2: TypeError: ...`, counted from 1."""
    head, _, rest = str(problem).partition(":")
    digits = head.removeprefix("argument ")
    index = int(digits) - 1 if digits.isdigit() else None
    if index is None or index >= len(arguments):
        return NifArgumentError(
            argument="args", value=arguments, problem=f"can't be passed: {problem}"
        )
    return _complaint("", index, arguments[index], TypeError(rest.strip()))
