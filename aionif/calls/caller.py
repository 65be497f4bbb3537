"""Making one call from a task: the hot path, shared by executors and sessions."""

from __future__ import annotations

from asyncio import _get_running_loop  # None where none runs: cheap
from contextlib import suppress
from typing import TYPE_CHECKING, Any, TypeVar, overload

from aionif.binding.choose import is_foreign
from aionif.binding.plan import NifFunction
from aionif.calls.submit import (
    CONVERSION_ERRORS,
    Route,
    capture,
    complaint,
    completed,
    plan_of,
    prepared,
    refusal,
    result_of,
    submit_in_line,
)
from aionif.calls.timeouts import timeouts_for
from aionif.core.native import ffi, lib
from aionif.errors import NifArgumentError, NifRejected
from aionif.errors.checks import check_function
from aionif.errors.defaults import DEFAULT, DefaultTimeout, nearest
from aionif.loops.current import current_port
from aionif.loops.port import Port, local
from aionif.policy import check_policy
from aionif.process.packed import Later
from aionif.telemetry import sources

if TYPE_CHECKING:
    from collections.abc import Callable

    from aionif.binding.plan import Plan
    from aionif.policy import NifPolicy

__all__ = ("Caller",)

_Result = TypeVar("_Result")

_MOST_ROUTES = 1024
_YIELD = lib.AIONIF_YIELD
_PENDING = lib.AIONIF_PENDING
_FULL = lib.AIONIF_FULL
_UNTAKEN = (lib.AIONIF_FULL, lib.AIONIF_MISUSED)


class Caller:
    """What executors and sessions share: routes of functions, and the call itself."""

    _policy: NifPolicy
    _timeout: float | None

    def __init__(self) -> None:
        self._routes: dict[Any, Route] = {}
        self._ports: set[Port] = set()
        self._runs_python = False

    @overload
    async def execute_nif(
        self,
        fn: NifFunction,
        *args: Any,
        timeout: float | None = DEFAULT,
        policy: NifPolicy | None = None,
    ) -> Any: ...

    @overload
    async def execute_nif(
        self,
        fn: Callable[..., _Result],
        *args: Any,
        timeout: float | None = DEFAULT,
        policy: NifPolicy | None = None,
    ) -> _Result: ...

    async def execute_nif(  # noqa: C901, PLR0912, PLR0915 - the hot path: each step inlined pays
        self, fn: Any, *args: Any, timeout: float | None = DEFAULT, policy: NifPolicy | None = None
    ) -> Any:
        """Call the native function `fn` with `args` on a worker and return its result.

        fn: a function of `aionif.load()`, of cffi (either mode) or of ctypes.
        timeout: seconds from now, waiting in the queue included. Left out: the one that was set for
            such calls, in the call's policy, else the library, else the executor. None: no limit
            but the policy's `run_timeout`, which a sandbox sets to 60 s; math.inf: no limit.
        policy: for this call alone, in place of the library's or the executor's.

        Raises:
            NifCrash: the call crashed (NifSignal, NifStackOverflow, NifSyscallDenied), panicked
                (NifPanic) or tried to exit (NifExit).
            NifTimeout: the deadline passed, in the queue or while it ran.
            NifRejected: it was not accepted. NifClosed: the executor or session is closed.
            NifArgumentError: an argument can't be converted; nothing was submitted.
        """
        port = local.port
        if port is None or port.loop is not _get_running_loop():
            port = current_port()
        if port.turn_is_due or port.is_cancelling():
            port.turn_is_due = port.is_trio
            await port.take_turn()
        try:
            route = self._routes.get(fn) if policy is None else None
        except TypeError:  # ctypes functions can't be hashed
            route = None
        if route is None:
            try:
                route = self._find_route(fn, policy)
            except NifRejected:  # by a breaker: who asks again at once must not stop the loop
                port.owe_turn()
                raise
            if route.plan.complete is not None:  # of ctypes, whose functions always come here
                args = completed(route, args)
        if timeout is DEFAULT:
            timeout = route.timeout
        try:
            if port not in self._ports:
                self._join(port)
            slot = port.slot
            given = args
            if port.lines and not route.rejects_when_full:  # tasks wait, perhaps for this pool
                args = prepared(route, args)
                result = await submit_in_line(route, port, args, timeout)
            elif timeout is None and route.is_plain:  # capture() again, at half the price
                try:
                    if route.prepare is not None:
                        args = route.prepare(args)
                    slot.target = route.target
                    result = route.capture(*args)
                except CONVERSION_ERRORS as problem:
                    slot.target = ffi.NULL
                    raise complaint(route.plan, args, problem) from problem
            else:
                args = prepared(route, args)
                result = capture(route, slot, args, timeout)
            outcome = slot.outcome
            if outcome > _YIELD:
                if outcome in _UNTAKEN and not (outcome == _FULL and route.rejects_when_full):
                    result = await submit_in_line(route, port, args, timeout)
                    outcome = slot.outcome
                if outcome == _PENDING:
                    # No coroutine of its own for the wait: it would be most of what a call in
                    # flight takes of memory.
                    call = slot.call
                    try:
                        kind = await port.enlist(call, args, route)
                    except BaseException:
                        await port.give_up(call, args, route)
                        raise
                    result = result_of(route, port, call, kind, timeout)
                elif outcome > _YIELD:
                    port.owe_turn()
                    raise refusal(route, slot, outcome, timeout)  # noqa: TRY301 - not abstract
            if outcome == _YIELD:
                port.owe_turn()
            if route.unpack is not None:
                result = route.unpack(result, args, slot)
                if type(result) is Later:
                    result = await result.elsewhere()
            finish = route.plan.finish
            return result if finish is None else finish(result, given)
        except BaseException:
            if route.permit is not None:
                route.permit.withdraw()  # it may have been a probe, and none must be waited for
            raise

    def _find_route(self, fn: Any, policy: NifPolicy | None) -> Route:
        check_policy(policy)
        check_function(fn)
        try:
            plan = plan_of(fn)
        except NifArgumentError:
            if not self._runs_python or not callable(fn) or is_foreign(fn):
                raise
            return self._find_python_route(fn, policy)
        own = fn.policy if isinstance(fn, NifFunction) else None
        key: Any = (plan, policy, getattr(fn, "timeout", None))
        route = self._routes.get(key)
        if route is None:
            route = self._make_route(fn, policy or own)
            route.timeout = self._default_timeout(fn, policy)
            self._keep(key, route)
        if isinstance(fn, NifFunction) and policy is None:
            self._keep(fn, route)  # its plan and policy never change
        return route

    def _default_timeout(self, fn: Any, policy: NifPolicy | None) -> DefaultTimeout | None:
        if policy is self._policy and not isinstance(fn, NifFunction):
            policy = None  # as futures have it: their executor's, said once more
        return nearest(
            *timeouts_for(fn, policy),
            ("the executor's policy", self._policy.timeout),
            ("NifExecutor(timeout=...)", self._timeout),
        )

    def _keep(self, key: Any, route: Route) -> None:
        """Have further calls take a route, too, if they may."""
        if route.lasts:
            self._routes[key] = route
            # Where a breaker has opened since the route was made, it looked for it in vain.
            if route.permit is not None and not route.permit.holds():
                self._routes.pop(key, None)

    def _forget(self, plan: Plan) -> None:
        """Have further calls of a function look for their route anew."""
        for key, route in list(self._routes.items()):
            if route.plan.identity == plan.identity:
                self._routes.pop(key, None)

    def _find_python_route(self, fn: Any, policy: NifPolicy | None) -> Route:
        route = self._make_route(fn, policy)
        route.timeout = self._default_timeout(fn, policy)
        if policy is None:
            if len(self._routes) >= _MOST_ROUTES:  # bound methods are made anew each time
                self._routes.clear()
            with suppress(TypeError):  # some callables can't be hashed
                self._keep(fn, route)
        return route

    def _make_route(self, fn: Any, policy: NifPolicy | None) -> Route:
        raise NotImplementedError

    def _join(self, port: Port) -> None:
        raise NotImplementedError


def _call_times() -> tuple[float, float] | None:
    """Right after a call's end, when nothing has run in this thread since."""
    slot = current_port().slot
    if slot.run_ns > 0:  # else it ran inline, where nothing is measured
        return max(slot.queue_ns, 0) / 1e9, slot.run_ns / 1e9
    return None


sources.caller, sources.call_times = Caller, _call_times
