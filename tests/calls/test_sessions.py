"""Sessions: calls one at a time, always on the same worker, until one of them crashes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import anyio
import pytest

from aionif import NifArgumentError, NifClosed, NifExecutor, NifPolicy, NifSignal
from tests.support import gather, load_gallery, noted_in_turn

if TYPE_CHECKING:
    from collections.abc import Callable

    from aionif import NifLibrary
    from aionif.policy import Isolation


def test_every_call_is_on_the_same_thread(
    tier: Isolation, run: Callable[..., Any], probe: NifLibrary
) -> None:
    async def main() -> None:
        async with NifExecutor(isolation=tier, max_workers=4) as executor:
            async with executor.session() as session:

                async def others() -> None:
                    for _ in range(50):
                        await executor.execute_nif(probe.sleep_ms, 1)

                async def own() -> list[tuple[int, int]]:
                    return [
                        (
                            await session.execute_nif(probe.thread_id),
                            await session.execute_nif(probe.calls_on_this_thread),
                        )
                        for _ in range(50)
                    ]

                found = (await gather(own, others, others, others))[0]
            assert len({thread for thread, _ in found}) == 1
            first = found[0][1]
            assert [count for _, count in found] == list(range(first, first + 50))

    run(main)


def test_calls_made_at_once_run_one_at_a_time_in_order(
    tier: Isolation, run: Callable[..., Any], probe: NifLibrary, gate: Any
) -> None:
    async def main() -> list[int]:
        async with (
            NifExecutor(isolation=tier, max_workers=4) as executor,
            executor.session() as session,
        ):
            assert set(await gather(*[lambda: session.execute_nif(probe.enter, 1)] * 10)) == {0}
            return await noted_in_turn(20, session, executor, probe, gate)

    assert run(main) == list(range(20))


def test_two_sessions_have_two_threads(
    tier: Isolation, run: Callable[..., Any], probe: NifLibrary
) -> None:
    async def main() -> None:
        async with (
            NifExecutor(isolation=tier, max_workers=2) as executor,
            executor.session() as one,
            executor.session() as other,
        ):
            for _ in range(20):
                threads = await gather(
                    lambda: one.execute_nif(probe.thread_id),
                    lambda: other.execute_nif(probe.thread_id),
                )
                assert len(set(threads)) == 2

    run(main)


def test_a_session_for_which_no_worker_is_left_waits(
    tier: Isolation, run: Callable[..., Any], probe: NifLibrary
) -> None:
    done: list[str] = []

    async def main() -> None:
        async with NifExecutor(isolation=tier, max_workers=1) as executor:

            async def second() -> None:
                async with executor.session() as session:
                    await session.execute_nif(probe.nothing)
                    done.append("second")

            async with anyio.create_task_group() as group, executor.session() as session:
                await session.execute_nif(probe.nothing)
                group.start_soon(second)
                await anyio.sleep(0.02)
                await session.execute_nif(probe.nothing)
                done.append("first")

    run(main)
    assert done == ["first", "second"]


def test_a_session_leaves_other_calls_their_share(
    tier: Isolation, run: Callable[..., Any], probe: NifLibrary
) -> None:
    async def main() -> None:
        async with (
            NifExecutor(isolation=tier, max_workers=2) as executor,
            executor.session() as session,
        ):
            await session.execute_nif(probe.nothing)
            calls = [lambda n=n: executor.execute_nif(probe.add, n, 0) for n in range(100)]
            assert await gather(*calls) == list(range(100))

    run(main)


def test_a_crash_ends_the_session_and_nothing_else(
    tier: Isolation, run: Callable[..., Any], probe: NifLibrary
) -> None:
    crash = load_gallery().gallery_segv_read

    async def main() -> None:
        async with NifExecutor(isolation=tier, max_workers=2) as executor:
            async with executor.session() as session, executor.session() as other:
                assert not session.broken
                with pytest.raises(NifSignal):
                    await session.execute_nif(crash)
                assert session.broken
                with pytest.raises(NifClosed) as closed:
                    await session.execute_nif(probe.nothing)
                assert closed.value.resource == "session"
                assert not other.broken
                await other.execute_nif(probe.nothing)
            async with executor.session() as session:
                assert await session.execute_nif(probe.add, 1, 2) == 3

    run(main)


def test_calls_queued_behind_a_crash_are_not_started(
    tier: Isolation, run: Callable[..., Any], probe: NifLibrary, gate: Any
) -> None:
    gate.forget_notes()
    crash = load_gallery().gallery_segv_read

    async def main() -> list[Any]:
        async with NifExecutor(isolation=tier) as executor, executor.session() as session:
            return await gather(
                lambda: session.execute_nif(crash),
                *[lambda: session.execute_nif(probe.note, 1)] * 5,
            )

    results = run(main)
    crashes = [error for error in results if isinstance(error, NifSignal)]
    assert len(crashes) == 1
    refused = [error for error in results if isinstance(error, NifClosed)]
    assert len(refused) + gate.count_noted() == 5  # trio starts tasks in any order


def test_a_session_is_closed_with_its_block(
    tier: Isolation, run: Callable[..., Any], probe: NifLibrary
) -> None:
    async def main() -> None:
        async with NifExecutor(isolation=tier, max_workers=1) as executor:
            async with executor.session() as session:
                await session.execute_nif(probe.nothing)
            for function in (probe.nothing, probe.thread_id):  # known to it, and not known
                with pytest.raises(NifClosed) as closed:
                    await session.execute_nif(function)
                assert closed.value.resource == "session"
            assert await executor.execute_nif(probe.add, 1, 2) == 3, "its worker is free again"

    run(main)


def test_a_session_whose_executor_is_closed_takes_no_call(
    tier: Isolation, run: Callable[..., Any], probe: NifLibrary
) -> None:
    async def main() -> None:
        executor = NifExecutor(isolation=tier)
        async with executor.session() as session:
            await session.execute_nif(probe.nothing)
            await executor.aclose()
            for function in (probe.nothing, probe.thread_id):
                with pytest.raises(NifClosed):
                    await session.execute_nif(function)

    run(main)


def test_what_can_not_be_a_session(run: Callable[..., Any], probe: NifLibrary) -> None:
    async def main() -> None:
        async with NifExecutor(isolation="inline") as executor:
            with pytest.raises(NifArgumentError, match="no workers"):
                async with executor.session():
                    pass
        async with NifExecutor() as executor, executor.session() as session:
            with pytest.raises(NifArgumentError, match="thread_safe"):
                await session.execute_nif(probe.nothing, policy=NifPolicy(thread_safe=False))

    run(main)
