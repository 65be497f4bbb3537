"""The library of binding.c, and calls in each tier that say nothing of event loops."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from aionif import NifExecutor, call_nif, load
from tests.support import build_library, run_on
from tests.support.binding import CDEF, SOURCE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from aionif import NifLibrary


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    code = SOURCE.read_text(encoding="utf-8")
    return build_library(tmp_path_factory.mktemp("binding"), code, name="binding")


@pytest.fixture(scope="module")
def library(path: Path) -> NifLibrary:
    return load(path, CDEF)


@pytest.fixture(params=["thread", "inline"])
def call_here(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """As `call`, in the tiers where native code can call back into this process."""
    yield from make_call(request.param)


@pytest.fixture(params=["thread", "inline", "process"])
def call(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Call a function in one tier, without a word about event loops."""
    yield from make_call(request.param)


def make_call(tier: Any) -> Iterator[Callable[..., Any]]:
    if tier == "inline":
        yield call_nif
        return

    def call_in_worker(function: Any, *arguments: Any) -> Any:
        async def main() -> Any:
            async with NifExecutor(isolation=tier, max_workers=1) as executor:
                return await executor.execute_nif(function, *arguments)

        return run_on("asyncio", main)

    yield call_in_worker
