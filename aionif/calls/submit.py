"""One call, from arguments to result: the hot path.

A call that ends while its submitter watches costs one call into the core, made by cffi or ctypes
with the user's arguments, one write to the thread's call slot and one read. All else is for calls
that wait, and for those that fail.
"""

from __future__ import annotations

import ctypes
import time
from typing import TYPE_CHECKING, Any

from anyio import move_on_after

from aionif.binding.choose import bind
from aionif.binding.plan import NifFunction, Plan
from aionif.calls.failures import error_of
from aionif.calls.pools import seal_of
from aionif.core.native import ffi, lib
from aionif.errors import (
    NifArgumentError,
    NifClosed,
    NifCrash,
    NifError,
    NifLimitExceeded,
    NifRejected,
    NifTimeout,
    NifWorkerLost,
)
from aionif.errors.checks import check_seconds
from aionif.errors.defaults import DefaultTimeout
from aionif.loops.port import Port, function_names
from aionif.memory.arena import in_line
from aionif.policy import ENDINGS, NifPolicy
from aionif.process import zygote
from aionif.process.packed import Later, Packed, Packing
from aionif.sealing.seal import refusal as seal_refusal
from aionif.telemetry.failures import call_failed
from aionif.telemetry.registry import INLINE

if TYPE_CHECKING:
    from collections.abc import Callable

    from aionif.calls.breakers import Permit

__all__ = (
    "CONVERSION_ERRORS",
    "Route",
    "capture",
    "complaint",
    "completed",
    "converted",
    "lack_of",
    "plan_of",
    "prepared",
    "refusal",
    "result_of",
    "submit_in_line",
    "where",
)

CONVERSION_ERRORS = (
    TypeError,
    ValueError,
    OverflowError,
    BufferError,
    LookupError,
    ctypes.ArgumentError,
)

# What a breaker counts: all that takes a worker, or might have.
_CRASHES = (NifCrash, NifLimitExceeded, NifWorkerLost)

_FAILED = lib.AIONIF_FAILED
_FULL = lib.AIONIF_FULL
_CLOSED = lib.AIONIF_CLOSED
_REFUSED = lib.AIONIF_REFUSED
_MISUSED = lib.AIONIF_MISUSED

_LONGEST = 1 << 62  # nanoseconds; more than a century


class Route:
    """Where calls of one function go under one policy."""

    __slots__ = (
        "capture",
        "executor",
        "is_closed",
        "is_plain",
        "lasts",
        "on_failure",
        "permit",
        "plan",
        "policy",
        "pool",
        "prepare",
        "rejects_when_full",
        "resource",
        "target",
        "tier",
        "timeout",
        "unpack",
        "waits_on_cancel",
    )

    def __init__(  # noqa: PLR0913 - one value each
        self,
        plan: Plan,
        policy: NifPolicy,
        pool: Any = ffi.NULL,
        strand: Any = ffi.NULL,
        *,
        rejects_when_full: bool = False,
        resource: str = "executor",
        is_closed: Callable[[], bool] = lambda: False,
        packing: Packing | None = None,
        on_failure: Callable[[NifError], None] | None = None,
        series: Any = ffi.NULL,
        executor: str = INLINE,
    ) -> None:
        self.plan = plan
        self.policy = policy
        self.pool = pool
        self.tier = "inline" if not pool else "thread" if packing is None else "process"
        self.capture: Callable[..., Any] = plan.capture
        self.prepare = plan.prepare if packing is None else packing.pack
        self.unpack = None if packing is None else packing.unpack
        self.is_plain = plan.count_words is None and plan.finish is None and self.unpack is None
        self.rejects_when_full = rejects_when_full
        self.executor = executor  # its name, for the log
        self.resource = resource  # what it is that may be closed
        self.is_closed = is_closed
        self.on_failure = on_failure  # told of each call that failed, or was refused
        self.permit: Permit | None = None  # of a breaker, which is told how calls end
        self.timeout: DefaultTimeout | None = None  # of calls that are given none
        self.lasts = True  # for calls to come, too
        self.waits_on_cancel = policy.on_cancel == "wait"
        self.target = _target_of(plan, policy, pool, strand, series)
        function_names[plan.address] = plan.name


def _target_of(plan: Plan, policy: NifPolicy, pool: Any, strand: Any, series: Any) -> Any:
    """Return what the core has to know of each call of a route."""
    return ffi.new(
        "struct aionif_target *",
        {
            "plan": plan.struct,
            "pool": pool,
            "strand": strand,
            "series": series,
            "slow_ns": nanoseconds(policy.slow_call) if policy.slow_call else 0,
            "run_timeout_ns": 0 if policy.run_timeout is None else nanoseconds(policy.run_timeout),
            "on_timeout": ENDINGS.index(policy.on_timeout),
            "on_cancel": ENDINGS.index(policy.on_cancel),
            "measure_stack": policy.measure_stack,
            "watch": policy.watch > 0,
            "asks_handlers": policy.handlers == "library",
            "own_stack": policy.stack == "thread",
        },
    )


def plan_of(function: Any) -> Plan:
    """Return the plan of whatever was given as a function."""
    return function.plan if isinstance(function, NifFunction) else bind(function)


def nanoseconds(timeout: float) -> int:
    """Return a timeout for the core, where 0 means none; raise NifArgumentError for bad ones."""
    return max(1, int(min(check_seconds("timeout", timeout) * 1e9, _LONGEST)))


def capture(route: Route, slot: Any, arguments: tuple[Any, ...], timeout: float | None) -> Any:
    """Make one request and return what the thunk returned; the answer is in the slot.

    Raises:
        NifArgumentError: an argument was refused; nothing was submitted.
    """
    plan = route.plan
    while True:
        if timeout is not None:
            slot.timeout_ns = nanoseconds(timeout)
        if plan.count_words is not None:
            slot.stack_words = plan.count_words(arguments)
        if type(arguments) is Packed and arguments.block is not None:
            slot.block = arguments.block.pointer
        slot.target = route.target
        try:
            result = route.capture(*arguments)
        except CONVERSION_ERRORS as problem:
            slot.target = slot.block = ffi.NULL
            slot.timeout_ns = slot.stack_words = 0
            raise complaint(plan, arguments, problem) from problem
        if slot.outcome != _MISUSED:
            return result


def completed(route: Route, given: tuple[Any, ...]) -> tuple[Any, ...]:
    """Return all arguments of a call, some of which the function itself may provide."""
    if route.plan.complete is None:
        return given
    try:
        return route.plan.complete(given)
    except TypeError as problem:
        raise NifArgumentError(
            function=route.plan.name,
            library=route.plan.library,
            argument="args",
            value=given,
            problem=f"can't be passed: {problem}",
            remedy="Pass what its paramflags ask for.",
        ) from problem


def prepared(route: Route, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Make what has to outlive the call from the arguments."""
    if route.prepare is None:
        return arguments
    try:
        return route.prepare(arguments)
    except NifArgumentError as error:
        error.function, error.library = route.plan.name, route.plan.library
        raise
    except CONVERSION_ERRORS as problem:
        raise complaint(route.plan, arguments, problem) from problem


def complaint(plan: Plan, arguments: tuple[Any, ...], problem: BaseException) -> NifArgumentError:
    """Return the error for arguments that the library refused."""
    error = plan.explain(arguments, problem)
    error.function, error.library = plan.name, plan.library
    return error


async def submit_in_line(
    route: Route, port: Port, arguments: tuple[Any, ...], timeout: float | None
) -> Any:
    """Make a request once the queue has room and it is its turn; the answer is in the slot.

    Raises:
        NifTimeout: there was no room in time. NifClosed: the executor was closed meanwhile.
    """
    deadline = None if timeout is None else time.monotonic() + check_seconds("timeout", timeout)
    result = None

    def attempt() -> bool:
        nonlocal result
        if route.is_closed():
            raise NifClosed(resource=route.resource, **where(route))
        remaining = None if deadline is None else max(deadline - time.monotonic(), 0.0)
        result = capture(route, port.slot, arguments, remaining)
        return bool(port.slot.outcome != _FULL)

    block = arguments.block if type(arguments) is Packed else None
    with move_on_after(timeout), in_line(block):
        await port.stand_in_line(route.pool, attempt)
        return result
    error = _unfinished(route, lib.AIONIF_EVENT_QUEUE_TIMEOUT, timeout)
    call_failed(error, route.executor)
    raise error


def result_of(route: Route, port: Port, call: int, kind: int, timeout: float | None) -> Any:
    """Return the result of a call that has ended, by the kind of its event; or raise its error."""
    if kind == lib.AIONIF_EVENT_RETURNED:
        return _replay(route.plan, port, call)
    if kind == lib.AIONIF_EVENT_FAILED:
        raise failure_of(call, route, timeout)
    error = _unfinished(route, kind, timeout)
    call_failed(error, route.executor)
    raise error


def converted(
    route: Route, result: Any, arguments: tuple[Any, ...], given: tuple[Any, ...], answer: Any
) -> Any:
    """Return the result as the caller gets it; answer: the slot, or what came with it."""
    if route.unpack is not None:
        result = route.unpack(result, arguments, answer)
        if type(result) is Later:
            result = result.here()
    finish = route.plan.finish
    return result if finish is None else finish(result, given)


def _replay(plan: Plan, port: Port, call: int) -> Any:
    slot = port.slot
    while True:
        slot.target = ffi.NULL
        slot.replay = call
        result = plan.replay()
        if slot.outcome != _MISUSED:
            return result


def where(route: Route) -> dict[str, Any]:
    return {"function": route.plan.name, "library": route.plan.library, "tier": route.tier}


def failure_of(call: int, route: Route, timeout: float | None) -> NifError:
    error, duration = error_of(call, route.plan, route.tier, timeout)
    if isinstance(error, NifTimeout) and timeout is None:
        error.timeout, error.is_default = _run_timeout(route), True
    elif isinstance(error, NifTimeout) and isinstance(timeout, DefaultTimeout):
        error.is_default, error.setting = True, timeout.setting
    if isinstance(error, NifLimitExceeded):
        error.allowed = getattr(route.policy.limits, error.limit)
    if isinstance(error, NifArgumentError) and route.policy.sandbox is not None:
        error.remedy = "Call it once, or preload what it needs, before its workers are sealed."
    if route.on_failure is not None:
        route.on_failure(error)
    call_failed(error, route.executor, duration)
    if route.permit is not None and isinstance(error, _CRASHES):
        route.permit.crashed()
    return error


def _unfinished(route: Route, kind: int, timeout: float | None) -> NifError:
    setting = timeout.setting if isinstance(timeout, DefaultTimeout) else None
    late: dict[str, Any] = {**where(route), "setting": setting}
    if kind == lib.AIONIF_EVENT_QUEUE_TIMEOUT:
        allowed = float(timeout or 0.0)
        return NifTimeout(timeout=allowed, phase="queue", is_default=setting is not None, **late)
    if kind == lib.AIONIF_EVENT_RUN_TIMEOUT:
        allowed = _run_timeout(route) if timeout is None else float(timeout)
        is_default = timeout is None or setting is not None
        return NifTimeout(timeout=allowed, is_default=is_default, **late)
    if kind == lib.AIONIF_EVENT_UNSERVED:
        return _unserved(route)
    return NifClosed(resource=route.resource, **where(route))


def _run_timeout(route: Route) -> float:
    return route.policy.run_timeout or 0.0


def _unserved(route: Route) -> NifError:
    seal = seal_of(route.pool)
    if seal is not None and not seal.is_sealed:
        error = seal_refusal(seal, "limits" if route.policy.sandbox is None else "sandbox")
        error.function, error.library, error.tier = route.plan.name, route.plan.library, route.tier
        return error
    reason, remedy = lack_of(route.pool) or (
        _problem_of(route.pool),
        "See what the worker says, and repair the executor's setup.",
    )
    kind = "worker process" if route.tier == "process" else "thread"
    return NifRejected(
        reason=f"no {kind} could be started: {reason}", remedy=remedy, **where(route)
    )


def lack_of(pool: Any) -> tuple[str, str] | None:
    """Return what the system did not give for a worker, and a remedy; None: nothing is lacking."""
    what = ffi.new("char[]", lib.AIONIF_TEXT)
    error = lib.aionif_pool_lack(pool, what, lib.AIONIF_TEXT)
    number = lib.aionif_pool_zygote(pool)
    return zygote.lack(error, ffi.string(what).decode(), number) if error else None


def _problem_of(pool: Any) -> str:
    text = ffi.new("char[]", lib.AIONIF_TEXT)
    lib.aionif_pool_problem(pool, text, lib.AIONIF_TEXT)
    lines = ffi.string(text).decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else "it died at once"


def refusal(route: Route, slot: Any, outcome: int, timeout: float | None) -> NifError:
    if outcome == _FAILED:
        return failure_of(slot.call, route, timeout)
    if outcome == _CLOSED:
        closed = NifClosed(resource=route.resource, **where(route))
        if route.on_failure is not None:
            route.on_failure(closed)
        return closed
    if route.target.series:
        lib.aionif_series_reject(route.target.series)
    cause = "full" if outcome == _FULL else "lost threads" if outcome == _REFUSED else "memory"
    if outcome == _FULL:
        lib.aionif_pool_reject(route.pool)
        error = NifRejected(**where(route))
    elif outcome == _REFUSED:
        error = NifRejected(
            reason="too many threads were lost to crashes and calls that do not stop",
            remedy="Restart this process; statistics() counts retired and abandoned threads.",
            **where(route),
        )
    else:
        error = NifRejected(
            reason="no memory or thread was left for it",
            remedy="Shed load, or raise the limits of this process.",
            **where(route),
        )
    if route.on_failure is not None:
        route.on_failure(error)
    call_failed(error, route.executor, cause=cause)
    return error
