"""The cffi builder of ``aionif._core``; CMake runs it through ``python -m cffi.gen_src``.

What Python sees stands once, in ``counts.h``, ``seals.h`` and ``core.h`` between two marks, and is
both compiled and declared to cffi from there.
"""

from __future__ import annotations

from pathlib import Path

from cffi import FFI

BEGIN, END = "/* cdef: begin */", "/* cdef: end */"


def declarations(name: str) -> str:
    """Return what stands between the marks of a header."""
    text = Path(__file__).with_name(name).read_text(encoding="utf-8")
    return text[text.index(BEGIN) + len(BEGIN) : text.index(END)]


ffibuilder = FFI()
for header in ("counts.h", "seals.h", "core.h"):
    ffibuilder.cdef(declarations(header))
ffibuilder.set_source("aionif._core", '#include "core.h"')
