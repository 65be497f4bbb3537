"""A storm of failures is told in full at first, then once a second with a count of the others."""

from __future__ import annotations

from typing import Any

import pytest

from aionif import NifExecutor, NifSignal, telemetry
from aionif.telemetry import failures
from aionif.telemetry.throttle import Throttle
from tests.support import load_gallery


class Told:
    """Keeps what a throttle tells, on a clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 100.0
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.throttle = Throttle(
            lambda event, fields: self.events.append((event, fields)), lambda: self.now
        )

    def take(self, count: int, about: str = "f") -> None:
        for _ in range(count):
            self.throttle.take("nif_signal", about, {"function": about})

    def suppressed(self) -> list[int]:
        return [fields.get("suppressed", 0) for _, fields in self.events]


@pytest.fixture
def told() -> Told:
    return Told()


def test_the_first_five_are_told_in_full(told: Told) -> None:
    told.take(5)
    assert told.suppressed() == [0] * 5
    told.take(100)
    assert len(told.events) == 5


def test_a_storm_is_told_once_a_second_with_a_count(told: Told) -> None:
    for _ in range(3):
        told.take(105)
        told.now += 1
    assert told.suppressed() == [0] * 5 + [100, 104]
    told.throttle.flush()
    assert told.suppressed()[-1] == 104
    assert sum(told.suppressed()) + 5 + 2 == 3 * 105, "each is told or counted"


def test_a_quiet_second_begins_anew(told: Told) -> None:
    told.take(5)
    told.now += 1
    told.take(5)
    assert told.suppressed() == [0] * 10


def test_each_function_is_counted_for_itself(told: Told) -> None:
    told.take(50, "f")
    told.take(5, "g")
    assert [fields["function"] for _, fields in told.events] == ["f"] * 5 + ["g"] * 5


def test_the_last_count_is_told_by_whoever_logs_next(told: Told) -> None:
    told.take(50, "f")
    told.now += 1
    told.take(1, "g")
    assert told.events[-2:] == [
        ("nif_signal", {"function": "f", "suppressed": 45}),
        ("nif_signal", {"function": "g"}),
    ]
    told.throttle.flush()
    assert len(told.events) == 7, "nothing is told twice"


def test_a_flush_does_not_begin_a_second_anew(told: Told) -> None:
    told.take(6)
    told.throttle.flush()
    told.take(6)
    assert told.suppressed() == [0] * 5 + [1]


def test_a_closed_executor_leaves_nothing_untold(run: Any) -> None:
    crash = load_gallery().gallery_segv_read
    found: list[int] = []

    def keep(event: str, fields: dict[str, Any]) -> None:
        if event == "nif_signal":
            found.append(fields.get("suppressed", 0))

    async def main() -> None:
        async with NifExecutor() as executor:
            for _ in range(30):
                with pytest.raises(NifSignal):
                    await executor.execute_nif(crash)

    telemetry.attach(keep)
    try:
        run(main)
        told = len(found)
        assert sum(found) >= 1, "so many within a second are not all told in full"
        failures.tell_suppressed()
        assert len(found) == told, "the executor's close has told all there was"
    finally:
        telemetry.detach(keep)
