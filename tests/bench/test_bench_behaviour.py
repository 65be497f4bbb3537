"""What goes wrong really goes wrong, and what comes of it is seen."""

from __future__ import annotations

import anyio
import pytest

from aionif.bench import EVENTS, SUBJECTS, Behaviour
from aionif.bench.behaviour import observe
from aionif.bench.machine import turns_a_microsecond
from tests.support import run_on

TRIED = ("thread", "process", "ThreadPoolExecutor")

Seen = dict[tuple[str, str], Behaviour]


@pytest.fixture(scope="module")
def seen() -> Seen:
    turns = turns_a_microsecond()
    found: Seen = {}

    async def one(subject: str, event: str) -> None:
        found[subject, event] = await observe(
            SUBJECTS[subject],
            event,  # type: ignore[arg-type] # one of EVENTS
            workers=2,
            turns=turns,
        )

    async def main() -> None:
        async with anyio.create_task_group() as group:
            for subject in TRIED:
                for event in EVENTS:
                    group.start_soon(one, subject, event)

    run_on("asyncio", main)
    return found


@pytest.mark.parametrize("tier", ["thread", "process"])
def test_a_crash_is_told_to_the_caller_alone(seen: Seen, tier: str) -> None:
    crash = seen[tier, "crash"]
    assert (crash.told, crash.signal) == ("NifSignal", "SIGSEGV")
    assert crash.seconds is not None
    assert crash.bystanders > 0
    assert crash.bystanders_lost == 0
    assert crash.usable
    assert crash.survived


@pytest.mark.parametrize("tier", ["thread", "process"])
@pytest.mark.parametrize(("event", "told"), [("hang", "NifTimeout"), ("cancel", "CancelledError")])
def test_native_code_that_never_ends_is_stopped(
    seen: Seen, tier: str, event: str, told: str
) -> None:
    found = seen[tier, event]
    assert found.told == told
    assert found.stopped
    assert found.bystanders_lost == 0
    assert found.usable


def test_a_crash_in_a_thread_pool_ends_the_program(seen: Seen) -> None:
    crash = seen["ThreadPoolExecutor", "crash"]
    assert not crash.survived
    assert not crash.told
    assert crash.note == "the process was ended by SIGSEGV"


@pytest.mark.parametrize(
    ("event", "told"), [("hang", "TimeoutError"), ("cancel", "CancelledError")]
)
def test_a_thread_pool_goes_on_running_what_its_caller_has_left(
    seen: Seen, event: str, told: str
) -> None:
    found = seen["ThreadPoolExecutor", event]
    assert found.told == told
    assert found.stopped is False
    assert found.survived


def test_a_call_that_blocks_the_program_for_ever_is_killed_and_said_so() -> None:
    async def main() -> Behaviour:
        return await observe(SUBJECTS["direct"], "hang", workers=2, turns=1000.0, bound=2.0)

    found = run_on("asyncio", main)
    assert not found.survived
    assert found.note == "the program hung, and was killed"
