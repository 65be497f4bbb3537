"""Limits of worker processes: what exceeds one is told which."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from aionif import (
    NifExecutor,
    NifLimitExceeded,
    NifLimits,
    NifPolicy,
    NifWorkerLost,
    Sandbox,
    load,
)
from tests import remote
from tests.support import DEADLINE, POLL, build_library, run_child, until
from tests.support.workers import with_executor

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aionif import NifLibrary

LITTLE = 256 << 20

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
        ("resident_memory", 64 << 20, remote.share_memory, (2000 << 20,)),
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


@pytest.mark.parametrize("size", [1000, 1 << 20], ids=["in its block", "in memory of its own"])
def test_a_result_that_is_too_large_is_not_read(size: int) -> None:
    policy = NifPolicy(limits=NifLimits(result_size=size + 100))  # the pickle is a little longer

    async def main(executor: NifExecutor) -> None:
        assert await executor.execute_nif(bytes, size) == bytes(size)
        for _ in range(2):
            with pytest.raises(NifLimitExceeded, match="result_size limit of"):
                await executor.execute_nif(bytes, size + 200)
        assert await executor.execute_nif(bytes, size) == bytes(size)

    with_executor(main, max_workers=1, policy=policy)


# ---- what a worker says of itself ----


def test_a_worker_that_claims_to_run_nothing_is_held_to_its_limit(hostile: NifLibrary) -> None:
    policy = NifPolicy(limits=NifLimits(cpu_time=0.1))

    async def main(executor: NifExecutor) -> None:
        with pytest.raises(NifLimitExceeded, match="cpu_time"):
            await executor.execute_nif(hostile.claim_to_wait, timeout=DEADLINE)

    with_executor(main, max_workers=1, policy=policy)


def test_a_call_that_no_worker_admits_to_have_begun_ends(hostile: NifLibrary) -> None:
    async def main(executor: NifExecutor) -> None:
        with pytest.raises(NifWorkerLost):
            await executor.execute_nif(hostile.claim_to_wait)

    with_executor(main, max_workers=1)


@pytest.mark.parametrize(
    "policy",
    [NifPolicy(limits=NifLimits(cpu_time=60)), NifPolicy(sandbox=Sandbox.python())],
    ids=["limited", "sealed"],
)
def test_a_worker_that_goes_on_after_its_call_is_killed(policy: NifPolicy) -> None:
    async def main(executor: NifExecutor) -> None:
        first = await executor.execute_nif(remote.spin_on)
        await until(lambda: executor.statistics().restarts.get("limit", 0) == 1)
        assert await executor.execute_nif(remote.process_id) != first

    with_executor(main, max_workers=1, policy=policy)


def test_a_worker_that_rests_between_calls_stays() -> None:
    policy = NifPolicy(limits=NifLimits(cpu_time=60))

    async def main(executor: NifExecutor) -> None:
        first = await executor.execute_nif(remote.use_cpu, 1.5)
        for _ in range(2):
            await anyio.sleep(1.2)
            assert await executor.execute_nif(remote.use_cpu, 0.1) == first

    with_executor(main, max_workers=1, policy=policy)


# ---- the kernel's own limit ----


@pytest.fixture
def little_memory() -> Iterator[Path]:
    """Yield a control group whose processes have LITTLE bytes together."""
    limit = limit_of_memory()
    try:
        limit.parent.mkdir()
    except OSError as problem:
        pytest.skip(f"no control group can be made here: {problem}")
    try:
        try:
            limit.write_text(str(LITTLE), encoding="ascii")
        except OSError as problem:
            pytest.skip(f"memory can't be limited here: {problem}")
        yield limit.parent
    finally:
        remove_group(limit.parent)


def limit_of_memory() -> Path:
    """Return the file that bounds the memory of a control group to be made; of either version."""
    lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    groups = {names: path.lstrip("/") for _, names, path in (line.split(":", 2) for line in lines)}
    ours = f"aionif-{os.getpid()}"
    if "memory" in groups:
        parent = Path("/sys/fs/cgroup/memory") / groups["memory"]
        return parent / ours / "memory.limit_in_bytes"
    return Path("/sys/fs/cgroup") / groups.get("", "") / ours / "memory.max"


def remove_group(group: Path) -> None:
    """Once its last process is gone, the zygote."""
    deadline = time.monotonic() + DEADLINE
    while group.exists():
        try:
            group.rmdir()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(POLL)


def test_out_of_memory_the_kernel_ends_the_worker_and_not_the_program(little_memory: Path) -> None:
    child = run_child(run_out_of_memory, str(little_memory))
    assert (child.returncode, child.stdout) == (0, "worker lost\nworker lost\n"), child.stderr


def run_out_of_memory(group: str) -> None:
    """In a child, which has more memory than the worker gets to."""
    (Path(group) / "cgroup.procs").write_text(str(os.getpid()))
    kept = bytearray(b"x") * (LITTLE // 2)

    async def main(executor: NifExecutor) -> None:
        for _ in range(2):
            with pytest.raises(NifWorkerLost, match="out of memory") as lost:
                await executor.execute_nif(remote.take_memory, LITTLE)
            assert lost.value.exit_code == -signal.SIGKILL
            print("worker lost", flush=True)

    with_executor(main, max_workers=1)
    assert kept
