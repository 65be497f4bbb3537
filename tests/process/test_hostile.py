"""Workers that write what they should not: contained, reported, and replaced."""

from __future__ import annotations

import errno
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from aionif import NifArgumentError, NifError, NifExecutor, NifExit, NifTimeout, NifWorkerLost
from tests.support import gather, run_on

if TYPE_CHECKING:
    from aionif import NifLibrary

MS = 30
FINISHED = 3
SIGNAL, OVERFLOW, PANIC, EXIT, DENIED, ABORTED, LOST, UNLOADED = range(1, 9)


def suffer(
    function: Any,
    *arguments: Any,
    probe: NifLibrary,
    times: int = 1,
    may_seem_idle: bool = False,
) -> list[Any]:
    """Make calls of a hostile function beside others; return what came of them.

    The others, which other workers serve, have their results; so has whoever comes later.
    may_seem_idle: it may say that its call has ended, and then is given others, which are lost.
    """
    bystanders: Any = (3, NifError) if may_seem_idle else (3,)

    async def main() -> list[Any]:
        async with NifExecutor(isolation="process", max_workers=3) as executor:
            assert await executor.execute_nif(probe.add, 1, 2) == 3
            found = []
            for _ in range(times):
                outcomes = await gather(
                    lambda: executor.execute_nif(function, *arguments, timeout=2),
                    *[lambda: executor.execute_nif(probe.sum_twice, b"\1\2", 2, MS)] * 2,
                )
                assert all(o == 3 or isinstance(o, bystanders[1:]) for o in outcomes[1:])
                found.append(outcomes[0])
                with suppress(*bystanders[1:]):
                    assert await executor.execute_nif(probe.add, 3, 4) == 7
            await anyio.sleep(MS / 1000)  # what still writes has stopped by then
            with anyio.fail_after(15):
                results = await gather(
                    *[lambda n=n: executor.execute_nif(probe.add, n, 0) for n in range(100)]
                )
            assert results == list(range(100))
            return found

    found: list[Any] = run_on("asyncio", main)
    return found


def test_garbage_in_the_lane(hostile: NifLibrary, probe: NifLibrary) -> None:
    for seed in range(8):
        for outcome in suffer(hostile.scribble, seed, MS, probe=probe, may_seem_idle=True):
            assert isinstance(outcome, (NifError, int))


@pytest.mark.parametrize("state", [0, 1, 2, 4, 5, 6, 255, 0x105, 0xFFFFFFFF])
def test_states_that_are_not_so(hostile: NifLibrary, probe: NifLibrary, state: int) -> None:
    for outcome in suffer(hostile.claim_all, state, MS, probe=probe, times=2):
        assert isinstance(outcome, (NifWorkerLost, NifTimeout, int))


def test_who_says_that_calls_have_ended_harms_those_alone_that_it_got(
    hostile: NifLibrary, probe: NifLibrary
) -> None:
    """Results of a worker are what it says they are."""

    async def main() -> None:
        async with NifExecutor(isolation="process", max_workers=1) as executor:
            await executor.execute_nif(hostile.claim_all, FINISHED, MS, timeout=2)
            with suppress(NifError):
                await executor.execute_nif(probe.add, 1, 2, timeout=5)

    run_on("asyncio", main)
    suffer(hostile.shrink, probe=probe)


@pytest.mark.parametrize(
    ("kind", "sig", "frames", "language"),
    [
        (SIGNAL, 99, 0, 0),
        (SIGNAL, 11, 1 << 30, 0),
        (SIGNAL, 11, -1, 0),
        (PANIC, 0, 0, 77),
        (ABORTED, 0, 0, 0),
        (LOST, 0, 0, 0),
        (12345, 11, 0, 0),
        (-1, 11, 0, 0),
    ],
)
def test_failures_that_can_not_be(  # noqa: PLR0913, PLR0917 - a row of the table
    hostile: NifLibrary, probe: NifLibrary, kind: int, sig: int, frames: int, language: int
) -> None:
    (outcome,) = suffer(hostile.fail_as, kind, sig, frames, language, probe=probe)
    assert isinstance(outcome, NifWorkerLost)


@pytest.mark.parametrize("kind", [SIGNAL, OVERFLOW, PANIC, EXIT, DENIED, UNLOADED])
def test_failures_full_of_garbage(hostile: NifLibrary, probe: NifLibrary, kind: int) -> None:
    (outcome,) = suffer(hostile.fail_as, kind, 11, 64, 1, probe=probe)
    assert isinstance(outcome, NifError)
    assert str(outcome)
    if not isinstance(outcome, NifArgumentError):
        assert outcome.report.symbolise().render()  # type: ignore[attr-defined]


def test_floods(hostile: NifLibrary, probe: NifLibrary) -> None:
    assert suffer(hostile.flood, MS, probe=probe) == [0]
    assert suffer(hostile.spam, 200, probe=probe) == [0]


def test_the_lane_can_not_be_cut_short(hostile: NifLibrary, probe: NifLibrary) -> None:
    assert suffer(hostile.shrink, probe=probe) in ([errno.EPERM], [errno.EACCES])


def test_leaving_without_a_word_is_an_exit(hostile: NifLibrary, probe: NifLibrary) -> None:
    (outcome,) = suffer(hostile.leave_early, 7, probe=probe)
    assert isinstance(outcome, NifExit)
    assert outcome.status == 7


@pytest.mark.parametrize("state", [1, 0x101, 0x201, 0x10001, 2, 4, 5])
def test_a_call_whose_worker_leaves_it_in_any_state_ends(hostile: NifLibrary, state: int) -> None:
    """State 1: as if it had not been begun. It is tried again, and not for ever."""

    async def main() -> None:
        async with NifExecutor(isolation="process", max_workers=2) as executor:
            with pytest.raises((NifWorkerLost, NifExit)):
                await executor.execute_nif(hostile.leave_as, state)

    run_on("asyncio", main)


def test_the_catalog_can_not_be_written_to(hostile: NifLibrary, probe: NifLibrary) -> None:
    assert suffer(hostile.open_catalog, probe=probe) == [errno.EACCES]


def test_a_worker_has_no_descriptor_of_another(hostile: NifLibrary, probe: NifLibrary) -> None:
    assert suffer(hostile.count_foreign, probe=probe) == [0]
