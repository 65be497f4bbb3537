"""What a worker process under foreign control could do, as native functions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aionif import load
from tests.support import build_library

if TYPE_CHECKING:
    from aionif import NifLibrary

TESTS = Path(__file__).parents[1]

CDEF = """
    int scribble(unsigned, int);
    int claim_all(unsigned, int);
    void claim_to_wait(void);
    int fail_as(int, int, int, int);
    int flood(int);
    int spam(int);
    int shrink(void);
    int leave_early(int);
    void leave_as(unsigned);
    int open_catalog(void);
    int count_foreign(void);
"""


@pytest.fixture(scope="session")
def hostile_path(tmp_path_factory: pytest.TempPathFactory) -> str:
    source = (TESTS / "support/hostile.c").read_text(encoding="utf-8")
    flags = ("-iquote", str(TESTS.parent / "csrc"))
    return str(build_library(tmp_path_factory.mktemp("hostile"), source, *flags, name="hostile"))


@pytest.fixture(scope="session")
def hostile(hostile_path: str) -> NifLibrary:
    return load(hostile_path, CDEF)
