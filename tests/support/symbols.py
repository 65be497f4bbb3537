"""A library to look addresses up in: compiled on the spot, with symbols that `nm` tells."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING

from aionif.crash.symbols import build_id, symbolise
from aionif.errors import Frame

if TYPE_CHECKING:
    from pathlib import Path

BUILD_ID = "0123456789abcdef0123456789abcdef01234567"

# A label inside the innermost inlined call, so that `nm` tells its address. It has no type, so a
# symboliser does not take it for a function.
MARK = '__asm__ volatile(".globl at_mark\\nat_mark:");'

C_SOURCE = f"""\
#include <stdlib.h>
static inline __attribute__((always_inline)) int inner(volatile int *p)
{{
    {MARK} int x = *p; /* inner */
    return x;
}}
static inline __attribute__((always_inline)) int middle(volatile int *p)
{{
    return inner(p) + 1; /* middle */
}}
int outer(volatile int *p)
{{
    return middle(p) * 2; /* outer */
}}
__attribute__((noinline)) static void hidden(volatile int *p)
{{
    *p = 1; /* hidden */
}}
__attribute__((noinline)) void last(int *p)
{{
    hidden(p);
    abort(); /* last */
}}
void after(void) {{ __asm__ volatile(""); }}
int main(void) {{ return 0; }}
"""

FLAGS = ("-g", "-O1", "-fPIC", "-shared", f"-Wl,--build-id=0x{BUILD_ID}")


def run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def line_of(source: str, marker: str) -> int:
    (line,) = (n for n, text in enumerate(source.split("\n"), 1) if marker in text)
    return line


def symbols_of(library: Path) -> dict[str, tuple[int, int]]:
    """Return address and size of each symbol by its linked name."""
    rows = [row.split() for row in run("nm", "-S", "--defined-only", library).splitlines()]
    return {row[-1]: (int(row[0], 16), int(row[1], 16) if len(row) > 3 else 0) for row in rows}


def build(directory: Path, name: str, source: str, *flags: str) -> Path:
    """Compile the source, keeping it beside the library."""
    code = directory / name
    code.write_text(source)
    library = code.with_suffix(".so")
    compiler = {".c": "cc", ".cc": "c++"}[code.suffix]
    run(compiler, *(flags or FLAGS), code, "-o", library)
    return library


def frame_at(library: Path, offset: int, *, is_return_address: bool = False) -> Frame:
    return Frame(
        address=0x7F00_0000_0000 + offset,
        module=str(library),
        build_id=build_id(str(library)),
        offset=offset,
        is_return_address=is_return_address,
    )


def symbolise_one(frame: Frame) -> Frame:
    (result,) = symbolise([frame])
    return result
