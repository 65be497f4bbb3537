"""The sliding window that counts restarts and crashes."""

from __future__ import annotations

import pytest

from aionif.calls.window import Window


@pytest.mark.parametrize(
    ("times", "counts"),
    [
        ([0, 0, 0], [1, 2, 3]),
        ([0, 1, 5], [1, 2, 3]),  # the first is exactly as old as the window is long
        ([0, 1, 5.001], [1, 2, 2]),
        ([0, 4, 8, 12, 16], [1, 2, 2, 2, 2]),  # it slides: never three within five seconds
        ([0, 4, 8, 9], [1, 2, 2, 3]),
        ([0, 0, 100, 100, 100], [1, 2, 1, 2, 3]),
    ],
)
def test_what_is_counted(times: list[float], counts: list[int]) -> None:
    window = Window[None](5.0)
    assert [window.add(at, None) for at in times] == counts


def test_it_keeps_no_more_than_it_needs() -> None:
    window = Window[int](5.0)
    for at in range(0, 10_000, 2):
        window.add(at, at)
    assert window.history() == (9994, 9996, 9998)


def test_it_forgets_as_time_goes_by() -> None:
    window = Window[str](5.0)
    window.add(0, "first")
    window.add(3, "second")
    assert [window.count(now) for now in (5, 6, 9)] == [2, 1, 0]


def test_it_can_be_cleared() -> None:
    window = Window[str](5.0)
    window.add(0, "first")
    window.clear()
    assert window.count(0) == 0
