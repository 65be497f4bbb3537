"""Calls that are given no timeout have the nearest one that was set for such calls."""

from __future__ import annotations

import ctypes
import math
import time
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from aionif import NifArgumentError, NifExecutor, NifPolicy, NifTimeout, call_nif, load
from aionif.futures import NifProcessPoolExecutor
from tests.support import DEADLINE, until

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

SHORT = 0.2
LONG = 1000.0
CDEF = "int usleep(unsigned); int abs(int);"

libc = ctypes.CDLL(None)
TIERS = pytest.mark.parametrize("isolation", ["thread", "process", "inline"])


async def late(call: Callable[[], Awaitable[Any]]) -> NifTimeout:
    with anyio.fail_after(DEADLINE), pytest.raises(NifTimeout) as caught:
        await call()
    return caught.value


def of_default(error: NifTimeout, setting: str) -> bool:
    assert (error.is_default, error.timeout) == (True, SHORT)
    assert type(error.timeout) is float
    return error.setting == setting and setting in str(error)


@TIERS
def test_an_executors_timeout_is_for_calls_that_are_given_none(run: Any, isolation: Any) -> None:
    async def main() -> None:
        async with NifExecutor(isolation=isolation, timeout=SHORT) as executor:
            error = await late(lambda: executor.execute_nif(libc.usleep, 60_000_000))
            assert of_default(error, "NifExecutor(timeout=...)")
            assert await executor.execute_nif(libc.abs, -3) == 3

    run(main)


def test_a_python_callable_has_it_too(run: Any) -> None:
    async def main() -> None:
        async with NifExecutor(isolation="process", timeout=SHORT) as executor:
            error = await late(lambda: executor.execute_nif(time.sleep, LONG))
            assert of_default(error, "NifExecutor(timeout=...)")

    run(main)


def test_so_have_sessions_and_calls_that_wait_in_the_queue(run: Any) -> None:
    async def main() -> None:
        async with NifExecutor(max_workers=1, timeout=SHORT) as executor:
            async with executor.session() as session:
                error = await late(lambda: session.execute_nif(libc.usleep, 60_000_000))
                assert of_default(error, "NifExecutor(timeout=...)")
            async with anyio.create_task_group() as group:
                hold = libc.usleep, 600_000
                group.start_soon(lambda: executor.execute_nif(*hold, timeout=None))
                await until(lambda: executor.statistics().running == 1)
                error = await late(lambda: executor.execute_nif(libc.abs, -3))
                assert of_default(error, "NifExecutor(timeout=...)")
                assert error.phase == "queue"

    run(main)


@TIERS
def test_the_nearest_one_wins(run: Any, isolation: Any) -> None:
    """The call's, then its policy's, the library's, that of its policy, then the executor's."""
    nap = 60_000_000
    by_load = load("libc.so.6", CDEF, timeout=SHORT, policy=NifPolicy(timeout=LONG))
    by_policy = load("libc.so.6", CDEF, policy=NifPolicy(timeout=SHORT))
    long = load("libc.so.6", CDEF, timeout=LONG)

    async def main() -> None:
        async with NifExecutor(isolation=isolation, timeout=LONG) as executor:
            call = executor.execute_nif
            error = await late(lambda: call(by_load.usleep, nap))
            assert of_default(error, "load(..., timeout=...)")
            error = await late(lambda: call(by_policy.usleep, nap))
            assert of_default(error, "the library's policy")
            error = await late(lambda: call(long.usleep, nap, policy=NifPolicy(timeout=SHORT)))
            assert of_default(error, "the call's policy")
            error = await late(lambda: call(long.usleep, nap, timeout=SHORT))
            assert not error.is_default
            assert error.setting is None
        async with NifExecutor(isolation=isolation, policy=NifPolicy(timeout=SHORT)) as executor:
            error = await late(lambda: executor.execute_nif(libc.usleep, nap))
            assert of_default(error, "the executor's policy")

    run(main)


def test_none_and_infinity_at_the_call_are_no_limit(run: Any) -> None:
    library = load("libc.so.6", CDEF, timeout=SHORT)

    async def main() -> None:
        async with NifExecutor() as executor:
            for timeout in (None, math.inf):
                assert await executor.execute_nif(library.usleep, 500_000, timeout=timeout) == 0
        assert await library.usleep(500_000, timeout=None) == 0
        assert of_default(await late(lambda: library.usleep(60_000_000)), "load(..., timeout=...)")

    run(main)


def test_none_at_the_call_leaves_the_run_timeout(run: Any) -> None:
    async def main() -> None:
        policy = NifPolicy(run_timeout=SHORT, timeout=LONG)
        async with NifExecutor(policy=policy) as executor:
            error = await late(lambda: executor.execute_nif(libc.usleep, 60_000_000, timeout=None))
            assert (error.is_default, error.setting) == (True, None)

    run(main)


def test_call_nif_has_that_of_the_library() -> None:
    library = load("libc.so.6", CDEF, timeout=SHORT)
    with pytest.raises(NifTimeout) as caught:
        call_nif(library.usleep, 60_000_000)
    assert of_default(caught.value, "load(..., timeout=...)")
    assert call_nif(library.usleep, 500_000, timeout=None) == 0


def test_futures_have_that_of_the_policy() -> None:
    with NifProcessPoolExecutor(1, policy=NifPolicy(timeout=SHORT)) as executor:
        error = executor.submit(libc.usleep, 60_000_000).exception(DEADLINE)
    assert isinstance(error, NifTimeout)
    assert of_default(error, "the executor's policy")


@pytest.mark.parametrize("value", [0, -1, math.nan, "60", True])
@pytest.mark.parametrize(
    "give",
    [
        lambda value: NifPolicy(timeout=value),
        lambda value: NifExecutor(timeout=value),
        lambda value: load("libc.so.6", CDEF, timeout=value),
    ],
    ids=["policy", "executor", "library"],
)
def test_other_values_are_refused(give: Callable[[Any], object], value: Any) -> None:
    with pytest.raises(NifArgumentError, match="argument 'timeout'") as caught:
        give(value)
    assert repr(value) in str(caught.value)
    assert "Use a number" in str(caught.value)


def test_an_executor_is_not_given_two() -> None:
    with pytest.raises(NifArgumentError, match=r"timeout.*policy"):
        NifExecutor(timeout=3, policy=NifPolicy(timeout=5))
