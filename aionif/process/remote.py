"""Python callables in worker processes, from the parent's side.

To the core such a call is one of a native function that the catalog has from the beginning; its
argument is a pickle. So deadlines, cancellation, crashes and limits are those of any other call.

Results are unpickled here. A worker that is under somebody else's control could make a pickle that
runs code in this process: for untrusted input in native code, have the callable return bytes,
numbers or containers of them, and set `NifPolicy(plain_results=True)`, which takes nothing else.
"""

from __future__ import annotations

import base64
import contextvars
import errno
import os
import sys
from functools import partial
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import _cffi_backend as backend

from aionif.binding.plan import NifFunction, Plan
from aionif.core.native import THUNK, ffi, lib
from aionif.crash.report import CrashReport
from aionif.errors import (
    NifArgumentError,
    NifError,
    NifExit,
    NifLimitExceeded,
)
from aionif.memory.arena import HEADER, SIZE, Block
from aionif.memory.shared import Memory
from aionif.process import message
from aionif.process.packed import Packed, Packing

if TYPE_CHECKING:
    from collections.abc import Callable

    from aionif.memory.shared import Warm
    from aionif.policy import NifPolicy

__all__ = (
    "RemoteTraceback",
    "lives_on",
    "main_module",
    "pack_initializer",
    "plan_of_callable",
    "remote_packing",
)

_ERROR, _ELSEWHERE = 1 << 61, 1 << 62  # as in _child_python
_LENGTH = (1 << 32) - 1
_PLAIN = frozenset({"builtins.set", "builtins.frozenset", "builtins.bytearray", "builtins.complex"})

_TYPE = ffi.typeof("int64_t(*)(uint64_t, uint64_t, uint64_t)")
_plans: dict[str, Plan] = {}


class RemoteTraceback(Exception):  # noqa: N818 - it is the cause of one, not one of its own
    """The traceback of an exception in a worker process; the cause of the exception here."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        return f'\n"""\n{self.text}"""'


def plan_of_callable(function: Any) -> Plan:
    """Return the plan of a Python callable: one for each name, as run times are kept by plan."""
    while isinstance(function, partial):
        function = function.func
    kind = type(function)
    module = getattr(function, "__module__", None) or kind.__module__
    name = getattr(function, "__qualname__", None) or kind.__qualname__
    key = f"{module}.{name}"
    plan = _plans.get(key)
    if plan is None:
        capture: Any = backend.cast(_TYPE, THUNK)
        no_arguments = backend.new_function_type((), _TYPE.result, False)  # noqa: FBT003
        plan = _plans[key] = Plan(
            name=name,
            library=module,
            address=0,
            capture=capture,
            replay=backend.cast(no_arguments, THUNK),
            explain=_explain,
        )
        plan.struct.entry = lib.AIONIF_PYTHON_ENTRY
    return plan


def lives_on(function: Any) -> bool:
    """Whether a callable lives as long as its module anyway."""
    kind = type(function)
    if kind is BuiltinFunctionType:
        return isinstance(function.__self__, ModuleType)
    return kind is FunctionType or kind is NifFunction


def _explain(arguments: tuple[Any, ...], problem: BaseException) -> NifArgumentError:
    return NifArgumentError(argument="args", value=arguments, problem=f"can't be passed: {problem}")


def remote_packing(function: Any, plan: Plan, policy: NifPolicy, warm: Warm | None) -> Packing:
    """Return how calls of a Python callable get across."""

    def pack(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        message = _pickled(function, arguments)
        packed_block = Block()
        keep = None
        if message.size <= SIZE - HEADER:
            address = packed_block.take(message.size)
            message.write(ffi.buffer(ffi.cast("char *", address), message.size))
        else:
            keep = Memory(message.size, writable=False, warm=warm)
            packed_block.grant(keep.number, writable=False)
            keep.write(message.write_file, message.write)
            address = keep.address
        packed = Packed((address, message.size, packed_block.address))
        packed.block = packed_block
        packed.keep = (keep, arguments)
        return packed

    def unpack(answer: int, packed: Any, slot: Any) -> Any:
        return _result(answer, packed, slot.reply, plan, policy)

    return Packing(pack, unpack, is_python=True)


def _pickled(function: Any, arguments: tuple[Any, ...]) -> message.Message:
    try:
        return message.Message((function, arguments, _context()))
    except Exception as problem:
        raise NifArgumentError(
            argument="fn" if _is_at_fault(function) else "args",
            value=function if _is_at_fault(function) else arguments,
            problem=f"can't be pickled: {problem}",
            remedy="Use a function of a module, and arguments that pickle can copy.",
        ) from problem


def _is_at_fault(function: Any) -> bool:
    try:
        message.Message(function)
    except Exception:  # noqa: BLE001 - pickling runs anybody's code
        return True
    return False


# ---- results ----


def _result(answer: int, packed: Any, reply: Any, plan: Plan, policy: NifPolicy) -> Any:
    finder = _only_plain if policy.plain_results else _find
    most = policy.limits.result_size
    try:
        if answer & _ELSEWHERE:
            value = _read_large(reply, finder)
        else:
            length = min((answer & _LENGTH) - HEADER, SIZE - HEADER)
            start = ffi.cast("char *", packed.block.address + HEADER)
            value = message.read(ffi.buffer(start, _allowed(max(length, 0), most)), finder)
        if answer & _ERROR:
            kind, what, text = value
    except _TooLargeError as problem:
        raise NifLimitExceeded(limit="result_size", allowed=most, **_where(plan)) from problem
    except Exception as problem:
        raise NifArgumentError(
            argument="result",
            problem=f"of the worker can't be read: {type(problem).__name__}: {problem}",
            remedy="Return what pickle can copy, and what can be imported here.",
            **_where(plan),
        ) from problem
    if answer & _ERROR:
        _raise(str(kind), what, str(text), plan, policy)
    return value


class _TooLargeError(Exception):
    pass


def _allowed(size: int, most: int | None) -> int:
    if most is not None and size > most:
        raise _TooLargeError(f"{size} bytes")
    return size


def _read_large(reply: Any, finder: Callable[[str, str], Any]) -> Any:
    """Read what the worker wrote to the memory it was given. It may go on writing."""
    if reply == ffi.NULL:
        raise ValueError("the memory it is said to be in was not free")
    try:
        with open(lib.aionif_reply_descriptor(reply), "rb", closefd=False) as file:
            return message.read_file(file, os.fstat(file.fileno()).st_size, finder)
    finally:
        lib.aionif_reply_give_back(reply)


def _find(module: str, name: str) -> Any:
    if module != "__mp_main__":
        return None
    value: Any = sys.modules["__main__"]
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _only_plain(module: str, name: str) -> Any:
    if f"{module}.{name}" in _PLAIN:
        return None
    raise ValueError(f"{module}.{name} does not hold plain data, and the policy takes nothing else")


def _where(plan: Plan) -> dict[str, Any]:
    return {"function": plan.name, "library": plan.library, "tier": "process"}


def _raise(kind: str, what: Any, text: str, plan: Plan, policy: NifPolicy) -> None:
    cause = RemoteTraceback(text)
    if kind == "raised" and isinstance(what, BaseException):
        limit = _limit_behind(what, policy)
        if limit is None:
            raise what from cause
        raise NifLimitExceeded(
            limit=limit, allowed=getattr(policy.limits, limit), **_where(plan)
        ) from what
    if kind == "too large":
        raise NifLimitExceeded(
            limit="result_size", allowed=policy.limits.result_size, **_where(plan)
        )
    if kind == "exit":
        report = CrashReport(message=f"sys.exit({what})")
        raise NifExit(status=int(what), report=report, **_where(plan)) from cause
    problems = {
        "unpicklable": f"can't be pickled: {text}",
        "unreadable": "can't be read in the worker",
        "strange": "is an exception that can't be pickled",
    }
    remedy = "Use functions, arguments and results that pickle can copy."
    if kind == "unreadable" and policy.sandbox is not None:
        remedy = "Its modules must be imported before the seal: NifExecutor(preload=(...))."
    error: NifError = NifArgumentError(
        argument="fn" if kind == "unreadable" else "result",
        value=what,
        problem=problems.get(kind, "is of an unknown kind"),
        remedy=remedy,
        **_where(plan),
    )
    raise error from cause


def _limit_behind(error: BaseException, policy: NifPolicy) -> str | None:
    limits = policy.limits
    number = getattr(error, "errno", None) if isinstance(error, OSError) else None
    if limits.address_space is not None and (
        isinstance(error, MemoryError) or number == errno.ENOMEM
    ):
        return "address_space"
    if limits.open_files is not None and number == errno.EMFILE:
        return "open_files"
    if limits.file_size is not None and number == errno.EFBIG:
        return "file_size"
    return None


# ---- what goes along ----

_NOT_CARRIED = frozenset({"sniffio", "anyio", "trio", "asyncio", "decimal", "aionif"})
_places: dict[contextvars.ContextVar[Any], tuple[str, str] | None] = {}


def _context() -> list[tuple[str, str, Any]]:
    """Return the context variables of this task that a worker can find: globals of a module."""
    carried = []
    for variable, value in contextvars.copy_context().items():
        if variable not in _places:
            _places[variable] = _place_of(variable)
        place = _places[variable]
        if place is not None:
            carried.append((*place, value))
    return carried


def _place_of(variable: contextvars.ContextVar[Any]) -> tuple[str, str] | None:
    for module, content in list(sys.modules.items()):
        if module.partition(".")[0] in _NOT_CARRIED or module == "__main__":
            continue
        for name, value in list(getattr(content, "__dict__", {}).items()):
            if value is variable:
                return module, name
    return None


def main_module() -> dict[str, str]:
    """Return how a worker can run this program's main module once more; empty: it can't."""
    main = sys.modules["__main__"]
    spec = getattr(main, "__spec__", None)
    if spec is not None and spec.name:
        return {"name": str(spec.name)}
    path = getattr(main, "__file__", None)
    return {"path": os.path.abspath(path)} if path and os.path.exists(path) else {}  # noqa: PTH100, PTH110


def pack_initializer(function: Any, arguments: tuple[Any, ...]) -> str:
    """Return an initializer as text for a worker's setup."""
    message = _pickled_initializer(function, arguments)
    memory = bytearray(message.size)
    message.write(memoryview(memory))
    return base64.b64encode(memory).decode()


def _pickled_initializer(function: Any, arguments: tuple[Any, ...]) -> message.Message:
    try:
        return message.Message((function, arguments))
    except Exception as problem:
        raise NifArgumentError(
            argument="initializer",
            value=function,
            problem=f"can't be pickled: {problem}",
            remedy="Use a function of a module, and arguments that pickle can copy.",
        ) from problem
