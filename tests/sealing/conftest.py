"""What the tests of sealed processes are given: a library that computes, and a control group."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aionif import load
from aionif.process.groups import VARIABLE, ControlGroup
from aionif.system.cgroup import group_of
from tests.support import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aionif import NifLibrary


@pytest.fixture(scope="module")
def zlib() -> NifLibrary:
    declaration = "unsigned long crc32(unsigned long, const unsigned char *, unsigned int);"
    return load("libz.so.1", declaration)


@pytest.fixture
def base() -> Iterator[Path]:
    """A group in which this process may make others."""
    try:
        named = os.environ.get(VARIABLE)
        group = Path(named) if named else group_of(Path("/proc/self"))[0]
        path = group / f"tests-{os.getpid()}"
        path.mkdir()
    except (OSError, ValueError) as problem:
        pytest.skip(f"no control group can be made here: {problem}")
    yield path
    wait_until(lambda: not path.exists() or remove(path))


def remove(path: Path) -> bool:
    with suppress(OSError):
        for inner in path.iterdir():
            if inner.is_dir():
                ControlGroup(inner).close()
        path.rmdir()
        return True
    return False
