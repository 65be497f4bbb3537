"""The executor that the tests of `aionif.futures` share."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aionif.futures import NifProcessPoolExecutor

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def executor() -> Iterator[NifProcessPoolExecutor]:
    with NifProcessPoolExecutor(2) as executor:
        yield executor
