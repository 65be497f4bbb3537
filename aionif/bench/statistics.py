"""What can be said of figures that are noisy: medians, merged latencies, ratios and their bounds.

A ratio is taken within each round, of two neighbours in time, and the median of the rounds is
reported. Its bounds are a bootstrap (B. Efron, "Bootstrap Methods: Another Look at the Jackknife",
1979) in two stages: rounds are drawn with replacement, then the batches within each. So they hold
what differs between rounds, which on a shared machine is far more than what differs within one; to
pool all batches would hide it, and promise a precision that the next run does not keep.

Of a handful of rounds a bootstrap says too little: its samples never leave what was seen. Its
bounds are therefore widened, about the median and on a logarithmic scale, by what Student's t has
over the normal distribution, as T. Hesterberg has it ("What Teachers Should Know About the
Bootstrap", 2015). One round alone says nothing of the next one, and has no bounds.
"""

from __future__ import annotations

import functools
import math
import random
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aionif.bench import latency

if TYPE_CHECKING:
    from aionif.bench.result import Results

__all__ = ("Ratio", "distribution", "figure", "median_seconds", "ratio")

_SAMPLES = 1_000
_SAMPLES_WITHIN = 50  # medians that are drawn for one round, once, and then drawn from
_SEED = 1979
_NORMAL = 1.96
_STUDENT = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)  # 95 %, 2 sides


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """How many times as long as the baseline a subject takes: 2.0 is twice the time.

    low, high: bounds of the 95 % confidence interval; 0 and infinity after a single round.
    """

    value: float
    low: float
    high: float

    @property
    def bounded(self) -> bool:
        """Whether there were rounds enough for bounds."""
        return math.isfinite(self.high)

    @property
    def told_apart(self) -> bool:
        """Whether the interval leaves out 1, so that the two differ."""
        return not self.low <= 1.0 <= self.high


def ratio(results: Results, scenario: str, subject: str, baseline: str) -> Ratio | None:
    """Return the time per call of a subject over that of a baseline, from rounds that have both.

    None: there is no such round. The same results give the same bounds, to the last digit.
    """
    above, below = _by_round(results, scenario, subject), _by_round(results, scenario, baseline)
    common = sorted(above.keys() & below.keys())
    if not common:
        return None
    if subject == baseline:
        return Ratio(value=1.0, low=1.0, high=1.0)
    rounds = tuple((above[number], below[number]) for number in common)
    value = statistics.median(math.log(_median(over) / _median(under)) for over, under in rounds)
    if len(rounds) == 1:
        return Ratio(value=math.exp(value), low=0.0, high=math.inf)
    low, high = _bounds(rounds)
    wider = _widening(len(rounds))
    return Ratio(
        value=math.exp(value),
        low=math.exp(value - wider * max(0.0, value - low)),
        high=math.exp(value + wider * max(0.0, high - value)),
    )


def median_seconds(results: Results, scenario: str, subject: str) -> float | None:
    """Return the seconds per call: the median over rounds of each round's median batch.

    None: nothing was measured.
    """
    rounds = _by_round(results, scenario, subject).values()
    return statistics.median(map(_median, rounds)) if rounds else None


def distribution(results: Results, scenario: str, subject: str) -> dict[int, int]:
    """Return how many calls of all rounds took how long, by the bucket of `aionif.bench.latency`.

    Empty where single calls were not timed.
    """
    return latency.merge(cell.latency for cell in results.of(scenario, subject))


def figure(results: Results, scenario: str, subject: str, name: str) -> float | None:
    """Return the median over rounds of one of the figures of `Cell`, in its base unit.

    None: no round has it.
    """
    found = [cell.figures[name] for cell in results.of(scenario, subject) if name in cell.figures]
    return statistics.median(found) if found else None


# ---- the bootstrap ----

Batches = tuple[float, ...]


def _by_round(results: Results, scenario: str, subject: str) -> dict[int, Batches]:
    cells = results.of(scenario, subject)
    return {
        cell.round: cell.seconds
        for cell in cells
        # a clock that did not move between two looks says nothing, and has no logarithm
        if cell.status == "measured" and cell.seconds and min(cell.seconds) > 0
    }


@functools.lru_cache(maxsize=4096)  # tables, charts, advice and comparisons ask for the same
def _bounds(rounds: tuple[tuple[Batches, Batches], ...]) -> tuple[float, float]:
    """Return between which logarithms 95 % of the medians of rounds that are drawn lie."""
    draw = random.Random(_SEED)  # noqa: S311 - the same bounds each time, not a secret
    drawn = [(_medians_within(over), _medians_within(under)) for over, under in rounds]
    choose, middle = draw.choice, statistics.median
    samples = sorted(
        middle(choose(over) - choose(under) for over, under in draw.choices(drawn, k=len(drawn)))
        for _ in range(_SAMPLES)
    )
    return samples[int(0.025 * _SAMPLES)], samples[int(0.975 * _SAMPLES) - 1]


@functools.lru_cache(maxsize=4096)
def _median(batches: Batches) -> float:
    return statistics.median(batches)


@functools.lru_cache(maxsize=4096)
def _medians_within(batches: Batches) -> list[float]:
    """Return logarithms of medians of batches that were drawn from one round's."""
    draw = random.Random(_SEED)  # noqa: S311 - as above
    count = len(batches)
    return [
        math.log(statistics.median(draw.choices(batches, k=count))) for _ in range(_SAMPLES_WITHIN)
    ]


def _widening(rounds: int) -> float:
    """Return by how much a bootstrap of so few rounds is too narrow."""
    freedom = rounds - 1
    # Beyond the table, the first two terms of the expansion of t about the normal quantile.
    known = freedom <= len(_STUDENT)
    student = _STUDENT[freedom - 1] if known else _NORMAL + 2.37 / freedom + 2.82 / freedom**2
    return student / _NORMAL * math.sqrt(rounds / freedom)
