"""How everything here is measured.

A machine is noisy, and its noise comes in stretches: another tenant, a clock that steps down, a
page cache that fills. So nothing is timed alone. The subjects of a measure are run in rounds; each
round runs all of them once, in a new random order, and gives one ratio. What is reported is the
median of these ratios, with the lowest and the highest round beside it. A figure is a ratio of
neighbours in time, and a round that was disturbed moves the spread, not the median.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Literal

__all__ = ("Row", "Scale", "Subject", "percentile", "ratio_row", "rounds", "unavailable")

Better = Literal["low", "high"]


@dataclass(frozen=True, slots=True)
class Scale:
    """How much work to do: everything, or just enough to see that each measure runs."""

    quick: bool

    def pick(self, full: int, quick: int) -> int:
        """Return the count for this scale."""
        return quick if self.quick else full

    @property
    def rounds(self) -> int:
        """How many rounds a measure takes."""
        return self.pick(9, 2)


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    samples: one figure of each round, in `unit`; value: their median.
    target: the bound to reach; None for a line that only informs.
    better: "low", the target is the most it may be; "high", the least.
    detail: the absolute figures behind it, in words.
    """

    name: str
    unit: str
    samples: list[float]
    better: Better
    target: float | None
    detail: str = ""
    problem: str = ""
    value: float | None = field(init=False)

    def __post_init__(self) -> None:
        value = statistics.median(self.samples) if self.samples else None
        object.__setattr__(self, "value", value)

    @property
    def passed(self) -> bool | None:
        """Whether the target is reached; None where there is none, or no figure."""
        if self.value is None or self.target is None:
            return None
        return self.value <= self.target if self.better == "low" else self.value >= self.target


def unavailable(name: str, unit: str, problem: str, target: float, better: Better = "low") -> Row:
    """Return a row that says why there is no figure."""
    return Row(name, unit, [], better, target, problem=problem)


Subject = Callable[[], Awaitable[float]]


async def rounds(subjects: dict[str, Subject], count: int) -> dict[str, list[float]]:
    """Run each subject once a round, in random order; return what they returned, by round."""
    order = list(subjects)
    shuffle = random.Random(0)  # noqa: S311 - the same orders each time, not a secret
    taken: dict[str, list[float]] = {name: [] for name in subjects}
    for _ in range(count):
        shuffle.shuffle(order)
        for name in order:
            taken[name].append(await subjects[name]())
    return taken


def ratio_row(  # noqa: PLR0913 - one value each
    name: str,
    over: list[float],
    under: list[float],
    *,
    target: float | None,
    better: Better,
    detail: str,
) -> Row:
    """Return the row of one ratio, round by round."""
    samples = [a / b for a, b in zip(over, under, strict=True)]
    return Row(name, "x", samples, better, target, detail)


def percentile(values: list[float], share: float) -> float:
    """Return the value below which `share` of the values lie."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]
