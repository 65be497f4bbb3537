"""Limits of worker processes: what exceeds one is told which."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from aionif import (
    NifExecutor,
    NifLimitExceeded,
    NifLimits,
    NifPolicy,
    load,
)
from tests import remote
from tests.support import (
    build_library,
)
from tests.workers import with_executor

if TYPE_CHECKING:
    from pathlib import Path

    from aionif import NifLibrary

SOURCE = """
    #include <stdio.h>
    #include <stdlib.h>
    #include <unistd.h>
    void spin(void) { for (;;) __asm__ volatile(""); }
    void *grab(long bytes) { char *p = malloc(bytes); p[0] = 1; return p; }
    int write_file(const char *path, long bytes) {
        FILE *file = fopen(path, "w");
        for (long i = 0; i < bytes; i++) fputc('x', file);
        return fclose(file);
    }
    int process_id(void) { return getpid(); }
"""
CDEF = """
    void spin(void);
    void *grab(long);
    int write_file(const char *, long);
    int process_id(void);
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> NifLibrary:
    return load(build_library(tmp_path_factory.mktemp("process"), SOURCE, name="limits"), CDEF)


@pytest.mark.parametrize(
    ("limit", "value", "name", "amount"),
    [
        ("address_space", 64 << 20, "grab", 200 << 20),
        ("cpu_time", 0.1, "spin", None),
        ("file_size", 1000, "write_file", 100_000),
    ],
)
def test_limits_of_native_code(  # noqa: PLR0913, PLR0917 - a row of the table
    library: NifLibrary, tmp_path: Path, limit: str, value: float, name: str, amount: int | None
) -> None:
    arguments: list[Any] = [] if amount is None else [amount]
    if name == "write_file":
        arguments.insert(0, bytes(tmp_path / "file"))
    policy = NifPolicy(limits=NifLimits(**{limit: value}))  # type: ignore[arg-type]

    async def main(executor: NifExecutor) -> None:
        for _ in range(2):
            with pytest.raises(NifLimitExceeded) as error:
                await executor.execute_nif(getattr(library, name), *arguments)
            assert error.value.limit == limit
        assert await executor.execute_nif(library.process_id)

    with_executor(main, max_workers=1, policy=policy)


@pytest.mark.parametrize(
    ("limit", "value", "function", "arguments"),
    [
        ("address_space", 64 << 20, remote.take_memory, (200 << 20,)),
        ("resident_memory", 64 << 20, remote.take_memory, (2000 << 20,)),
        ("open_files", 64, remote.open_files, ()),
    ],
)
def test_limits_of_python_code(
    limit: str, value: int, function: Any, arguments: tuple[Any, ...]
) -> None:
    policy = NifPolicy(limits=NifLimits(**{limit: value}))

    async def main(executor: NifExecutor) -> None:
        with pytest.raises(NifLimitExceeded) as error:
            await executor.execute_nif(function, *arguments)
        assert error.value.limit == limit

    with_executor(main, max_workers=1, policy=policy)
