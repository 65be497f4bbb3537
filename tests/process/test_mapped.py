"""A mapping whose file was cut short is refused: a look past its end would end the program."""

from __future__ import annotations

import asyncio
import mmap
from typing import TYPE_CHECKING, Any

import pytest

from aionif import NifArgumentError, NifExecutor, load
from tests.support import build_library
from tests.support.workers import with_executor

if TYPE_CHECKING:
    from pathlib import Path

CDEF = "void *memcpy(char *to, const char *from, size_t n); int abs(int);"
SIZES = (4 * mmap.PAGESIZE, 1 << 20)  # within a call's block, and of its own


def numpy_view(whole: mmap.mmap) -> Any:
    return pytest.importorskip("numpy").frombuffer(whole, "b")[:]


VIEWS = {
    "mmap": lambda whole: whole,
    "memoryview": lambda whole: memoryview(memoryview(whole)[:]),
    "numpy": numpy_view,
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("left", [0, mmap.PAGESIZE], ids=["nothing", "a page"])
def test_a_mapping_cut_short_is_refused(tmp_path: Path, view: str, size: int, left: int) -> None:
    libc = load("libc.so.6", CDEF)
    path = tmp_path / "data"
    path.write_bytes(bytes(size))

    async def main(executor: NifExecutor) -> None:
        with path.open("r+b") as file:
            whole = mmap.mmap(file.fileno(), size)
            given = VIEWS[view](whole)
            await executor.execute_nif(libc.memcpy, given, b"\x05", 1)
            assert whole[:2] == b"\x05\x00"
            file.truncate(left)
            for _ in range(2):
                with pytest.raises(NifArgumentError, match="cut short"):
                    await executor.execute_nif(libc.memcpy, bytearray(size), given, size)
            assert await executor.execute_nif(libc.abs, -1) == 1

    with_executor(main, max_workers=1)


def test_one_that_is_cut_while_its_call_runs_is_told(tmp_path: Path) -> None:
    source = "#include <unistd.h>\nint slow(char *at) { usleep(200000); at[0] = 5; return 0; }"
    library = load(build_library(tmp_path, source), "int slow(char *);")
    path = tmp_path / "data"
    path.write_bytes(bytes(mmap.PAGESIZE))

    async def main(executor: NifExecutor) -> None:
        with path.open("r+b") as file:
            whole = mmap.mmap(file.fileno(), mmap.PAGESIZE)
            for _ in range(2):
                file.truncate(mmap.PAGESIZE)
                call = asyncio.create_task(executor.execute_nif(library.slow, whole))
                await asyncio.sleep(0.05)
                file.truncate(0)
                with pytest.raises(NifArgumentError, match="cut short"):
                    await call

    with_executor(main, max_workers=1)
