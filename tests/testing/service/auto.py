"""A user's tests under pytest-asyncio in auto mode: nothing is marked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import aionif
from aionif.testing import provoke

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from aionif import NifExecutor
    from aionif.testing import ExecutorFactory, NifEvent

libc = aionif.load(None, "long labs(long);")


@pytest.fixture
async def executor(nif_executor: ExecutorFactory) -> AsyncIterator[NifExecutor]:
    async with nif_executor(max_workers=1) as opened:
        yield opened


async def test_a_result(executor: NifExecutor) -> None:
    assert await executor.execute_nif(libc.labs, -5) == 5


async def test_a_crash_is_logged(executor: NifExecutor, nif_log: list[NifEvent]) -> None:
    with pytest.raises(aionif.NifSignal):
        await provoke("abort", executor=executor)
    assert "nif_signal" in [event.event for event in nif_log]


def test_nothing_is_left(assert_no_leaks: Callable[..., None]) -> None:
    assert_no_leaks(lambda: aionif.call_nif(libc.labs, -6))


class TestInAClass:
    async def test_a_result(self, nif_executor: ExecutorFactory) -> None:
        async with nif_executor() as executor:
            assert await executor.execute_nif(libc.labs, -7) == 7
