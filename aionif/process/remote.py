"""Python callables in worker processes, from the parent's side.

To the core such a call is one of a native function that the catalog has from the beginning; its
argument is a pickle. So deadlines, cancellation, crashes and limits are those of any other call.

What comes back is read by `replies`.
"""

from __future__ import annotations

import base64
import os
import sys
from functools import partial
from types import BuiltinFunctionType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any

import _cffi_backend as backend

from aionif.binding.plan import NifFunction, Plan
from aionif.core.native import THUNK, ffi, lib
from aionif.errors import NifArgumentError, NifError
from aionif.memory.arena import HEADER, SIZE, Block
from aionif.memory.shared import Memory
from aionif.process import message, replies
from aionif.process.context import context
from aionif.process.packed import Packed, Packing
from aionif.telemetry.failures import call_failed, call_raised

if TYPE_CHECKING:
    from collections.abc import Callable

    from aionif.memory.shared import Warm
    from aionif.policy import NifPolicy

__all__ = (
    "lives_on",
    "main_module",
    "pack_initializer",
    "plan_of_callable",
    "remote_packing",
)

_TYPE = ffi.typeof("int64_t(*)(uint64_t, uint64_t, uint64_t)")
_plans: dict[str, Plan] = {}


def plan_of_callable(function: Any) -> Plan:
    """Return the plan of a Python callable: one for each name, as run times are kept by plan."""
    while isinstance(function, partial):
        function = function.func
    kind = type(function)
    module = getattr(function, "__module__", None) or kind.__module__
    name = getattr(function, "__qualname__", None) or kind.__qualname__
    if module == "__main__" and not main_module():
        raise NifArgumentError(
            argument="fn",
            value=f"{module}.{name}",
            problem="is defined in a notebook, a shell or a program without a file, which a worker "
            "can't import",
            remedy="Put it into a module, a .py file, and import it from there.",
        )
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


def remote_packing(  # noqa: PLR0913, PLR0917 - one value each
    function: Any,
    plan: Plan,
    policy: NifPolicy,
    warm: Warm | None,
    need: Callable[..., None] | None,
    executor: str,
) -> Packing:
    """Return how calls of a Python callable get across.

    need: told of arguments, whose modules a sealed worker must have.
    executor: its name, for the log.
    """
    where = {"function": plan.name, "library": plan.library, "tier": "process"}
    asked = replies.PLAIN if policy.has_plain_results else 0

    def pack(arguments: tuple[Any, ...]) -> tuple[Any, ...]:
        message = _pickled(function, arguments)
        if need is not None:
            need(*arguments)
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
        packed = Packed((address, message.size | asked, packed_block.address))
        packed.block = packed_block
        packed.keep = (keep, arguments)
        return packed

    def failed(run_ns: int, error: BaseException) -> None:
        duration = run_ns / 1e9 if run_ns > 0 else None
        if isinstance(error, NifError):
            call_failed(error, executor, duration)
        else:
            call_raised(error, where, executor, duration, policy.raised_level)

    def unpack(answer: int, packed: Any, slot: Any) -> Any:
        told = partial(failed, slot.run_ns)
        return replies.result(answer, packed, slot.reply, plan, policy, told)

    return Packing(pack, unpack, is_python=True)


def _pickled(function: Any, arguments: tuple[Any, ...]) -> message.Message:
    try:
        return message.Message((function, arguments, context()))
    except Exception as problem:
        raise NifArgumentError(
            argument="fn" if _is_at_fault(function) else "args",
            value=function if _is_at_fault(function) else arguments,
            problem=f"can't be pickled: {problem}",
            remedy=_remedy_for(function),
        ) from problem


def _remedy_for(function: Any) -> str:
    if "<" in getattr(function, "__qualname__", ""):  # a lambda, or of a function's own names
        return "Define it with def at the top of a module: a worker finds it there by its name."
    return "Use a function of a module, and arguments that pickle can copy."


def _is_at_fault(function: Any) -> bool:
    try:
        message.Message(function)
    except Exception:  # noqa: BLE001 - pickling runs anybody's code
        return True
    return False


# ---- setups ----


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
