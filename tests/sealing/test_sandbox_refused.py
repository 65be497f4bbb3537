"""A seal that can't be had is refused, or said and counted, and threads have none."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Any

import pytest

import aionif
from aionif import (
    NifArgumentError,
    NifExecutor,
    NifLimits,
    NifPolicy,
    NifRejected,
)
from tests import children
from tests.support import run_on
from tests.support.sealing import AS_ROOT, COMPUTE, USERS, with_sealed

if TYPE_CHECKING:
    from aionif import NifLibrary

libc = ctypes.CDLL(None)


# ---- what is missing ----


@pytest.mark.parametrize("user", USERS)
def test_required_refuses_every_waiter(user: str) -> None:
    ending = children.run("sealed_workers.py", user, "lacking", "python")
    assert ending.status == 0, ending.errors
    *refusals, last = ending.lines
    assert len(refusals) == 5
    for line in refusals:
        assert line.startswith("NifRejected process pow in builtins (process tier)")
        assert "its sandbox can't be enforced here: files" in line
        assert "no Landlock for us (ENOSYS)" in line
        assert " | Leave out" in line
    assert last == "unsealed"


@pytest.mark.parametrize("profile", ["compute", "best_effort"])
@pytest.mark.parametrize("user", USERS)
def test_what_is_not_required_is_logged_once_and_counted(user: str, profile: str) -> None:
    ending = children.run("sealed_workers.py", user, "lacking", profile)
    assert ending.status == 0, ending.errors
    assert ending.lines == ["1", "2", "4", "8", "16", "unsealed files scope tcp"]
    assert ending.errors.count("nif_sandbox_incomplete") == 1
    assert "missing='files, tcp, scope" in ending.errors


@pytest.mark.skipif(not AS_ROOT, reason="it is root that is not bound")
def test_a_limit_that_does_not_bind_is_refused() -> None:
    async def main(executor: NifExecutor) -> None:
        with pytest.raises(NifRejected, match=r"limits can't be enforced.*does not bind root"):
            await executor.execute_nif(pow, 2, 3)

    with_sealed(main, policy=NifPolicy(limits=NifLimits(processes=100)))


# ---- where it can't be ----


@pytest.mark.parametrize("isolation", ["thread", "inline"])
def test_threads_have_no_sandbox(isolation: Any, zlib: NifLibrary) -> None:
    with pytest.raises(NifArgumentError, match='isolation="process"'):
        NifExecutor(isolation=isolation, policy=COMPUTE)

    async def main() -> None:
        async with NifExecutor(isolation=isolation) as executor:
            with pytest.raises(NifArgumentError, match='isolation="process"'):
                await executor.execute_nif(zlib.crc32, 0, b"", 0, policy=COMPUTE)

    run_on("asyncio", main)
    with pytest.raises(NifArgumentError, match='isolation="process"'):
        aionif.call_nif(zlib.crc32, 0, b"", 0, policy=COMPUTE)


def test_auto_runs_what_is_to_be_sealed_in_processes() -> None:
    async def main() -> None:
        async with NifExecutor(isolation="auto", max_workers=1) as executor:
            assert await executor.execute_nif(libc.getpid) == os.getpid()
            assert await executor.execute_nif(libc.getpid, policy=COMPUTE) != os.getpid()
            with pytest.raises(NifArgumentError, match='isolation="process"'):
                async with executor.session(policy=COMPUTE):
                    pass

    run_on("asyncio", main)


def test_a_sandbox_has_to_be_one() -> None:
    with pytest.raises(NifArgumentError, match=r"Sandbox\.compute"):
        NifPolicy(sandbox="compute")  # type: ignore[arg-type]
