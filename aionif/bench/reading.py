"""What results say: the lines of a table, what is missing and why, and where aionif is slower.

The terminal, the page and the documents show the same sentences; they are made here, once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from aionif.bench import latency
from aionif.bench.statistics import distribution, figure, median_seconds, ratio
from aionif.bench.units import format_count, format_seconds

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from aionif.bench.result import Behaviour, Results, ScenarioFacts, Status, SubjectFacts
    from aionif.bench.statistics import Ratio

__all__ = (
    "EVENTS",
    "SHARES",
    "Line",
    "Loss",
    "Missing",
    "baseline_in",
    "behaviour_of",
    "default_baseline",
    "figures_of",
    "is_floor",
    "is_ours",
    "lines",
    "losses",
    "missing",
    "percentile_name",
    "slower_sentence",
    "title_of_group",
    "verdict",
)

SHARES = (0.5, 0.9, 0.99, 0.999)
"""The percentiles that tables show."""

EVENTS = {
    "crash": "one call crashes",
    "hang": "one call runs past its deadline",
    "cancel": "the task of one call is cancelled",
}
"""What can go wrong with a call, in words."""

_GROUPS = {
    "": "One call at a time, and other situations",
    "in-flight": "Many calls in flight",
    "arrivals": "Calls that arrive at a rate",
    "arguments": "Large arguments",
}
# What one would use instead, in this order: threads, and processes where a thread would not do.
_USUAL = ("ThreadPoolExecutor", "to_thread", "ProcessPoolExecutor", "direct")
_MANY = 6  # scenarios that are worth their names


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One subject in one scenario.

    status: the worst that became of its cells; "measured" if all were. note: why.
    seconds: per call. ratio: over the baseline; None for the baseline itself.
    percentiles: seconds by share; those are left out that fewer than one call lies beyond.
    figures: medians of the other figures of `Cell`, by name.
    """

    subject: SubjectFacts
    status: Status
    note: str = ""
    seconds: float | None = None
    ratio: Ratio | None = None
    percentiles: dict[float, float] = field(default_factory=dict)
    figures: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """A peer was faster than aionif, by more than chance; ratio: ours over the peer's."""

    scenario: ScenarioFacts
    ours: SubjectFacts
    peer: SubjectFacts
    ratio: Ratio


@dataclass(frozen=True, slots=True, kw_only=True)
class Missing:
    """A subject was not measured, for one reason, in these scenarios (by title)."""

    subject: SubjectFacts
    status: Status
    note: str
    scenarios: tuple[str, ...]

    def where(self, of: int) -> str:
        """Return the scenarios in words; of: how many the run had."""
        if len(self.scenarios) == of:
            return "everywhere"
        if len(self.scenarios) > _MANY:
            return f"{len(self.scenarios)} of {of} scenarios"
        return "; ".join(self.scenarios)


def is_ours(subject: SubjectFacts) -> bool:
    """Return whether it is a tier of aionif, not a peer."""
    return subject.title.startswith("aionif")


def is_floor(subject: SubjectFacts) -> bool:
    """Return whether it is the call with nothing in between: no peer, but the least there is."""
    return subject.name == "direct"


def title_of_group(group: str) -> str:
    """Return the heading for the scenarios of a group; empty: for those of none."""
    return _GROUPS.get(group, group)


def default_baseline(results: Results) -> str:
    """Return the subject that others are held against unless one is named; empty: there is none."""
    return _baseline_of(results, [cell.subject for cell in results.cells if cell.seconds])


def baseline_in(results: Results, scenario: str, wanted: str) -> str:
    """Return the baseline of one scenario: where the wanted one has no figure, it is another.

    Empty: nobody has a figure.
    """
    cells = (cell for cell in results.cells if cell.scenario == scenario and cell.seconds)
    measured = {cell.subject for cell in cells}
    return wanted if wanted in measured else _baseline_of(results, measured)


def _baseline_of(results: Results, measured: Collection[str]) -> str:
    others = (subject.name for subject in results.subjects)
    return next((name for name in (*_USUAL, *others) if name in measured), "")


def lines(results: Results, scenario: str, baseline: str) -> list[Line]:
    """Return a line for each subject that was tried: fastest first, then those with no figure.

    baseline: what ratios are taken to; of a scenario, `baseline_in` gives it.
    """
    found = [
        _line(results, scenario, subject, baseline)
        for subject in results.subjects
        if results.of(scenario, subject.name)
    ]
    return sorted(found, key=lambda line: (line.seconds is None, line.seconds or 0.0))


def _line(results: Results, scenario: str, subject: SubjectFacts, baseline: str) -> Line:
    cells = results.of(scenario, subject.name)
    worst = max(cells, key=lambda cell: cell.status != "measured")
    calls = distribution(results, scenario, subject.name)
    names = {name for cell in cells for name in cell.figures}
    found = {name: figure(results, scenario, subject.name, name) for name in sorted(names)}
    apart = subject.name != baseline
    return Line(
        subject=subject,
        status=worst.status,
        note=worst.note,
        seconds=median_seconds(results, scenario, subject.name),
        ratio=ratio(results, scenario, subject.name, baseline) if apart else None,
        percentiles={share: latency.percentile(calls, share) for share in _known(calls, SHARES)},
        figures={name: value for name, value in found.items() if value is not None},
    )


def _known(calls: dict[int, int], shares: tuple[float, ...]) -> Iterator[float]:
    count = sum(calls.values())
    # rounded: 1,000 times (1 - 0.999) is a little less than one
    return (share for share in shares if round(count * (1 - share), 6) >= 1)


def percentile_name(share: float) -> str:
    """Return `p99.9` for 0.999."""
    return f"p{share * 100:g}"


def figures_of(found: list[Line]) -> list[str]:
    """Return the names of the other figures that any of the lines has, in order."""
    return sorted({name for line in found for name in line.figures})


def missing(results: Results) -> list[Missing]:
    """Return what was not measured and why, by subject; once for each reason."""
    titles = {scenario.name: scenario.title for scenario in results.scenarios}
    reasons: dict[tuple[str, Status, str], dict[str, None]] = {}
    for cell in results.cells:
        if cell.status != "measured":
            key = (cell.subject, cell.status, cell.note)
            reasons.setdefault(key, {})[titles[cell.scenario]] = None
    return [
        Missing(subject=subject, status=status, note=note, scenarios=tuple(where))
        for subject in results.subjects
        for (name, status, note), where in reasons.items()
        if name == subject.name
    ]


# ---- where aionif is slower ----


def losses(results: Results) -> list[Loss]:
    """Return where the interval says that a peer is faster than a tier of aionif; worst first."""
    ours = [subject for subject in results.subjects if is_ours(subject)]
    peers = [each for each in results.subjects if not is_ours(each) and not is_floor(each)]
    found = [
        Loss(scenario=scenario, ours=tier, peer=peer, ratio=over)
        for scenario in results.scenarios
        for tier in ours
        for peer in peers
        if _is_slower(results, scenario.name, tier.name, peer.name)
        and (over := ratio(results, scenario.name, tier.name, peer.name))
        and over.low > 1
    ]
    return sorted(found, key=lambda loss: -loss.ratio.value)


def _is_slower(results: Results, scenario: str, tier: str, peer: str) -> bool:
    """Say it by medians, which are cheap: intervals are drawn only where they may matter."""
    ours, theirs = (median_seconds(results, scenario, name) for name in (tier, peer))
    return ours is not None and theirs is not None and ours > theirs


def slower_sentence(loss: Loss) -> str:
    """Return it in words."""
    low, high = format_count(loss.ratio.low), format_count(loss.ratio.high)
    return (
        f"{loss.ours.title} is slower than {loss.peer.title} in {loss.scenario.title!r}: "
        f"{format_count(loss.ratio.value)} times the time ({low} to {high})"
    )


# ---- behaviour ----


def behaviour_of(results: Results, subject: str, event: str) -> Behaviour | None:
    """Return what was seen of a subject in an event, if it was tried."""
    return next((b for b in results.behaviours if (b.subject, b.event) == (subject, event)), None)


def verdict(behaviour: Behaviour) -> tuple[str, str]:
    """Return one of "good", "poor" and "bad", and what happened in words."""
    if not behaviour.survived:
        return "bad", behaviour.note or "the program ended"
    told = behaviour.told or "the caller was never told"
    if behaviour.signal:
        told += f" ({behaviour.signal})"
    if behaviour.told and behaviour.seconds is not None:
        told += f" after {format_seconds(behaviour.seconds)}"
    lost = behaviour.bystanders_lost
    wrong = [
        *([f"{lost} of {behaviour.bystanders} other calls lost"] if lost else []),
        *(["native code runs on"] if behaviour.stopped is False else []),
        *(["the pool is unusable"] if behaviour.usable is False else []),
    ]
    words = "; ".join([told, *wrong, *([behaviour.note] if behaviour.note else [])])
    if not behaviour.told or lost or behaviour.usable is False:
        return "bad", words
    return ("poor" if wrong else "good"), words
