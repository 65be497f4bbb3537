"""What a circuit breaker makes of a call's route: it is taken, or left, or the call refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aionif.calls.submit import where
from aionif.core.native import lib
from aionif.errors import NifRejected
from aionif.telemetry.failures import call_failed

if TYPE_CHECKING:
    from collections.abc import Callable

    from aionif.calls.breakers import Breaker, Permit
    from aionif.calls.submit import Route

__all__ = ("admitted",)


def admitted(route: Route, breaker: Breaker, detour: Callable[[], Route] | None) -> Route:
    """Return the route that a call may take: `route`, or the detour while the breaker is open.

    Raises:
        NifRejected: the call is held off, and there is no detour.
    """
    permit = breaker.admit()
    if permit is None:
        if detour is not None:
            return detour()
        raise _refusal(route, breaker)
    route.permit = permit
    if permit.is_probe:
        route.lasts = False
        _tell_of_return(route, permit)
    return route


def _tell_of_return(route: Route, permit: Permit) -> None:
    """Have a probe close its breaker when it returns, before anything is made of its result."""
    unpack = route.unpack

    def tell(result: Any, arguments: tuple[Any, ...], slot: Any) -> Any:
        permit.returned()
        return result if unpack is None else unpack(result, arguments, slot)

    route.unpack = tell


def _refusal(route: Route, breaker: Breaker) -> NifRejected:
    if route.target.series:
        lib.aionif_series_reject(route.target.series)
    now = breaker.statistics()
    crashes = f"{now.crashes} crash" + ("es" if now.crashes != 1 else "")
    wait = f"for another {now.seconds_left:.1f} s" if now.seconds_left else "while one probes it"
    error = NifRejected(
        reason=f"its breaker is open after {crashes}; no call is made {wait}",
        remedy="Repeat it then, or do without; NifExecutor.reset_breaker() closes it at once.",
        retry_after=now.seconds_left or None,
        **where(route),
    )
    call_failed(error, route.executor, cause=f"breaker of {breaker.key}")
    return error
