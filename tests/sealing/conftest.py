"""A native library that computes, for sealed workers and those that can't be."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aionif import load

if TYPE_CHECKING:
    from aionif import NifLibrary


@pytest.fixture(scope="module")
def zlib() -> NifLibrary:
    declaration = "unsigned long crc32(unsigned long, const unsigned char *, unsigned int);"
    return load("libz.so.1", declaration)
