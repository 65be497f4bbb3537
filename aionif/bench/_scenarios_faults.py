"""Scenarios of calls that crash or never end.

A pool that a crash breaks is opened anew at once, as its user has to, and the time for that counts.
"""

from __future__ import annotations

import asyncio
import time
from concurrent.futures import BrokenExecutor
from contextlib import AsyncExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import anyio

from aionif.bench import latency
from aionif.bench._case import Case, Measured, Meter
from aionif.bench._timing import warm_up
from aionif.bench.workload import Work, built_in

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("crash_every_call", "crash_of_many", "respawn", "runaway")

_FEWEST = 3
_BATCHES = 20
_WORK = 10.0  # microseconds of each bystander
_LATEST = 2.0  # seconds after a deadline until a subject is taken not to keep it


class _Renewed:
    """A subject that is opened anew once a crash has broken it."""

    def __init__(self, case: Case) -> None:
        self._case = case
        self._stack = AsyncExitStack()
        self.bind: Any = None
        self.renewals = 0

    async def __aenter__(self) -> Self:
        self.bind = await self._stack.enter_async_context(self._case.open())
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._stack.aclose()

    async def crash(self, call: Callable[[], Any]) -> BaseException:
        """Make a call that crashes; return what the caller was told, the pool open again."""
        try:
            result = call()
            if not self._case.subject.synchronous:
                await result
        except Exception as told:  # noqa: BLE001 - each library has its own
            await self.repair(told)
            return told
        raise AssertionError("a call that must crash has returned")

    async def repair(self, told: BaseException) -> None:
        """Open the subject anew if this is how it says that it is broken."""
        if isinstance(told, BrokenExecutor):
            await self._stack.aclose()
            self.bind = await self._stack.enter_async_context(self._case.open())
            self.renewals += 1


async def crash_every_call(case: Case) -> Measured:
    """Await calls one after another each of which crashes."""
    work = built_in("crash")
    taken: list[float] = []
    async with _Renewed(case) as subject:
        await warm_up(case, subject.bind(built_in("nothing")))
        for _ in range(case.workers):  # or those that stand idle would flatter the first few
            await subject.crash(subject.bind(work))
        meter = Meter()
        end = time.perf_counter() + case.budget
        while len(taken) < _FEWEST or time.perf_counter() < end:
            start = time.perf_counter()
            told = await subject.crash(subject.bind(work))
            taken.append(time.perf_counter() - start)
        figures = meter.figures(len(taken))
        figures["pools_opened_anew"] = float(subject.renewals)
    note = f"the caller gets {type(told).__name__}"
    return Measured(
        seconds=_batches(taken), latency=latency.collect(taken), figures=figures, note=note
    )


async def crash_of_many(case: Case, *, count: int) -> Measured:
    """Await `count` calls together one of which crashes: the others are bystanders."""
    crash, work = built_in("crash"), case.work(_WORK)
    waves: list[float] = []
    lost, bystanders = 0, 0
    async with _Renewed(case) as subject:
        await warm_up(case, subject.bind(work))
        meter = Meter()
        end = time.perf_counter() + case.budget
        while len(waves) < _FEWEST or time.perf_counter() < end:
            start = time.perf_counter()
            told = await _wave(case, subject.bind, crash, work, count)
            broken = [error for error in told if isinstance(error, BrokenExecutor)]
            for error in broken[:1]:  # all that were in flight say so, of the one pool
                await subject.repair(error)
            waves.append((time.perf_counter() - start) / count)
            bystanders += count - 1
            lost += len(told) - 1
        figures = meter.figures(len(waves) * count)
    figures |= {"bystanders": float(bystanders), "bystanders_lost": float(lost)}
    figures["pools_opened_anew"] = float(subject.renewals)
    return Measured(seconds=_batches(waves), figures=figures)


async def _wave(case: Case, bind: Any, crash: Work, work: Work, count: int) -> list[Exception]:
    """Return what the callers were told that got no result."""
    told: list[Exception] = []
    calls = [bind(work) for _ in range(count - 1)]
    calls.insert(count // 2, bind(crash))

    async def one(call: Callable[[], Any]) -> None:
        try:
            result = call()
            if not case.subject.synchronous:
                await result
        except Exception as error:  # noqa: BLE001 - each library has its own
            told.append(error)

    if case.subject.backend == "asyncio":
        await asyncio.gather(*[one(call) for call in calls])
    else:
        async with anyio.create_task_group() as group:
            for call in calls:
                group.start_soon(one, call)
    return told


async def respawn(case: Case) -> Measured:
    """Time from a call that crashes to the result of the next one, where there is one worker."""
    case = replace(case, workers=1)
    crash, work = built_in("crash"), built_in("nothing")
    taken: list[float] = []
    async with _Renewed(case) as subject:
        await warm_up(case, subject.bind(work))
        await subject.crash(subject.bind(crash))
        await _until_it_works(case, subject, work)
        end = time.perf_counter() + case.budget
        while len(taken) < _FEWEST or time.perf_counter() < end:
            start = time.perf_counter()
            await subject.crash(subject.bind(crash))
            await _until_it_works(case, subject, work)
            taken.append(time.perf_counter() - start)
    return Measured(seconds=_batches(taken), latency=latency.collect(taken))


async def _until_it_works(case: Case, subject: _Renewed, work: Work) -> None:
    while True:
        try:
            result = subject.bind(work)()
            if not case.subject.synchronous:
                await result
        except Exception as told:  # noqa: BLE001 - it was sent to a worker that was dying
            await subject.repair(told)
        else:
            return


async def runaway(case: Case, *, timeout: float) -> Measured:
    """Await a call that never ends, with a deadline; time from the deadline until it is known."""
    async with case.open() as bind:
        await warm_up(case, bind(built_in("nothing")))
        call = bind(built_in("work", (1 << 63) - 1), timeout=timeout)
        start = time.perf_counter()
        with anyio.move_on_after(timeout + _LATEST) as scope:
            try:
                result = call()
                if not case.subject.synchronous:
                    await result
            except Exception as told:  # noqa: BLE001 - each library has its own
                late = time.perf_counter() - start - timeout
                # Clocks differ by what a tick of the kernel is; being early earns nothing.
                return Measured(
                    seconds=(max(late, 1e-6),), note=f"the caller gets {type(told).__name__}"
                )
        if scope.cancelled_caught:
            raise TimeoutError(f"the deadline was not kept within {_LATEST} s")
    raise AssertionError("a call that must not end has ended")


def _batches(taken: list[float]) -> tuple[float, ...]:
    """Return means of neighbours: at most `_BATCHES` of them."""
    size = -(-len(taken) // _BATCHES)
    groups = [taken[start : start + size] for start in range(0, len(taken), size)]
    return tuple(sum(group) / len(group) for group in groups)
