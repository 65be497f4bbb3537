"""Calls that run in the thread that makes them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from aionif.binding.plan import NifFunction
from aionif.calls.submit import Route, capture, completed, plan_of, prepared, refusal
from aionif.calls.timeouts import timeouts_for
from aionif.core.native import lib
from aionif.errors import NifArgumentError
from aionif.errors.defaults import nearest
from aionif.policy import NifPolicy, check_policy, check_tier
from aionif.telemetry import registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from aionif.binding.plan import Plan
    from aionif.errors import NifError

__all__ = ("call_inline", "inline_route", "settle_inline")

_RETURNED = lib.AIONIF_RETURNED
_MISUSED = lib.AIONIF_MISUSED
_DEFAULT_POLICY = NifPolicy()


def inline_route(
    fn: Any,
    policy: NifPolicy | None,
    count: Callable[[Plan, NifError], None] | None = None,
    executor: str = registry.INLINE,
) -> Route:
    """Return the route of calls in the caller's thread.

    count: of an executor, whose tasks make the calls: told of those that fail.
    executor: its name, for the log.
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
    route = Route(plan, policy, on_failure=partial(count or _count, plan), executor=executor)
    route.timeout = nearest(*timeouts_for(fn, policy))
    route.target.watch = count is not None
    return route


def _count(plan: Plan, error: NifError) -> None:
    registry.count_inline_failure(plan.name, plan.library, error)


def settle_inline(route: Route, slot: Any, arguments: tuple[Any, ...]) -> Any:
    """Raise for an inline call that did not return, as the slot says."""
    if slot.outcome == _MISUSED:
        return call_inline(route, slot, arguments, None)
    raise refusal(route, slot, slot.outcome, None)


def call_inline(route: Route, slot: Any, given: tuple[Any, ...], timeout: float | None) -> Any:
    """Make a call of any kind in this thread and return its result."""
    given = completed(route, given)
    arguments = prepared(route, given)
    result = capture(route, slot, arguments, timeout)
    if slot.outcome != _RETURNED:
        raise refusal(route, slot, slot.outcome, timeout)
    finish = route.plan.finish
    return result if finish is None else finish(result, given)
