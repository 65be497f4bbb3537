"""The inline tier: `call_nif`.

Calls that fail are counted, those that return are not. Threads call at the same time, without the
GIL, so a count would have to be atomic: 5 ns of the 60 or so that a call takes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aionif.binding.plan import NifFunction
from aionif.calls.inline_route import call_inline, inline_route, settle_inline
from aionif.calls.submit import CONVERSION_ERRORS, Route, complaint
from aionif.core.native import _slots, ffi, new_slot
from aionif.errors.defaults import DEFAULT

if TYPE_CHECKING:
    from aionif.policy import NifPolicy

__all__ = ("call_nif",)

# Of functions whose calls need nothing special: their route, and what a call takes of it.
_plain: dict[Any, tuple[Route, Any, Any, Any]] = {}


def call_nif(
    fn: Any, *args: Any, timeout: float | None = DEFAULT, policy: NifPolicy | None = None
) -> Any:
    """Call a native function in this thread, on a guarded stack, and return its result.

    For short functions: nothing else runs in this thread meanwhile. Crashes and panics become the
    same errors as in `execute_nif`; `exit()` is not stopped. A call past its timeout, in seconds,
    is stopped where that is safe, and raises NifTimeout when it returns where it is not. Without
    one, that of the policy or the library holds, if there is one; timeout=None is no limit.
    """
    # The price of a short call is mostly that of these lines, so nothing is looked up twice.
    if timeout is DEFAULT and policy is None:
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
    if route.is_plain and isinstance(fn, NifFunction) and policy is None and route.timeout is None:
        _plain[fn] = (route, route.prepare, route.capture, route.target)
    if timeout is DEFAULT:
        timeout = route.timeout
    return call_inline(route, _slots.slot or new_slot(), args, timeout)
