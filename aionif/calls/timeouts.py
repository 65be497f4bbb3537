"""The timeouts of calls that are given none: which settings there are, the nearest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aionif.binding.plan import NifFunction
from aionif.errors import NifArgumentError
from aionif.errors.checks import check_span

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aionif.policy import NifPolicy

__all__ = ("checked_timeout", "timeouts_for")


def timeouts_for(fn: Any, policy: NifPolicy | None) -> Iterator[tuple[str, float | None]]:
    """Yield the settings of a call's policy and of its function, and their values."""
    if policy is not None:
        yield "the call's policy", policy.timeout
    if isinstance(fn, NifFunction):
        yield "load(..., timeout=...)", fn.timeout
        yield "the library's policy", fn.policy and fn.policy.timeout


def checked_timeout(timeout: float | None, policy: NifPolicy | None) -> float | None:
    """Return the timeout of an executor, unless its policy says another one.

    Raises:
        NifArgumentError: it is no number above 0, or both are given.
    """
    if timeout is None:
        return None
    check_span("timeout", timeout)
    if policy is not None and policy.timeout is not None:
        raise NifArgumentError(
            argument="timeout",
            value=timeout,
            problem=f"is given besides that of the policy, which is {policy.timeout:g} s",
            remedy="Give one of them: NifExecutor(timeout=...), or NifPolicy(timeout=...).",
        )
    return timeout
