"""A call past its deadline stops where the runtime returns to its own code."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aionif import NifExecutor, NifPolicy, NifTimeout, call_nif, load
from tests.support import build_library, until

if TYPE_CHECKING:
    from collections.abc import Callable

    from aionif import NifLibrary

STOPPED = (
    "prints",
    "prints_deep_down",
    "allocates",
    "sleeps",
    "reads",
    "sorts",
    "sorts_and_throws",
    "sorts_and_jumps",
    "throws",
    "forks",
    "vforks",
    "joins",
)
TIMES = 10
BRIEFLY = 0.02
"""Seconds; where a machine is busy, not all of the calls begin in them."""

PATIENTLY = NifPolicy(abort_attempts=10_000)
"""One attempt suffices, where the thread that it asks has a CPU."""

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="return addresses are replaced on x86-64 only"
)


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> NifLibrary:
    """The functions of stopping.cc."""
    source = Path(__file__).parents[1] / "support" / "stopping.cc"
    path = build_library(
        tmp_path_factory.mktemp("stopping"), source.read_text(encoding="utf-8"), compiler="g++"
    )
    names = (*STOPPED, "blocks_a_signal")
    cdef = "".join(f"void {name}(void);" for name in names)
    return load(path, f"{cdef} int blocked(void); int is_sound(void);")


async def run_past(executor: NifExecutor, function: Any) -> None:
    """Let `function` run past its deadline."""
    with pytest.raises(NifTimeout):
        await executor.execute_nif(function, timeout=BRIEFLY)


@pytest.mark.parametrize("name", STOPPED)
def test_a_call_is_stopped_where_the_runtime_returns(
    run: Callable[..., Any], native: NifLibrary, name: str
) -> None:
    async def main() -> None:
        async with NifExecutor(max_workers=2, policy=PATIENTLY) as executor:
            assert await executor.execute_nif(native.is_sound)
            before = executor.statistics().started
            for _ in range(TIMES):
                await run_past(executor, getattr(native, name))
            await until(lambda: executor.statistics().running == 0)
            assert await executor.execute_nif(native.is_sound)
            counts = executor.statistics()
            assert (counts.abandoned, counts.retired) == (0, 0)
            assert counts.started - before <= 1, "no worker was replaced"
            assert counts.timed_out == TIMES
        assert call_nif(native.is_sound)

    run(main)


@pytest.mark.parametrize("name", STOPPED)
def test_so_is_one_in_its_callers_thread(native: NifLibrary, name: str) -> None:
    for _ in range(2):
        with pytest.raises(NifTimeout):
            call_nif(getattr(native, name), timeout=BRIEFLY)
    assert call_nif(native.is_sound)


def test_what_it_blocked_is_not_blocked_in_the_next_call(
    run: Callable[..., Any], native: NifLibrary
) -> None:
    async def main() -> None:
        async with NifExecutor(max_workers=1, policy=PATIENTLY) as executor:
            for _ in range(TIMES):
                await run_past(executor, native.blocks_a_signal)
                assert await executor.execute_nif(native.blocked) == 0

    run(main)


def test_a_function_of_libc_itself_is_stopped(run: Callable[..., Any]) -> None:
    libc = load(None, "unsigned sleep(unsigned); long read(int, void *, unsigned long);")
    ends = os.pipe()

    async def main() -> None:
        async with NifExecutor(max_workers=1, policy=PATIENTLY) as executor:
            for call in ((libc.sleep, 1000), (libc.read, ends[0], bytearray(8), 8)):
                with pytest.raises(NifTimeout):
                    await executor.execute_nif(*call, timeout=BRIEFLY)
                await until(lambda: executor.statistics().running == 0)
            assert executor.statistics().abandoned == 0

    try:
        run(main)
    finally:
        for end in ends:
            os.close(end)
