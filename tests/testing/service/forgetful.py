"""A test that leaves an executor open."""

from __future__ import annotations

from typing import TYPE_CHECKING

import aionif

if TYPE_CHECKING:
    from aionif.testing import ExecutorFactory

libc = aionif.load(None, "long labs(long);")


async def test_forgets_to_close(nif_executor: ExecutorFactory) -> None:
    executor = await nif_executor().__aenter__()
    assert await executor.execute_nif(libc.labs, -5) == 5
