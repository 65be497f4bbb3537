"""What an executor needs for its calls in worker processes: setups, plans, ways for arguments."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aionif.binding import of_ctypes
from aionif.binding.choose import is_foreign
from aionif.calls.submit import plan_of
from aionif.core.native import lib
from aionif.errors import NifArgumentError
from aionif.process import catalog, zygote
from aionif.process.packing import packing_of
from aionif.process.packing_ctypes import result_elsewhere
from aionif.process.remote import main_module, pack_initializer, plan_of_callable, remote_packing
from aionif.process.setup import Setup
from aionif.sealing.template import template_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from aionif.binding.plan import Plan
    from aionif.calls.pools import Pools
    from aionif.calls.preloads import Preloads
    from aionif.policy import NifPolicy
    from aionif.process.packed import Packing

__all__ = ("make_setup", "plan_in_process", "plan_of_any", "process_pool")


def make_setup(
    initializer: Callable[..., object] | None,
    arguments: tuple[Any, ...],
    preload: tuple[str, ...],
    max_calls: int | None,
) -> Setup:
    """Return what the workers of an executor do before they serve."""
    python = {"preload": ",".join(preload)} if preload else {}
    if initializer is not None:
        python["initializer"] = pack_initializer(initializer, arguments)
    main = tuple(main_module().items())
    return Setup(main=main, python=tuple(python.items()), max_calls=max_calls)


def plan_of_any(fn: Any) -> Plan:
    """Return the plan of a native function or of a Python callable."""
    try:
        return plan_of(fn)
    except NifArgumentError:
        if not callable(fn) or is_foreign(fn):
            raise
        return plan_of_callable(fn)


def plan_in_process(
    fn: Any, policy: NifPolicy, pools: Pools, preloads: Preloads | None, *, is_session: bool
) -> tuple[Plan, Packing]:
    """Return a function's plan, known to worker processes, and how its arguments get there.

    preloads: of the workers, if they are sealed.
    """
    plan = plan_of_any(fn)
    if plan.address and plan.ctype is None:
        plan = of_ctypes.bind(fn, result_elsewhere)
    warm = pools.warm if policy.sandbox is None else None
    if not plan.address:
        need = preloads.need if preloads is not None else None
        if need is not None:
            need(fn)
        return plan, remote_packing(fn, plan, policy, warm, need, pools.name)
    zygote.of(template_of(policy.sandbox)).ensure()
    catalog.enter(plan)
    return plan, packing_of(plan, warm, is_session=is_session)


def process_pool(pools: Pools, policy: NifPolicy, setup: Setup, plan: Plan) -> Any:
    """Return the pool of worker processes that a plan runs in under a policy."""
    pool = pools.get(policy, setup)
    entry = int(plan.struct.entry)
    if policy.sandbox is not None and entry > lib.AIONIF_PYTHON_ENTRY:
        lib.aionif_pool_renew(pool, entry)
    return pool
