"""Sealed workers: what their plain replies cost beside pickles, and what a hostile one can delay.

The hostile functions are those of the tests, tests/support/hostile.c, and are compiled here.
"""

from __future__ import annotations

import asyncio
import statistics
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aionif
from aionif.core.native import lib
from benchmarks import _callables
from benchmarks._measure import Row, Scale, ratio_row, rounds
from benchmarks._subjects import silent_log, wrapped
from benchmarks.crashes import late_ticks
from tests.support import build_library

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from benchmarks._measure import Subject

__all__ = ("sealed",)

_ROOT = Path(__file__).resolve().parents[1]
_SIZE = 8_000_000
_WORST = 20.0  # ms
_FLOOD = 100  # ms a call
_TIMEOUT = 0.2  # seconds
_ITEMS = 10_000
_SIGNAL, _SEGV = 1, 11
_PLAIN = aionif.NifPolicy(sandbox=aionif.Sandbox.compute(mode="best_effort"))
_PICKLED = aionif.NifPolicy(sandbox=aionif.Sandbox.compute(mode="best_effort"), results="pickle")
_UNHELD = aionif.NifPolicy(sandbox=aionif.Sandbox.compute(mode="best_effort"), breaker=False)
_SMALL: dict[str, Any] = {
    "a number": 5,
    "a small dict": {"id": 7, "name": "aionif", "score": 0.5, "tags": ["a", "b"]},
    "a list of 100 numbers": list(range(100)),
    "a small tuple": (1, "two", 3.0, None),
}


async def sealed(scale: Scale) -> list[Row]:
    """Run all of them."""
    silent_log()
    rows = []
    async with (
        aionif.NifExecutor(isolation="process", max_workers=1) as unsealed,
        aionif.NifExecutor(isolation="process", max_workers=1, policy=_PLAIN) as plain,
        aionif.NifExecutor(isolation="process", max_workers=1, policy=_PICKLED) as pickled,
    ):
        rows += await small(plain, pickled, scale)
        rows += await large(plain, unsealed, scale)
        rows += await native(plain, unsealed, scale)
    return rows + await floods(scale)


def _in_turn(executor: aionif.NifExecutor, call: tuple[Any, ...], count: int) -> Subject:
    async def subject() -> float:
        for _ in range(3):
            await executor.execute_nif(*call)
        start = time.perf_counter_ns()
        for _ in range(count):
            await executor.execute_nif(*call)
        return (time.perf_counter_ns() - start) / count

    return subject


def _over(what: str, taken: dict[str, list[float]], than: str, target: float | None) -> Row:
    ours, theirs = (statistics.median(taken[side]) / 1000 for side in ("ours", "theirs"))
    detail = f"{ours:.1f} / {theirs:.1f} us"
    name = f"sealed, {what}: over {than}"
    return ratio_row(
        name, taken["ours"], taken["theirs"], target=target, better="low", detail=detail
    )


async def small(plain: aionif.NifExecutor, pickled: aionif.NifExecutor, scale: Scale) -> list[Row]:
    """Echo small values, of sealed workers that answer plainly and of such that send pickles.

    Plain data is read by Python where a pickle is read by C: some microseconds more, of the hundred
    that a call takes.
    """
    rows = []
    for what, value in _SMALL.items():
        subjects = {
            side: _in_turn(executor, (_callables.echo, value), scale.pick(2_000, 20))
            for side, executor in (("ours", plain), ("theirs", pickled))
        }
        taken = await rounds(subjects, scale.rounds)
        rows.append(_over(f"{what} as plain data", taken, "a pickle", 1.0))
    return rows


async def large(plain: aionif.NifExecutor, unsealed: aionif.NifExecutor, scale: Scale) -> list[Row]:
    """Have an array of 8 MB returned; and how long the loop stands still for it."""
    taken = await rounds(
        {
            side: _in_turn(executor, (_callables.large, _SIZE), scale.pick(20, 2))
            for side, executor in (("ours", plain), ("theirs", unsealed))
        },
        scale.rounds,
    )

    async def again_and_again() -> None:
        while True:
            await plain.execute_nif(_callables.large, _SIZE)

    late = [await _worst_tick(again_and_again, scale) for _ in range(scale.rounds)]
    return [
        _over("8 MB returned", taken, "an unsealed worker", None),
        Row("sealed, 8 MB returned again and again: worst of a 1 ms ticker", "ms", late, "low",
            _WORST),
    ]  # fmt: skip


async def native(
    plain: aionif.NifExecutor, unsealed: aionif.NifExecutor, scale: Scale
) -> list[Row]:
    """Make native calls."""
    taken = await rounds(
        {
            side: _in_turn(executor, (wrapped, -5), scale.pick(10_000, 100))
            for side, executor in (("ours", plain), ("theirs", unsealed))
        },
        scale.rounds,
    )
    return [_over("native calls in turn", taken, "an unsealed worker", 1.1)]


async def _worst_tick(attack: Callable[[], Awaitable[None]], scale: Scale) -> float:
    """Return how late the latest tick of a second or so was beside it, in milliseconds."""
    task = asyncio.ensure_future(attack())
    await asyncio.sleep(0.05)
    late = max(await late_ticks(scale.pick(1_000, 50))) / 1000
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    return late


async def floods(scale: Scale) -> list[Row]:
    """How late a tick of 1 ms runs at the worst while a sealed worker does its worst.

    Replies of many items are read in another thread. What the loop waits for then is Python's
    garbage collector, which goes through all objects of the program when many new ones are made, in
    whichever thread: 13 ms for 30,000 of them on a slow machine. json.loads of the same lists in a
    thread delays a tick as much or more. NifLimits(result_size=...) bounds how many there can be.
    """
    with tempfile.TemporaryDirectory() as directory:
        source = (_ROOT / "tests/support/hostile.c").read_text(encoding="utf-8")
        flags = ("-iquote", str(_ROOT / "csrc"))
        path = build_library(Path(directory), source, *flags, name="floods")
        library: Any = aionif.load(
            path,
            "int flood_at(unsigned long, int);"
            "int forge(unsigned long, unsigned, int, int, const char *);",
        )
        async with aionif.NifExecutor(
            isolation="process", max_workers=1, policy=_UNHELD
        ) as executor:
            await executor.execute_nif(wrapped, -5)  # from then on there is a window
            return [
                await _flood(executor, what, call, scale)
                for what, call in _attacks(library, int(lib.aionif_window(0, 0))).items()
            ]


def _attacks(library: Any, window: int) -> dict[str, tuple[Any, ...]]:
    return {
        "nothing": (abs, -5),
        "its bell": (library.flood_at, window, _FLOOD),
        "its stderr": (_callables.shout,),
        "large replies": (_callables.large, _SIZE),
        "replies of many items": (_callables.nested, _ITEMS),
        "stopping itself": (_callables.stop,),
        "forged reports": (library.forge, window, 7, _SIGNAL, _SEGV, b"/etc/passwd"),
    }


async def _flood(
    executor: aionif.NifExecutor, what: str, call: tuple[Any, ...], scale: Scale
) -> Row:
    outcomes: dict[str, int] = {}

    async def attack() -> None:
        while True:
            try:
                await executor.execute_nif(*call, timeout=_TIMEOUT)
                outcome = "returned"
            except aionif.NifError as error:
                outcome = type(error).__name__
            outcomes[outcome] = outcomes.get(outcome, 0) + 1

    worst = [await _worst_tick(attack, scale) for _ in range(scale.rounds)]
    detail = ", ".join(f"{outcome} {count}" for outcome, count in sorted(outcomes.items()))
    name = f"sealed, a hostile worker, {what}: worst of a 1 ms ticker"
    return Row(name, "ms", worst, "low", _WORST, detail)
