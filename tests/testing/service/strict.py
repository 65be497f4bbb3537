"""A user's tests under pytest-asyncio in strict mode: what is asynchronous is marked."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

import aionif
from aionif.testing import provoke

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from aionif import NifExecutor
    from aionif.testing import ExecutorFactory, NifEvent

pytestmark = pytest.mark.asyncio

libc = aionif.load(None, "long labs(long); unsigned sleep(unsigned);")


@pytest_asyncio.fixture
async def executor(nif_executor: ExecutorFactory) -> AsyncIterator[NifExecutor]:
    async with nif_executor(max_workers=2) as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def shared() -> AsyncIterator[NifExecutor]:
    async with aionif.NifExecutor(max_workers=1) as opened:
        yield opened


async def test_a_result(executor: NifExecutor) -> None:
    assert await asyncio.gather(*[executor.execute_nif(libc.labs, -n) for n in range(50)]) == [
        *range(50)
    ]


async def test_on_the_executor_of_the_loop() -> None:
    assert await libc.labs(-3) == 3


async def test_a_crash_is_logged(executor: NifExecutor, nif_log: list[NifEvent]) -> None:
    for _ in range(2):
        with pytest.raises(aionif.NifSignal):
            await provoke("segv_read", executor=executor)
    assert [event.event for event in nif_log].count("nif_signal") == 2


async def test_a_timeout(executor: NifExecutor) -> None:
    with pytest.raises(aionif.NifTimeout):
        await executor.execute_nif(libc.sleep, 1000, timeout=0.05)


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("turn", [1, 2])
async def test_an_executor_may_outlive_a_test(shared: NifExecutor, turn: int) -> None:
    assert await shared.execute_nif(libc.labs, -turn) == turn


async def test_handling_of_errors_that_the_test_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    errors = [
        aionif.NifSignal(signal=signal.SIGSEGV),
        aionif.NifTimeout(timeout=1.0),
        aionif.NifPanic(language="Rust", reason="index out of bounds"),
        aionif.NifWorkerLost(),
        aionif.NifRejected(),
    ]

    async def fail(*_: Any) -> None:
        raise errors.pop()

    monkeypatch.setattr(aionif, "execute_nif", fail)
    while errors:
        with pytest.raises(aionif.NifError) as caught:
            await aionif.execute_nif(libc.labs, 1)
        assert str(caught.value)
