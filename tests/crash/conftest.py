"""What the tests of symbolisation share: an empty cache, a library, each external symboliser."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest

from aionif.crash import symbols
from tests.support.symbols import C_SOURCE, build

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def c_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("c"), "probe.c", C_SOURCE)


@pytest.fixture(autouse=True)
def empty_cache() -> Iterator[None]:
    symbols._cache.clear()
    yield
    symbols._cache.clear()


TOOLS = {name: (name, options) for name, options in symbols._TOOLS}


@pytest.fixture(params=TOOLS)
def tool(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each external symboliser in turn, as the only one."""
    name: str = request.param
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    monkeypatch.setattr(symbols, "_TOOLS", (TOOLS[name],))
    return name
