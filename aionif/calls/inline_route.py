"""The route of calls that run in the thread that makes them."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from aionif.binding.plan import NifFunction
from aionif.calls.submit import Route, plan_of
from aionif.calls.timeouts import timeouts_for
from aionif.errors import NifArgumentError
from aionif.errors.defaults import nearest
from aionif.policy import NifPolicy, check_policy, check_tier
from aionif.telemetry import registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from aionif.binding.plan import Plan
    from aionif.errors import NifError

__all__ = ("inline_route",)

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
