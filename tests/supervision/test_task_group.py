"""A task group in which a NifError ends its own task and no other."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import anyio
import pytest
from anyio.lowlevel import checkpoint

from aionif import (
    NifArgumentError,
    NifCancelled,
    NifError,
    NifHandle,
    NifSignal,
    NifTaskGroup,
    NifTimeout,
    load,
    log,
)
from aionif.supervision import task_group
from aionif.testing.gallery import library_path
from tests.support import gather, until
from tests.support.supervising import Boom, cancelled_after, settle

gallery = load(library_path("c"), "int gallery_segv_read(void);")
crash = gallery.gallery_segv_read


async def fail(error: BaseException) -> None:
    await checkpoint()
    raise error


def test_a_crash_ends_its_own_task(run: Any, probe: Any) -> None:
    async def main() -> None:
        others: list[int] = []

        async def other() -> None:
            await anyio.sleep(0.01)
            others.append(await probe.add(1, 2))

        with pytest.raises(ExceptionGroup) as raised:
            async with NifTaskGroup() as group:
                group.start_soon(crash)
                group.start_soon(other)
                await settle()
        assert others == [3]
        assert [type(error) for error in raised.value.exceptions] == [NifSignal]
        assert raised.value.message == "1 failed and nobody looked"

    run(main)


def test_any_other_exception_cancels_the_group(run: Any) -> None:
    async def main() -> None:
        crashed, boom = NifError(), Boom()
        with pytest.raises(ExceptionGroup) as raised:
            async with NifTaskGroup() as group:
                group.start_soon(fail, crashed)
                await settle()
                group.start_soon(fail, boom)
                await anyio.sleep_forever()
        assert raised.value.exceptions == (boom, crashed)

    run(main)


def test_a_handle(run: Any, probe: Any) -> None:
    async def main() -> None:
        async with NifTaskGroup() as group:
            good = group.start_nif(probe.add, 1, 2)
            assert good.outcome == "running"
            bad = group.start_nif(crash)
            assert await good == 3
            assert await good == 3
            with pytest.raises(NifSignal):
                await bad
            assert (good.outcome, bad.outcome) == ("returned", "failed")
            assert good.error is None
            assert isinstance(bad.error, NifSignal)
        assert await good == 3

    run(main)


@pytest.mark.parametrize("look", ["await", "outcome", "error"])
def test_what_was_looked_at_is_not_raised_again(run: Any, look: str) -> None:
    async def main() -> None:
        async with NifTaskGroup() as group:
            seen = group.start_nif(crash)
            if look == "await":
                with pytest.raises(NifSignal):
                    await seen
            else:
                await until(lambda: seen._outcome == "failed")
                assert getattr(seen, look)
        with pytest.raises(ExceptionGroup) as raised:
            async with NifTaskGroup() as group:
                seen, unseen = group.start_nif(crash), group.start_nif(crash)
                with pytest.raises(NifSignal):
                    await seen
        assert raised.value.exceptions == (unseen.error,)

    run(main)


def test_each_who_awaits_gets_an_error_of_its_own(run: Any) -> None:
    async def main() -> None:
        async with NifTaskGroup() as group:
            handle = group.start_nif(crash)

            async def wait() -> Any:
                return await handle

            errors = await gather(wait, wait, wait)
        assert len({id(error) for error in errors}) == 3
        assert len({str(error) for error in errors}) == 1
        assert all(isinstance(error, NifSignal) for error in errors)

    run(main)


def test_cancel(run: Any, gate: Any, probe: Any) -> None:
    async def main() -> None:
        async with NifTaskGroup() as group:
            handle = group.start_nif(probe.wait_at_gate, 1)
            await until(lambda: bool(gate.count_at_gate()))
            handle.cancel()
            with pytest.raises(NifCancelled, match="was cancelled"):
                await handle
            assert handle.outcome == "cancelled"
            early = group.start_nif(probe.add, 1, 2)
            early.cancel()
            with pytest.raises(NifCancelled):
                await early

    run(main)


def test_cancelling_a_waiter_leaves_the_call_alone(run: Any, gate: Any, probe: Any) -> None:
    async def main() -> None:
        async with NifTaskGroup() as group:
            handle = group.start_nif(probe.wait_at_gate, 7)
            with anyio.move_on_after(0.01):
                await handle
            assert handle.outcome == "running"
            gate.open_gate()
            assert await handle == 7

    run(main)


def test_options_of_a_call(run: Any, gate: Any, probe: Any) -> None:
    del gate

    async def main() -> None:
        async with NifTaskGroup() as group:
            handle = group.start_nif(probe.wait_at_gate, 1, timeout=0.01)
            with pytest.raises(NifTimeout):
                await handle
            wrong: Any = -1
            with pytest.raises(NifArgumentError):
                group.start_nif(probe.add, 1, 2, timeout=wrong)
            with pytest.raises(NifArgumentError):
                group.start_nif(probe.add, 1, 2, policy=wrong)
            handle = group.start_nif(probe.add, "x")
            with pytest.raises(NifArgumentError):
                await handle
        with pytest.raises(NifArgumentError, match="can't be called"):
            NifTaskGroup(on_failure=3)  # type: ignore[arg-type]

    run(main)


def test_on_failure(run: Any, probe: Any) -> None:
    async def main() -> None:
        failures: list[Any] = []
        async with NifTaskGroup(on_failure=failures.append) as group:
            group.start_soon(fail, NifError())
            handle = group.start_nif(crash)
            with pytest.raises(NifSignal):
                await handle  # which somebody waits for
            group.start_nif(crash)
            await until(lambda: len(failures) == 2)
            assert await group.start_nif(probe.add, 1, 2) == 3
        assert {type(error) for error in failures} == {NifError, NifSignal}

    run(main)


def test_a_handler_that_raises_is_detached(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    monkeypatch.setattr(log, "warn", lambda event, **_: events.append(event))

    def handler(_: Any) -> None:
        raise Boom

    async def main() -> None:
        first, second = NifError(), NifError()
        with pytest.raises(ExceptionGroup) as raised:
            async with NifTaskGroup(on_failure=handler) as group:
                group.start_soon(fail, first)
                await settle()
                group.start_soon(fail, second)
        assert raised.value.exceptions == (first, second)

    run(main)
    assert events == ["handler_detached"]


def test_a_waiter_that_is_cancelled_as_the_call_fails(run: Any) -> None:
    """Its failure is not lost: it counts as unseen again."""

    async def main() -> None:
        with pytest.raises(ExceptionGroup):
            async with NifTaskGroup() as group:
                handle = group.start_nif(crash)
                with anyio.CancelScope() as scope:
                    handle._waiting += 1  # as if one waited, when it fails
                    await until(lambda: handle._outcome == "failed")
                    handle._waiting -= 1
                    scope.cancel()
                    handle._done = anyio.Event()
                    await handle

    run(main)


def test_groups_of_failures(run: Any) -> None:
    async def main() -> None:
        inner = ExceptionGroup("inner", [NifError(), ExceptionGroup("", [NifError()])])
        with pytest.raises(ExceptionGroup) as raised:
            async with NifTaskGroup() as group:
                group.start_soon(fail, inner)
                await settle()
        assert raised.value.exceptions == (inner,)
        with pytest.raises(ExceptionGroup) as raised:
            async with NifTaskGroup() as group:
                group.start_soon(fail, ExceptionGroup("mixed", [NifError(), Boom()]))
                await anyio.sleep_forever()

    run(main)


def test_the_block_is_a_task_like_the_others(run: Any) -> None:
    async def main() -> None:
        ended = []

        async def other() -> None:
            await anyio.sleep(0.01)
            ended.append("other")

        for error in (NifError(), ExceptionGroup("", [NifError()])):
            with pytest.raises(ExceptionGroup) as raised:
                async with NifTaskGroup() as group:
                    group.start_soon(other)
                    raise error
            assert raised.value.exceptions == (error,)
        assert ended == ["other", "other"]

    run(main)


def test_start(run: Any) -> None:
    async def served(early: Any, late: Any, *, task_status: Any) -> None:
        if early:
            raise early
        task_status.started("port")
        await checkpoint()
        raise late

    async def main() -> None:
        late = NifError()
        with pytest.raises(ExceptionGroup) as raised:
            async with NifTaskGroup() as group:
                with pytest.raises(NifError):
                    await group.start(served, NifError(), None)
                assert await group.start(served, None, late) == "port"
                await settle()
        assert raised.value.exceptions == (late,)

    run(main)


def test_a_bounded_number_is_kept(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(task_group, "_MOST_KEPT", 3)
    events: list[str] = []
    monkeypatch.setattr(log, "warn", lambda event, **_: events.append(event))

    async def main() -> None:
        with pytest.raises(ExceptionGroup) as raised:
            async with NifTaskGroup() as group:
                for _ in range(5):
                    group.start_soon(fail, NifError())
        assert len(raised.value.exceptions) == 3
        assert raised.value.message == "3 failed and nobody looked, and 2 that were logged"

    run(main)
    assert events == ["task_group_failure"] * 2


def test_failures_of_a_cancelled_group_are_logged(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cancellation from outside has to come out as such."""
    events: list[str] = []
    monkeypatch.setattr(log, "warn", lambda event, **_: events.append(event))

    async def main() -> None:
        with anyio.CancelScope() as scope:
            async with NifTaskGroup() as group:
                group.start_soon(fail, NifError())
                await settle()
                scope.cancel()
                await anyio.sleep_forever()
        assert scope.cancelled_caught

    run(main)
    assert events == ["task_group_failure"]


def test_its_own_scope(run: Any) -> None:
    async def main() -> None:
        async with NifTaskGroup() as group:
            group.start_soon(anyio.sleep_forever)
            group.cancel_scope.cancel()

    run(main)


def test_cancellation_at_every_await(run: Any, probe: Any) -> None:
    async def main() -> None:
        living = 0

        async def other() -> None:
            nonlocal living
            living += 1
            try:
                for _ in range(10):
                    await checkpoint()
            finally:
                living -= 1

        async def everything() -> None:
            async with NifTaskGroup(on_failure=lambda _: None) as group:
                handles = [group.start_nif(probe.add, 1, 2), group.start_nif(crash)]
                group.start_soon(other)
                group.start_soon(fail, NifError())
                assert await handles[0] == 3
                handles[1].cancel()
                await settle()
            assert {handle.outcome for handle in handles} <= {"returned", "failed", "cancelled"}

        ended, count = False, 0
        while not ended:
            ended = await cancelled_after(count, everything)
            assert living == 0
            count += 1
        assert count > 15

    run(main)


def failed(handles: list[NifHandle]) -> bool:
    return all(handle._outcome == "failed" for handle in handles)


def test_a_handle_that_is_dropped_leaves_nothing(run: Any) -> None:
    """A group that lives long keeps no results, and no tasks."""

    async def main() -> None:
        async with NifTaskGroup(on_failure=lambda _: None) as group:
            gc.disable()
            try:
                handles = [group.start_nif(crash) for _ in range(10)]
                await until(lambda: failed(handles))
                refs = [weakref.ref(handle) for handle in handles]
                handles.clear()
                await settle()
                assert [ref() for ref in refs] == [None] * 10
            finally:
                gc.enable()

    run(main)
