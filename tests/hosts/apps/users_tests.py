"""A user's tests, which pytest-xdist spreads over processes of its own."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import work

import aionif

if TYPE_CHECKING:
    from aionif.policy import Isolation

ENDS = {"fine": "4", "crash": "NifSignal", "slow": "NifTimeout"}


@pytest.mark.parametrize("turn", range(4))
@pytest.mark.parametrize("isolation", ["thread", "process"])
@pytest.mark.parametrize("what", ENDS)
def test_calls(what: str, isolation: Isolation, turn: int) -> None:
    async def main() -> Any:
        async with aionif.NifExecutor(isolation=isolation, max_workers=1) as executor:
            return await work.answer(executor, what)

    assert asyncio.run(main())["ended"] == ENDS[what]
    Path(os.environ["SEEN"], f"{os.getpid()} {what} {isolation} {turn}").touch()
