"""Plans of cffi functions: ABI mode, API mode, and function pointers."""

from __future__ import annotations

from types import BuiltinFunctionType
from typing import TYPE_CHECKING, Any, NoReturn

import _cffi_backend as backend

from aionif.binding.abi import Shape, array_of, by_address, result_memory, stack_words, struct_of
from aionif.binding.buffers import Shared, check_items, check_writable
from aionif.binding.plan import Plan, check_code, symbol_at
from aionif.core.native import THUNK, ffi, lib
from aionif.errors import NifArgumentError
from aionif.system.processor import HERE

if TYPE_CHECKING:
    from collections.abc import Callable

    from aionif.binding.buffers import Kind
    from aionif.binding.plan import Preparation

__all__ = ("CData", "bind", "plan_of", "shape_of")

CData = backend._CDataBase  # noqa: SLF001 - the type has no other name
CType = backend.CType

_plans: dict[tuple[Any, int], Plan] = {}

_BYTES_LIKE = frozenset({"char", "signed char", "unsigned char", "void"})
_COMPLEX = {"float _Complex": "float", "double _Complex": "double"}
_COMPLEX |= {"_cffi_float_complex_t": "float", "_cffi_double_complex_t": "double"}


def bind(function: Any) -> Plan:
    """Return the plan of a cffi function or function pointer."""
    keep: Any = function
    name = None
    if not isinstance(function, (CData, BuiltinFunctionType)):
        _refuse(function)
    try:
        ctype = ffi.typeof(function)
    except TypeError:  # a built-in of something else
        _refuse(function)
    if ctype.kind != "function":
        _refuse(function)
    if isinstance(function, BuiltinFunctionType):  # API mode: functions are built-ins of their lib
        name = function.__name__
        function = ffi.addressof(function.__self__, name)
    address = int(ffi.cast("uintptr_t", function))
    plan = _plans.get((ctype, address))
    if plan is None:
        symbol, library = symbol_at(address)
        plan = plan_of(ctype, address, name or symbol, library, keep)
        _plans[ctype, address] = plan
    return plan


def _refuse(function: Any) -> NoReturn:
    remedy = "Pass a function of aionif.load(), of cffi or of ctypes."
    problem = "is not a native function"
    if callable(function):
        problem = "is a Python callable, not a native function"
        remedy += ' Python runs in worker processes: NifExecutor(isolation="process").'
    raise NifArgumentError(argument="fn", value=function, problem=problem, remedy=remedy)


def plan_of(  # noqa: PLR0913 - one value each
    ctype: Any,
    address: int,
    name: str,
    library: str | None,
    keep: object,
    *,
    constant: frozenset[int] | None = None,
) -> Plan:
    """Return a new plan of the function of cffi type `ctype` at `address`.

    constant: see Plan; None: that is not known. A cffi type does not say: `const` is gone from it.

    Raises:
        NifArgumentError: no code is there, or the type can't be passed by value.
    """
    check_code(name, address)
    lib.aionif_refresh()
    natural = ctype
    ctype = _as_it_travels(ctype)
    shapes = [shape_of(argument) for argument in ctype.args]
    result = shape_of(ctype.result)
    in_registers = result.kind == "struct" and not result_memory(result)
    if HERE.has_x87 and in_registers and result.holds_long_double:
        raise NifArgumentError(
            argument="fn",
            value=str(ctype),
            problem="returns a struct with a long double in registers, which libffi can't",
            remedy="Have it return through a pointer.",
        )
    no_arguments = backend.new_function_type((), ctype.result, False)  # noqa: FBT003 - no "..."
    replay: Callable[[], Any] = backend.cast(no_arguments, THUNK)
    return Plan(
        name=name,
        library=library,
        address=address,
        capture=backend.cast(ctype, THUNK),
        replay=replay,
        words=stack_words(shapes),
        result_memory=result_memory(result),
        result_x87=HERE.has_x87 and result.kind == "long double",
        prepare=_preparation(natural, ctype, constant),
        count_words=_variadic_words(shapes) if ctype.ellipsis else None,
        finish=_complex_result if natural.result is not ctype.result else None,
        explain=_explainer(natural, constant),
        keep=(keep, replay),
        ctype=ctype,
        constant=constant or frozenset(),
    )


def shape_of(ctype: Any) -> Shape:
    """Return what a cffi type is to the calling convention."""
    kind = ctype.kind
    if kind == "void":
        return Shape("void", 0)
    size = backend.sizeof(ctype)
    if kind in ("struct", "union"):
        fields = [shape_of(field.type) for _, field in ctype.fields or ()]
        return struct_of(size, fields, is_union=kind == "union")
    if kind == "array":
        return array_of(size, shape_of(ctype.item))
    if ctype.cname == "long double":
        return Shape("long double", size, holds_long_double=True, floats=1)
    if ctype.cname in ("float", "double"):
        return Shape("float", size, floats=1)
    return Shape("integer", size)


# ---- complex numbers: libffi has no such type, a struct of two parts travels alike ----


def _pointer_to(ctype: Any) -> Any:
    return backend.new_pointer_type(ctype)


def _complex_struct(part: str) -> Any:
    primitive = backend.new_primitive_type(part)
    struct = backend.new_struct_type(f"struct aionif_{part}_complex")
    backend.complete_struct_or_union(struct, [("re", primitive, -1), ("im", primitive, -1)])
    return struct


_complex_structs: dict[str, Any] = {}


def _real(ctype: Any) -> Any:
    part = _COMPLEX.get(ctype.cname) if ctype.kind == "primitive" else None
    if part is None:
        return ctype
    return _complex_structs.get(part) or _complex_structs.setdefault(part, _complex_struct(part))


def _as_it_travels(ctype: Any) -> Any:
    """Return a function type whose arguments and result are in the same registers."""
    arguments = tuple(_real(argument) for argument in ctype.args)
    arguments = tuple(_pointer_to(a) if by_address(shape_of(a)) else a for a in arguments)
    result = _real(ctype.result)
    if result is ctype.result and all(a is b for a, b in zip(arguments, ctype.args, strict=True)):
        return ctype
    return backend.new_function_type(arguments, result, ctype.ellipsis)


def _complex_result(result: Any, _arguments: tuple[Any, ...]) -> complex:
    return complex(result.re, result.im)


def _complex_argument(argument: Any) -> Any:
    number = complex(argument)
    return {"re": number.real, "im": number.imag}


# ---- arguments that must outlive the conversion ----


def _preparation(natural: Any, ctype: Any, constant: frozenset[int] | None) -> Preparation | None:
    copied = {i: _pointer_to(a) for i, a in enumerate(natural.args) if by_address(shape_of(a))}
    prepare = _conversion(natural, ctype, copied, constant)
    if not copied and not (ctype.ellipsis and HERE.large_structs_by_address):
        return prepare
    return _copying(prepare, copied, len(natural.args))


def _copying(prepare: Preparation | None, copied: dict[int, Any], fixed: int) -> Preparation:
    """Return what also copies structs that are passed by the address of a copy.

    The library's own copy would live no longer than the capture. Each call has a new one, as the
    function may write to it. In an array of one: to `newp`, None alone would mean no value.
    """

    def prepare_copies(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        made = list(arguments if prepare is None else prepare(arguments))
        for index, argument in enumerate(made):
            pointer = copied.get(index) if index < fixed else _variadic_pointer(argument)
            if pointer is not None:
                made[index] = backend.newp(backend.new_array_type(pointer, 1), [argument])
        return tuple(made)

    return prepare_copies


def _variadic_pointer(argument: Any) -> Any:
    if not isinstance(argument, CData):
        return None
    ctype = backend.typeof(argument)
    is_copied = ctype.kind in ("struct", "union") and by_address(shape_of(ctype))
    return _pointer_to(ctype) if is_copied else None


def _conversion(
    natural: Any, ctype: Any, copied: dict[int, Any], constant: frozenset[int] | None
) -> Preparation | None:
    converters: dict[int, Callable[[Any], Any]] = {}
    for index, argument in enumerate(ctype.args):
        if index in copied:
            continue
        if argument is not natural.args[index]:
            converters[index] = _complex_argument
        elif argument.kind == "pointer" and argument.item.kind != "function":
            converters[index] = _keeper(argument, _is_written(index, constant))
    if not converters:
        return None
    todo = tuple(converters.items())

    def prepare(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        changed = None
        for index, convert in todo:
            if index >= len(arguments):
                break
            argument = arguments[index]
            if type(argument) is not bytes and not isinstance(argument, CData):
                changed = changed or list(arguments)
                changed[index] = convert(argument)
        return arguments if changed is None else tuple(changed)

    return prepare


def _is_written(index: int, constant: frozenset[int] | None) -> bool:
    """Whether a function is known to take a pointer by which it may write."""
    return constant is not None and index not in constant


def _keeper(pointer: Any, is_written: bool) -> Callable[[Any], Any]:  # noqa: FBT001
    """Return what makes memory that lives with the call, from what cffi would convert for it.

    A list, tuple, dict or str becomes the array or struct that cffi would make; an object with the
    buffer protocol is passed as it is, without a copy. Anything else is left to cffi's judgement.
    """
    item = pointer.item

    def keep(argument: Any) -> Any:
        if isinstance(argument, (list, tuple)) or (
            isinstance(argument, str) and item.cname in ("wchar_t", "char16_t", "char32_t")
        ):
            return backend.newp(backend.new_array_type(pointer, None), argument)
        if isinstance(argument, dict):
            return backend.newp(pointer, argument)
        if isinstance(argument, str) or argument is None:
            return argument  # cffi refuses it
        return _from_buffer(pointer, argument, is_written)

    return keep


def _from_buffer(pointer: Any, argument: Any, is_written: bool) -> Any:  # noqa: FBT001
    item = pointer.item
    if isinstance(argument, Shared):
        argument = argument.memory_for_calls()
    else:
        try:
            view = memoryview(argument)
        except TypeError:
            return argument
        if is_written and not isinstance(argument, bytes):  # those cffi takes for any `char *`
            check_writable(view)
        if item.kind != "void" and item.cname not in _BYTES_LIKE:
            check_items(view, _kind_of(item), backend.sizeof(item))
    if item.kind == "void":
        return ffi.from_buffer(argument)
    return backend.from_buffer(backend.new_array_type(pointer, None), argument)


def _kind_of(item: Any) -> Kind:
    if item.kind not in ("primitive", "enum"):
        return "any"
    if item.cname in _COMPLEX:
        return "complex"
    return "float" if item.cname in ("float", "double", "long double") else "integer"


def _variadic_words(fixed: list[Shape]) -> Callable[[tuple[Any, ...]], int]:
    def shape(argument: Any) -> Shape:
        if not isinstance(argument, CData) or backend.typeof(argument).kind == "array":
            return Shape("integer", 8)  # a pointer; or nothing, as cffi will refuse it
        return shape_of(backend.typeof(argument))

    def count(arguments: tuple[Any, ...]) -> int:
        return stack_words([*fixed, *map(shape, arguments[len(fixed) :])])

    return count


# ---- complaints ----


def _explainer(
    ctype: Any, constant: frozenset[int] | None
) -> Callable[[tuple[Any, ...], BaseException], NifArgumentError]:
    def explain(arguments: tuple[Any, ...], problem: BaseException) -> NifArgumentError:
        expected = len(ctype.args)
        if len(arguments) < expected or (len(arguments) > expected and not ctype.ellipsis):
            return NifArgumentError(
                argument="args",
                value=len(arguments),
                problem=f"has the wrong length: {ctype.cname} takes {expected}",
                remedy=f"Pass {expected} arguments.",
            )
        for index, argument in enumerate(arguments[:expected]):
            complaint = _complaint(ctype.args[index], argument, _is_written(index, constant))
            if complaint is not None:
                return NifArgumentError(
                    argument=index,
                    value=argument,
                    problem=f"can't be passed as '{ctype.args[index].cname}': {complaint}",
                    remedy=getattr(complaint, "remedy", None)
                    or _remedy(ctype.args[index], argument),
                )
        return NifArgumentError(
            argument="args", value=arguments, problem=f"can't be passed: {problem}"
        )

    return explain


def _complaint(ctype: Any, argument: Any, is_written: bool) -> BaseException | None:  # noqa: FBT001
    """Convert this one argument alone; return what cffi says to it."""
    try:
        if ctype.kind == "pointer" and not isinstance(argument, CData):
            argument = _keeper(ctype, is_written)(argument)
            if type(argument) is bytes and ctype.item.cname in _BYTES_LIKE:
                return None
        one = backend.new_array_type(backend.new_pointer_type(ctype), 1)
        backend.newp(one, [argument])  # alone, None would mean that there is no value
    except (TypeError, OverflowError, ValueError, BufferError, IndexError, KeyError) as complaint:
        return complaint
    return None


def _remedy(ctype: Any, argument: Any) -> str:  # noqa: PLR0911 - a table in code
    if ctype.kind == "pointer":
        if argument is None:
            return "Pass ffi.NULL for a null pointer."
        if isinstance(argument, str):
            return "Pass bytes: text.encode()."
        if isinstance(argument, int):
            return f"Pass ffi.cast({ctype.cname!r}, address), or a buffer."
        return f"Pass bytes, a buffer, a list, or ffi.new({ctype.cname!r}, ...)."
    if ctype.kind == "function":
        return f"Pass a function of cffi, or ffi.callback({ctype.cname!r}, ...)."
    if isinstance(argument, (str, bytes)):
        return "Pass a number."
    if isinstance(argument, float):
        return "Pass int(value)."
    return f"Pass a value that fits '{ctype.cname}'."
