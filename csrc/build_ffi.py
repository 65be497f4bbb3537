"""The cffi builder of ``aionif._core``; CMake runs it through ``python -m cffi.gen_src``.

What Python sees stands once, in ``core.h`` between two marks, and is both compiled and declared to
cffi from there.
"""

from __future__ import annotations

from pathlib import Path

from cffi import FFI

HEADER = Path(__file__).with_name("core.h").read_text(encoding="utf-8")
BEGIN, END = "/* cdef: begin */", "/* cdef: end */"

ffibuilder = FFI()
ffibuilder.cdef(HEADER[HEADER.index(BEGIN) + len(BEGIN) : HEADER.index(END)])
ffibuilder.set_source("aionif._core", '#include "core.h"')
