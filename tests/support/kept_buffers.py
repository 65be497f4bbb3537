"""A library that keeps the buffers it was given, and sandboxes to have it in."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from aionif import (
    NifPolicy,
    Sandbox,
    load,
)
from tests.support import build_library

if TYPE_CHECKING:
    from aionif import NifLibrary

TESTS = Path(__file__).parents[1]
SIZE = 1 << 16
CDEF = """
    typedef const unsigned char *text;
    void fill(unsigned char *, long, int);
    long sum_of(text, long);
    void overwrite(const unsigned char *, int);
    void copy(unsigned char *, const unsigned char *, long);
    int keep(unsigned char *, long);
    int write_to_kept(int);
    int read_kept(void);
    void wait_for(unsigned char *, int);
    int unlock(const unsigned char *, long);
    void take_over(unsigned long, long);
"""
COMPUTE = Sandbox.compute(mode="best_effort")
SEALS = {
    "no sandbox": None,
    "compute": COMPUTE,
    "compute, with files": COMPUTE.allow_write("/var/tmp").allow_read("/proc"),
    "python": Sandbox.python(mode="best_effort"),
}


def load_keeping(directory: Path) -> NifLibrary:
    source = (TESTS / "support/keeping.c").read_text(encoding="utf-8")
    flags = ("-iquote", str(TESTS.parent / "csrc"))
    return load(build_library(directory, source, *flags, name="keeping"), CDEF)


def sealed(name: str) -> dict[str, Any]:
    return {"max_workers": 1, "policy": NifPolicy(sandbox=SEALS[name])}
