"""`execute_nif` on an executor that belongs to the running event loop."""

from __future__ import annotations

from asyncio import _get_running_loop  # None where none runs: cheap
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar, overload

from aionif.errors import NifArgumentError
from aionif.errors.defaults import DEFAULT
from aionif.executor import NifExecutor
from aionif.loops.current import current_port
from aionif.loops.port import Port, local

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine

    from aionif.binding.plan import NifFunction
    from aionif.policy import NifPolicy

__all__ = ("execute_nif",)

_Result = TypeVar("_Result")


async def _closing_with_the_loop(port: Port, executor: NifExecutor) -> AsyncIterator[None]:
    """Close `executor` when the loop shuts down: event loops finalise their async generators."""
    try:
        yield
    finally:
        port.default = port.guard = None
        await executor.aclose()


def _default_executor() -> NifExecutor:
    port = current_port()
    if port.default is None:
        port.default = NifExecutor()
        port.guard = _closing_with_the_loop(port, port.default)
        start: Any = port.guard.__anext__()
        with suppress(StopIteration):
            start.send(None)  # runs up to the yield, which registers it with the loop
    executor: NifExecutor = port.default
    return executor


@overload
def execute_nif(
    fn: NifFunction,
    *args: Any,
    timeout: float | None = DEFAULT,
    policy: NifPolicy | None = None,
    executor: NifExecutor | None = None,
) -> Coroutine[Any, Any, Any]: ...


@overload
def execute_nif(
    fn: Callable[..., _Result],
    *args: Any,
    timeout: float | None = DEFAULT,
    policy: NifPolicy | None = None,
    executor: NifExecutor | None = None,
) -> Coroutine[Any, Any, _Result]: ...


def execute_nif(
    fn: Any,
    *args: Any,
    timeout: float | None = DEFAULT,
    policy: NifPolicy | None = None,
    executor: NifExecutor | None = None,
) -> Coroutine[Any, Any, Any]:
    """Call a native function away from the event loop; await the result.

    As `NifExecutor.execute_nif`, on `executor`, or on one that belongs to the running event loop:
    made at first use, closed with the loop.

    Raises:
        RuntimeError: no event loop is running. NifArgumentError: `executor` is none.
    """
    if executor is None:
        port = local.port
        if port is None or port.default is None or port.loop is not _get_running_loop():
            executor = _default_executor()
        else:
            executor = port.default
    elif isinstance(executor, type) or not hasattr(executor, "execute_nif"):
        raise NifArgumentError(
            argument="executor",
            value=executor,
            problem="is no open executor",
            remedy="Write `async with NifExecutor(...) as executor:` and pass that.",
        )
    if timeout is DEFAULT and policy is None:
        return executor.execute_nif(fn, *args)  # keywords would cost a dict
    return executor.execute_nif(fn, *args, timeout=timeout, policy=policy)
