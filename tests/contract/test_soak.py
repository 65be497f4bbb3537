"""Short runs of what benchmarks/soak.py and benchmarks/bursts.py run for long."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from benchmarks import bursts, soak
from tests import support

if TYPE_CHECKING:
    import pytest

CRASHES = 4_000
ABORTS = 100
SECONDS = 4.0
MOST_MEMORY = 2 * 1024
"""KiB that resident memory may be above what it was after the first tenth: arenas and caches."""

MOST_MAPPINGS = 8
"""glibc gives threads arenas, and parts of them back, as it goes."""


def test_crashes_of_every_kind_leave_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="aionif")  # what is captured of it would add up
    found = support.run_on("asyncio", soak.crashes, CRASHES)
    assert found.kinds > 30
    assert found.count == CRASHES
    assert found.retired == 0
    growth = found.growth()
    assert growth["descriptors"] == 0
    assert growth["threads"] <= 1  # the first sample may have seen one worker alone
    assert growth["mappings"] <= MOST_MAPPINGS
    assert growth["resident"] <= MOST_MEMORY


def test_no_stopped_loop_of_malloc_is_wedged() -> None:
    found = support.run_on("asyncio", soak.abortions, ABORTS)
    assert found.count == ABORTS
    assert found.aborted + found.abandoned >= ABORTS
    assert (found.retired, found.wedged) == (0, 0)


def test_every_await_of_random_bursts_ends(backend: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL, logger="aionif")
    found = support.run_on(backend, bursts.soak, SECONDS, 1, deadline=4 * support.DEADLINE)
    assert not found.stuck
    assert found.rounds
    assert not found.ends["wrong"]
    assert found.ends.total() == found.calls
