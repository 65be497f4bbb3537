"""How children are stopped, and that none is left after cancellation anywhere."""

from __future__ import annotations

import contextlib
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from aionif import (
    Backoff,
    ChildSpec,
    NifClosed,
    NifSupervisor,
    shutdown_scope,
)
from tests.support import until
from tests.support.supervising import Boom, Script, cancelled_after, settle, states

# ---- the time for a clean-up ----


class Cleaner:
    """A child with a clean-up that takes as long as the test wants."""

    def __init__(self) -> None:
        self.done = anyio.Event()
        self.ended = ""

    async def work(self) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with shutdown_scope() as scope:
                await self.done.wait()
            self.ended = "cut short" if scope.cancelled_caught else "in peace"


@pytest.mark.parametrize(
    ("shutdown", "seconds", "ended"),
    [
        ("brutal_kill", 60, "cut short"),
        (0.05, 60, "cut short"),
        (60, 0.02, "in peace"),
        ("infinity", 0.02, "in peace"),
    ],
)
def test_shutdown(run: Any, shutdown: Any, seconds: float, ended: str) -> None:
    async def main() -> None:
        cleaner = Cleaner()
        spec = ChildSpec(id="c", start=cleaner.work, shutdown=shutdown)

        async def finish() -> None:
            await anyio.sleep(seconds)
            cleaner.done.set()

        async with anyio.create_task_group() as group:
            group.start_soon(finish)
            with anyio.fail_after(30):
                async with NifSupervisor([spec]):
                    pass
            group.cancel_scope.cancel()
        assert cleaner.ended == ended

    run(main)


def test_a_shutdown_scope_entered_before_the_stop(run: Any) -> None:
    """Its deadline comes with the stop."""

    async def main() -> None:
        ended = []

        async def work() -> None:
            with shutdown_scope() as scope:
                await anyio.sleep_forever()
            ended.append(scope.cancelled_caught)

        with anyio.fail_after(30):
            async with NifSupervisor([ChildSpec(id="w", start=work, shutdown=0.02)]):
                pass
        assert ended == [True]

    run(main)


def test_a_shutdown_scope_elsewhere_protects_nothing(run: Any) -> None:
    async def main() -> None:
        with anyio.move_on_after(0.01) as scope, shutdown_scope():
            await anyio.sleep_forever()
        assert scope.cancelled_caught

    run(main)


def test_a_child_that_shields_itself_is_waited_for(run: Any) -> None:
    async def main() -> None:
        script = Script()
        done = anyio.Event()

        async def stubborn() -> None:
            with anyio.CancelScope(shield=True):
                await done.wait()

        spec = ChildSpec(id="s", start=stubborn, shutdown=0.01, restart="transient")
        async with script.supervisor([*script.children("a"), spec]) as supervisor:
            await supervisor.terminate_child("a")
            async with anyio.create_task_group() as group:
                group.start_soon(supervisor.terminate_child, "s")
                await until(lambda: bool(script.reports))
                assert states(supervisor)["s"] == "running"
                done.set()
            assert states(supervisor)["s"] == "stopped"
        assert [report.error_context for report in script.reports] == ["shutdown_error"]
        assert script.reports[0].reason == "not gone after 0.01 s; waiting for it"

    run(main)


@pytest.mark.parametrize(
    ("restart", "raises", "reported"),
    [
        ("permanent", Boom, "Boom"),
        ("transient", Boom, "Boom"),
        ("permanent", None, "normal"),
        ("transient", None, None),
        ("temporary", None, None),
    ],
)
def test_what_a_child_makes_of_being_stopped(
    run: Any, restart: Any, raises: Any, reported: Any
) -> None:
    async def main() -> None:
        async def work() -> None:
            try:
                await anyio.sleep_forever()
            except BaseException:
                if raises:
                    raise raises from None
                raise

        async def swallow() -> None:
            with contextlib.suppress(anyio.get_cancelled_exc_class()):
                await anyio.sleep_forever()

        script = Script()
        start = work if raises else swallow
        async with script.supervisor([]) as supervisor:
            await supervisor.start_child(ChildSpec(id="w", start=start, restart=restart))
            await settle()
        said = [(report.error_context, report.reason) for report in script.reports]
        assert said == ([("shutdown_error", reported)] if reported else [])

    run(main)


def test_a_child_that_somebody_else_cancels(backend: str, run: Any) -> None:
    """On asyncio anybody can; it is an abnormal end, as a kill from outside is."""
    if backend == "trio":
        return  # it has no such thing
    import asyncio

    async def main() -> None:
        tasks: list[Any] = []

        async def work() -> None:
            tasks.append(asyncio.current_task())
            await anyio.sleep_forever()

        script = Script()
        async with script.supervisor([ChildSpec(id="w", start=work)]):
            tasks[0].cancel()
            await until(lambda: len(tasks) == 2)
        assert [report.reason for report in script.reports] == ["CancelledError"]

    run(main)


# ---- cancellation ----


async def a_busy_life(script: Script) -> None:
    """Use everything once."""
    inner = script.supervisor([script.slow_child("x"), script.child("y")], name="inner")
    children = [script.slow_child("a"), ChildSpec(id="i", start=inner), script.child("b")]
    backoff = Backoff(initial=1e-6)
    supervisor = script.supervisor(
        children, strategy="rest_for_one", max_restarts=9, backoff=backoff
    )
    async with supervisor:
        await supervisor.start_child(script.slow_child("c"))
        await supervisor.start_child(script.child("d", restart="temporary"))
        await supervisor.terminate_child("c")
        await supervisor.restart_child("c")
        script.end("a", Boom())
        await until(lambda: script.log.count("+c") == 3)
        await inner.terminate_child("x")
        await inner.delete_child("x")
        await inner.start_child(script.slow_child("z"))
        script.end("y", Boom())
        await settle()
    assert not script.alive


def test_cancellation_at_every_await(run: Any) -> None:
    async def main() -> None:
        ended, count = False, 0
        while not ended:
            script = Script()
            ended = await cancelled_after(count, lambda: a_busy_life(script))  # noqa: B023
            assert not script.alive, f"cancelled after {count} turns"
            starts = sum(entry.startswith("+") for entry in script.log)
            stops = sum(entry.startswith("-") for entry in script.log)
            assert starts == stops
            count += 1
        assert count > 30, "the harness did not get in between"

    run(main)


def test_cancelled_from_outside_it_still_stops_right_to_left(run: Any) -> None:
    async def main() -> None:
        script = Script()
        with anyio.move_on_after(0.02) as scope:
            async with script.supervisor(script.children("abc")):
                await anyio.sleep_forever()
        assert scope.cancelled_caught
        assert script.take() == "+a +b +c -c -b -a"

    run(main)


def test_what_the_block_raises_comes_out_as_it_is(run: Any) -> None:
    async def main() -> None:
        script = Script()
        with pytest.raises(KeyError):
            async with script.supervisor(script.children("ab")):
                raise KeyError
        assert script.take() == "+a +b -b -a"

    run(main)


def test_an_interrupt_of_a_child_ends_everything(run: Any) -> None:
    """What is not an Exception is not restarted."""

    class Interrupt(BaseException):
        pass

    async def main() -> None:
        script = Script()
        with pytest.raises(BaseExceptionGroup) as raised:
            async with script.supervisor(script.children("abc"), strategy="one_for_all"):
                script.end("b", Interrupt())
                await anyio.sleep_forever()
        assert raised.value.subgroup(Interrupt) is not None
        assert not script.alive

    run(main)


def test_cancelled_by_the_event_loop_itself(backend: str, run: Any) -> None:
    """`Task.cancel` of asyncio knows nothing of scopes."""
    if backend == "trio":
        return  # it has no such thing
    import asyncio

    async def main() -> None:
        for turns in range(12):
            script = Script()

            async def work(script: Script = script) -> None:
                async with script.supervisor(script.children("abc")):
                    await anyio.sleep_forever()

            task = asyncio.ensure_future(work())
            for _ in range(turns):
                await checkpoint()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not script.alive
            stops = [entry for entry in script.log if entry.startswith("-")]
            assert stops == sorted(stops, reverse=True)

    run(main)


def test_a_request_under_way_when_it_ends(run: Any) -> None:
    async def main() -> None:
        outcomes: list[type[BaseException]] = []

        async def hang(*, task_status: Any) -> None:
            del task_status
            await anyio.sleep_forever()

        async def ask() -> None:
            try:
                await supervisor.terminate_child("a")
            except NifClosed as closed:
                outcomes.append(type(closed))

        script = Script()
        supervisor = script.supervisor(script.children("a"))
        async with anyio.create_task_group() as group, supervisor:
            group.start_soon(supervisor.start_child, ChildSpec(id="h", start=hang))
            await settle()
            group.start_soon(ask)
            await settle()
        assert outcomes == [NifClosed]

    run(main)


def test_a_request_whose_caller_is_gone_is_carried_out(run: Any) -> None:
    async def main() -> None:
        script = Script()
        async with script.supervisor([]) as supervisor:
            with anyio.CancelScope() as scope:
                scope.cancel()
                await supervisor.start_child(script.slow_child("a"))
            await settle()
            assert states(supervisor) == {"a": "running"}
        assert not script.alive

    run(main)
