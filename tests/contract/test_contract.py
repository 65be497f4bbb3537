"""What holds in every tier and on every event loop."""

from __future__ import annotations

import asyncio
import ctypes
import os
import time
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import anyio.to_thread
import pytest
import sniffio
import trio
import trio.testing

from aionif import NifArgumentError, NifClosed, NifExecutor, NifSignal
from aionif.filters.syscalls import number_of
from tests.support import gather, load_gallery, run_on

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aionif import NifLibrary
    from aionif.policy import Isolation

TIERS: tuple[Isolation, ...] = ("inline", "thread", "process")

AT_ONCE = 500
SLOW = 5  # milliseconds: too long for a submitter to watch, so the task is suspended


@pytest.fixture(params=TIERS)
def tier(request: pytest.FixtureRequest) -> Isolation:
    name: Isolation = request.param
    return name


def test_the_backend_is_the_one_named(backend: str, run: Callable[..., Any]) -> None:
    async def main() -> tuple[str, str]:
        library = sniffio.current_async_library()
        loop = "" if library == "trio" else type(asyncio.get_running_loop()).__module__
        return library, loop.partition(".")[0]

    library, loop = {
        "asyncio": ("asyncio", "asyncio"),
        "uvloop": ("asyncio", "uvloop"),
        "trio": ("trio", ""),
    }[backend]
    assert run(main) == (library, loop)


# ---- one call ----


def test_results(tier: Isolation, run: Callable[..., Any], probe: NifLibrary) -> None:
    async def main() -> None:
        async with NifExecutor(isolation=tier) as executor:
            for _ in range(2):
                assert await executor.execute_nif(probe.add, 2, -5) == -3
                assert await executor.execute_nif(probe.half, 3.0) == 1.5
                assert await executor.execute_nif(probe.nothing) is None
                if tier != "process":  # whose pointers mean nothing here
                    assert probe.ffi.string(await executor.execute_nif(probe.text)) == b"text"
                assert await executor.execute_nif(probe.sum_twice, b"\1\2\3", 3, SLOW) == 6

    run(main)


def test_a_timeout_that_is_not_reached_changes_nothing(
    tier: Isolation, run: Callable[..., Any], probe: NifLibrary
) -> None:
    async def main() -> None:
        async with NifExecutor(isolation=tier) as executor:
            for timeout in (None, 30, 30.0, float("inf")):
                assert await executor.execute_nif(probe.add, 1, 2, timeout=timeout) == 3

    run(main)


def test_a_variadic_function_may_look_past_its_arguments(
    tier: Isolation, run: Callable[..., Any]
) -> None:
    syscall = ctypes.CDLL(
        None
    ).syscall  # loads six arguments, given or not; the last from the stack

    async def main() -> None:
        async with NifExecutor(isolation=tier) as executor:
            assert await executor.execute_nif(syscall, number_of("getuid")) == os.getuid()

    run(main)


@pytest.mark.parametrize("ms", [0, SLOW])
def test_errno_of_cffi(
    tier: Isolation, run: Callable[..., Any], probe: NifLibrary, ms: int
) -> None:
    async def main() -> None:
        ffi = probe.ffi
        async with NifExecutor(isolation=tier) as executor:
            for code in (7, 8):
                assert await executor.execute_nif(probe.set_errno, code, ms) == -1
                assert ffi.errno == code
            ffi.errno = 77
            assert await executor.execute_nif(probe.get_errno, ms) == 77

    run(main)


@pytest.mark.parametrize("ms", [0, SLOW])
def test_errno_of_ctypes(
    tier: Isolation, run: Callable[..., Any], probe_path: Path, ms: int
) -> None:
    library = ctypes.CDLL(str(probe_path), use_errno=True)

    async def main() -> None:
        async with NifExecutor(isolation=tier) as executor:
            for code in (7, 8):
                assert await executor.execute_nif(library.set_errno, code, ms) == -1
                assert ctypes.get_errno() == code
            ctypes.set_errno(77)
            assert await executor.execute_nif(library.get_errno, ms) == 77

    run(main)


# ---- errors ----


def test_errors_are_typed_and_each_caller_gets_its_own(
    tier: Isolation, run: Callable[..., Any]
) -> None:
    crash = load_gallery().gallery_segv_write

    async def main() -> list[Any]:
        async with NifExecutor(isolation=tier) as executor:
            return await gather(*[lambda: executor.execute_nif(crash)] * 20)

    errors = run(main)
    assert {type(error) for error in errors} == {NifSignal}
    assert len({id(error) for error in errors}) == 20
    for error in errors:
        assert (error.function, error.tier) == ("gallery_segv_write", tier)
        assert (error.library or "").endswith("libaionif_gallery_c.so")
        assert error.__cause__ is error.__context__ is None


def test_a_refused_argument_leaves_the_next_call_alone(
    tier: Isolation, run: Callable[..., Any], probe: NifLibrary
) -> None:
    async def main() -> None:
        async with NifExecutor(isolation=tier) as executor:
            with pytest.raises(NifArgumentError):
                await executor.execute_nif(probe.add, "2", 3, timeout=0.001)
            assert probe.ffi.dlopen(None) is not None
            assert await executor.execute_nif(probe.add, 2, 3) == 5
            await executor.execute_nif(probe.sleep_ms, SLOW)  # the timeout above is forgotten

    run(main)


# ---- several at once ----


def test_many_at_once(tier: Isolation, run: Callable[..., Any], probe: NifLibrary) -> None:
    async def main() -> None:
        async with NifExecutor(isolation=tier) as executor:
            calls = [
                lambda number=number: executor.execute_nif(probe.add, number, 1)
                for number in range(AT_ONCE)
            ]
            for _ in range(3):
                assert await gather(*calls) == list(range(1, AT_ONCE + 1))

    run(main)


def test_asyncio_gather(tier: Isolation, probe: NifLibrary) -> None:
    async def main() -> None:
        async with NifExecutor(isolation=tier) as executor:
            calls = (executor.execute_nif(probe.add, number, 1) for number in range(AT_ONCE))
            assert await asyncio.gather(*calls) == list(range(1, AT_ONCE + 1))

    run_on("asyncio", main)


def test_several_executors_at_once(
    tier: Isolation, run: Callable[..., Any], probe: NifLibrary
) -> None:
    crash = load_gallery().gallery_segv_read

    async def main() -> None:
        async with NifExecutor(isolation=tier) as one, NifExecutor(isolation=tier) as other:
            results = await gather(
                *[lambda: one.execute_nif(probe.add, 1, 1)] * 50,
                *[lambda: other.execute_nif(crash)] * 50,
                *[lambda: other.execute_nif(probe.add, 2, 2)] * 50,
            )
            assert results[:50] == [2] * 50
            assert all(isinstance(error, NifSignal) for error in results[50:100])
            assert results[100:] == [4] * 50

    run(main)


def test_loops_in_several_threads_share_an_executor(
    tier: Isolation, backend: str, run: Callable[..., Any], probe: NifLibrary
) -> None:
    async def main() -> None:
        async with NifExecutor(isolation=tier) as executor:

            async def calls(start: int) -> list[int]:
                numbers = range(start, start + 100)
                found = [await executor.execute_nif(probe.add, number, 0) for number in numbers]
                await executor.execute_nif(probe.sleep_ms, SLOW)
                return found

            def thread(start: int) -> Any:
                return anyio.to_thread.run_sync(run_on, backend, calls, start)

            for _ in range(2):  # the second time, the first three loops are gone
                found = await gather(*[lambda n=n: thread(n * 1000) for n in range(3)])
                assert found == [list(range(n * 1000, n * 1000 + 100)) for n in range(3)]
            assert await calls(7) == list(range(7, 107))

    run(main)


# ---- manners ----


def test_a_closed_executor_takes_no_call(
    tier: Isolation, run: Callable[..., Any], probe: NifLibrary
) -> None:
    async def main() -> None:
        async with NifExecutor(isolation=tier) as executor:
            await executor.execute_nif(probe.add, 1, 2)
        for function in (probe.add, probe.half):  # one it has called before, one it has not
            with pytest.raises(NifClosed) as closed:
                await executor.execute_nif(function, 1, 2)
            assert closed.value.resource == "executor"
        await executor.aclose()  # closing twice is harmless

    run(main)


def test_other_tasks_run_while_one_awaits_short_calls(
    tier: Isolation, run: Callable[..., Any], probe: NifLibrary
) -> None:
    turns = 0

    async def tick() -> None:
        nonlocal turns
        while True:
            turns += 1
            await anyio.lowlevel.checkpoint()

    async def main() -> None:
        async with NifExecutor(isolation=tier) as executor, anyio.create_task_group() as group:
            group.start_soon(tick)
            end = time.monotonic() + 0.1
            while time.monotonic() < end:
                await executor.execute_nif(probe.nothing)
            group.cancel_scope.cancel()

    run(main)
    assert turns > 20


def test_a_pending_cancellation_is_met_before_the_call(
    tier: Isolation, backend: str, run: Callable[..., Any], probe: NifLibrary, direct: Any
) -> None:
    async def main() -> None:
        async with NifExecutor(isolation=tier) as executor:
            await executor.execute_nif(probe.nothing)
            with anyio.CancelScope() as scope:
                if backend == "trio":
                    scope.cancel()
                    await executor.execute_nif(probe.note, 1)
            if backend != "trio":
                task = asyncio.ensure_future(executor.execute_nif(probe.note, 1))
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
                assert await cancel_itself(executor)

    async def cancel_itself(executor: NifExecutor) -> bool:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        try:
            await executor.execute_nif(probe.note, 1)
        except asyncio.CancelledError:
            task.uncancel()
            return True
        return False

    direct.forget_notes()
    run(main)
    assert direct.count_noted() == 0


def test_every_call_is_a_checkpoint_on_trio(tier: Isolation, probe: NifLibrary) -> None:
    crash = load_gallery().gallery_segv_read

    async def main() -> None:
        async with NifExecutor(isolation=tier) as executor:
            for _ in range(3):
                with trio.testing.assert_checkpoints():
                    await executor.execute_nif(probe.nothing)
                with trio.testing.assert_checkpoints():
                    await executor.execute_nif(probe.sleep_ms, SLOW)
                with pytest.raises(NifSignal), trio.testing.assert_checkpoints():
                    await executor.execute_nif(crash)

    run_on("trio", main)
