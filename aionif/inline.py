"""The inline tier: `call_nif`.

Calls that fail are counted, those that return are not. Threads call at the same time, without the
GIL, so a count would have to be atomic: 5 ns of the 60 or so that a call takes.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from aionif.binding.plan import NifFunction
from aionif.calls.submit import (
    CONVERSION_ERRORS,
    Route,
    call_inline,
    complaint,
    plan_of,
    settle_inline,
)
from aionif.core.native import _slots, ffi, new_slot
from aionif.errors import NifArgumentError
from aionif.policy import NifPolicy, check_policy, check_tier
from aionif.telemetry import registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from aionif.binding.plan import Plan
    from aionif.errors import NifError

__all__ = ("call_nif", "inline_route")

_DEFAULT_POLICY = NifPolicy()

# Of functions whose calls need nothing special: their route, and what a call takes of it.
_plain: dict[Any, tuple[Route, Any, Any, Any]] = {}


def inline_route(
    fn: Any, policy: NifPolicy | None, count: Callable[[Plan, NifError], None] | None = None
) -> Route:
    """Return the route of calls in the caller's thread.

    count: of an executor, whose tasks make the calls: told of those that fail.
    """
    plan = plan_of(fn)
    own = fn.policy if isinstance(fn, NifFunction) else None
    check_policy(policy)
    policy = policy or own or _DEFAULT_POLICY
    check_tier(policy, "inline")
    if not policy.thread_safe:
        raise NifArgumentError(
            argument="policy",
            value="thread_safe=False",
            problem="can't be kept inline, where calls run in whatever thread makes them",
            remedy="Call it with execute_nif.",
        )
    route = Route(plan, policy, on_failure=partial(count or _count, plan))
    route.target.watch = count is not None
    return route


def _count(plan: Plan, error: NifError) -> None:
    registry.count_inline_failure(plan.name, plan.library, error)


def call_nif(
    fn: Any, *args: Any, timeout: float | None = None, policy: NifPolicy | None = None
) -> Any:
    """Call a native function in this thread, on a guarded stack, and return its result.

    For short functions: nothing else runs in this thread meanwhile. Crashes and panics become the
    same errors as in `execute_nif`; `exit()` is not stopped. A call past its timeout, in seconds,
    is stopped where that is safe, and raises NifTimeout when it returns where it is not.
    """
    # The price of a short call is mostly that of these lines, so nothing is looked up twice.
    if timeout is None and policy is None:
        try:
            route, prepare, capture, target = _plain[fn]
        except (KeyError, TypeError):  # TypeError: ctypes functions can't be hashed
            pass
        else:
            slot = _slots.slot
            if slot is None:
                slot = new_slot()
            try:
                if prepare is not None:
                    args = prepare(args)
                slot.target = target
                result = capture(*args)
            except CONVERSION_ERRORS as problem:
                slot.target = ffi.NULL
                raise complaint(route.plan, args, problem) from problem
            if slot.outcome:
                return settle_inline(route, slot, args)
            return result
    route = inline_route(fn, policy)
    if route.is_plain and isinstance(fn, NifFunction) and policy is None:
        _plain[fn] = (route, route.prepare, route.capture, route.target)
    return call_inline(route, _slots.slot or new_slot(), args, timeout)
