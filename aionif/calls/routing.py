"""Which way an executor's calls go: inline, to threads, to processes, or away from what crashed."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakMethod

from aionif.binding.choose import is_foreign
from aionif.calls.admission import admitted
from aionif.calls.caller import Caller
from aionif.calls.inline_route import inline_route
from aionif.calls.process_routes import plan_in_process, plan_of_any, process_pool
from aionif.calls.strands import serial_strand
from aionif.calls.submit import Route, plan_of
from aionif.core.native import ffi
from aionif.errors import NifArgumentError, NifClosed, NifCrash
from aionif.log import warn
from aionif.loops.current import current_port
from aionif.policy import check_tier

if TYPE_CHECKING:
    from collections.abc import Callable

    from aionif.binding.plan import Plan
    from aionif.calls.pools import Pools
    from aionif.calls.session import NifSession
    from aionif.errors import NifError
    from aionif.policy import Isolation, NifPolicy
    from aionif.process.packed import Packing
    from aionif.process.setup import Setup

__all__ = ("Router",)


class Router(Caller):
    """The part of an executor that finds a route for a function under a policy."""

    _isolation: Isolation
    _policy: NifPolicy
    _pools: Pools
    _setup: Setup
    _sessions: set[NifSession]
    _rejects: bool
    _closed: bool
    _moved: set[int]  # addresses of functions that have crashed, with "auto"

    def _is_closed(self) -> bool:
        return self._closed

    def _make_route(self, fn: Any, policy: NifPolicy | None) -> Route:
        if self._closed:
            raise NifClosed(resource="executor")
        policy = policy or self._policy
        check_tier(policy, self._isolation)
        moved = self._isolation == "auto" and (policy.sandbox is not None or self._is_moved(fn))
        if self._isolation == "process" or moved:
            return self._guard(self._make_process_route(fn, policy), policy)
        if self._isolation == "inline":
            return inline_route(fn, policy, self._pools.count_inline_failure, self._pools.name)
        is_moving = policy.breaker and policy.breaker.then == "process"
        detour = partial(self._detour, fn, policy) if is_moving else None
        return self._guard(self._make_thread_route(fn, policy), policy, detour)

    def _guard(
        self, route: Route, policy: NifPolicy, detour: Callable[[], Route] | None = None
    ) -> Route:
        """Return the route that a function's breaker lets a call take, if the policy has one."""
        if not policy.breaker:
            return route
        drop = WeakMethod(self._drop_routes)  # the pools must not keep who owns them

        def on_change(plan: Plan) -> None:
            if (method := drop()) is not None:
                method(plan)

        breaker = self._pools.breaker(policy.breaker, route.plan, on_change)
        return admitted(route, breaker, detour)

    def _drop_routes(self, plan: Plan) -> None:
        for caller in (self, *self._sessions):
            caller._forget(plan)  # noqa: SLF001 - its own kind

    def _detour(self, fn: Any, policy: NifPolicy) -> Route:
        current_port().listen()  # an executor of threads has not done so
        route = self._make_process_route(fn, policy)
        route.lasts = False
        return route

    def _make_thread_route(self, fn: Any, policy: NifPolicy) -> Route:
        plan = plan_of(fn)
        strand = ffi.NULL if policy.thread_safe else serial_strand(fn)
        route = self._route(plan, policy, self._pools.get(policy), strand)
        route.on_failure = partial(self._move, plan) if self._isolation == "auto" else None
        return route

    def _route(
        self, plan: Plan, policy: NifPolicy, pool: Any, strand: Any, packing: Packing | None = None
    ) -> Route:
        return Route(
            plan,
            policy,
            pool,
            strand,
            rejects_when_full=self._rejects,
            is_closed=self._is_closed,
            packing=packing,
            series=self._pools.series(pool, plan),
            executor=self._pools.name,
        )

    def _is_moved(self, fn: Any) -> bool:
        try:
            return plan_of(fn).address in self._moved
        except NifArgumentError:
            return callable(fn) and not is_foreign(fn)  # Python runs in processes alone

    def _move(self, plan: Plan, error: NifError) -> None:
        if isinstance(error, NifCrash) and plan.address not in self._moved:
            self._moved.add(plan.address)
            self._forget(plan)
            where = {"function": plan.name, "library": plan.library, "tier": "process"}
            warn("function_moved", **where, executor=self._pools.name)

    def reset_isolation(self, fn: Any = None) -> None:
        """Run a function that has crashed, or all of them, on threads again (isolation="auto")."""
        for address in list(self._moved) if fn is None else [plan_of(fn).address]:
            self._moved.discard(address)
        self._routes.clear()

    def reset_breaker(self, fn: Any = None) -> None:
        """Close the circuit breakers of a function, or of all, and forget their crashes."""
        self._pools.reset_breakers(None if fn is None else plan_of_any(fn))

    def _make_process_route(self, fn: Any, policy: NifPolicy) -> Route:
        plan, packing = plan_in_process(
            fn,
            policy,
            self._pools,
            self._pools.preloads(policy, self._setup),
            is_session=False,
        )
        native = not packing.is_python
        strand = ffi.NULL if policy.thread_safe or not native else serial_strand(fn)
        pool = process_pool(self._pools, policy, self._setup, plan)
        return self._route(plan, policy, pool, strand, packing)
