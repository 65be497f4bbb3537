"""A native function that crashes when it is told to, and executors that have a breaker for it.

`act(RETURN)` returns, `act(CRASH)` crashes, `act(HANG)` runs until it is stopped. Crashes are real;
the time is a clock that the tests set.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from aionif import NifBreaker, NifExecutor, NifPolicy, NifRejected, NifSignal

if TYPE_CHECKING:
    from aionif import BreakerStatistics
    from tests.support.supervising import Clock

RETURN, CRASH, HANG = 0, 1, 2
CDEF = "int act(int); int process_id(int);"
SOURCE = """
    #include <unistd.h>
    static volatile int forever = 1;
    int act(int what) {
        if (what == 1) {
            *(volatile int *)0x10 = 1;
        }
        while (what == 2 && forever) {
        }
        return 7;
    }
    int process_id(int what) {
        act(what);
        return getpid();
    }
"""

TIERS = pytest.mark.parametrize("isolation", ["thread", "process"])


def executor_on(clock: Clock, isolation: Any = "thread", **settings: Any) -> NifExecutor:
    breaker = {"max_crashes": 2, "max_seconds": 60.0, "hold_seconds": 30.0}
    breaker |= settings.pop("breaker", {})
    policy = NifPolicy(breaker=NifBreaker(clock=clock, **breaker))  # type: ignore[arg-type]
    settings.setdefault("max_workers", 2)
    return NifExecutor(isolation=isolation, policy=policy, **settings)


async def crash(executor: Any, fn: Any, times: int = 1) -> None:
    for _ in range(times):
        with pytest.raises(NifSignal):
            await executor.execute_nif(fn, CRASH)


async def is_refused(executor: Any, fn: Any, *args: Any) -> NifRejected:
    with pytest.raises(NifRejected) as refusal:
        await executor.execute_nif(fn, *(args or (RETURN,)))
    return refusal.value


def of(executor: NifExecutor) -> BreakerStatistics:
    [found] = [each for each in executor.statistics().breakers if each.function == "act"]
    return found


def fates(executor: NifExecutor) -> dict[str, int]:
    [function] = executor.statistics().functions
    return {fate: count for fate, count in function.calls.items() if count}
