"""Ten thousand children, and nothing that stays behind."""

from __future__ import annotations

import contextlib
import gc
import weakref
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from aionif import ChildSpec, MaxRestartsExceeded, NifSupervisor
from tests.support import until
from tests.support.supervising import Boom, settle

if TYPE_CHECKING:
    from aionif.supervision.spec import Restart


def test_ten_thousand_children(run: Any) -> None:
    async def main() -> None:
        living = 0

        async def work() -> None:
            nonlocal living
            living += 1
            try:
                await anyio.sleep_forever()
            finally:
                living -= 1

        kinds: list[Restart] = ["permanent", "temporary"]
        specs = [ChildSpec(id=f"c{i}", start=work, restart=kinds[i % 2]) for i in range(10_000)]
        async with NifSupervisor(specs[:5000]) as supervisor:
            for spec in specs[5000:]:
                await supervisor.start_child(spec)
            await until(lambda: living == 10_000)
            assert supervisor.count_children().active == 10_000
        assert living == 0

    run(main)


def test_ten_thousand_that_come_and_go(run: Any) -> None:
    async def main() -> None:
        async def work() -> None:
            await checkpoint()

        async with NifSupervisor() as supervisor:
            for number in range(10_000):
                spec = ChildSpec(id=f"c{number}", start=work, restart="temporary")
                await supervisor.start_child(spec)
                if number % 100 == 0:
                    await until(lambda: not supervisor.count_children().specs)
            await until(lambda: not supervisor.count_children().specs)
            assert supervisor.which_children() == ()

    run(main)


class Ballast:
    """Something that can be watched going."""


async def a_short_life(*, nested: bool) -> list[weakref.ref[Any]]:
    """Crash, restart and give up; return what should be gone then."""
    ballast = Ballast()

    async def work(held: Ballast) -> None:
        raise Boom(held)

    async def rest(held: Ballast) -> None:
        del held
        await anyio.sleep_forever()

    inner = NifSupervisor([ChildSpec(id="r", start=rest, args=(ballast,))], name="inner")
    specs = [
        ChildSpec(id="r", start=rest, args=(ballast,)),
        ChildSpec(id="w", start=work, args=(ballast,)),
    ]
    if nested:
        specs.insert(0, ChildSpec(id="i", start=inner))
    supervisor = NifSupervisor(specs, strategy="one_for_all")
    with contextlib.suppress(MaxRestartsExceeded):
        async with supervisor:
            await anyio.sleep_forever()
    return [weakref.ref(thing) for thing in (ballast, supervisor, inner)]


@pytest.mark.parametrize("nested", [False, True])
def test_nothing_stays_behind(run: Any, *, nested: bool) -> None:
    """There are no cycles, so nothing waits for the garbage collector.

    But for those that anyio may make of a task group that is cancelled in a task, as the block of
    an inner supervisor is.
    """

    async def main() -> None:
        await a_short_life(nested=nested)  # what is made once
        gc.collect()
        gc.disable()
        try:
            left = await a_short_life(nested=nested)
            await settle()
            if nested:
                gc.collect()
            assert [ref() for ref in left] == [None] * 3
        finally:
            gc.enable()

    run(main)
