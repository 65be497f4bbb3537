"""All executors of this process: what is exported, and what `aionif top` shows.

`call_nif` has no executor; its failures are counted as those of one named INLINE.

An executor enters when it opens its first pool and leaves when it is stopped. What it has counted
stays here, under its name, as a total that is exported must never go down. Names are bounded as
functions are: past MOST_NAMES, further executors are counted together.

Exporters read in threads of their own, so a pool is freed only once it is out of reach of readers:
`guard` is held by whoever reads pools, and by whoever takes one out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from threading import RLock
from typing import TYPE_CHECKING, Protocol

from aionif.telemetry.series import OTHER, Key, Series, Tally

if TYPE_CHECKING:
    from aionif.errors import NifError

__all__ = (
    "INLINE",
    "MOST_NAMES",
    "Member",
    "Totals",
    "count_inline_failure",
    "count_supervisor_restart",
    "enter",
    "forget_all",
    "guard",
    "leave",
    "supervisor_restarts",
    "totals",
)

MOST_NAMES = 64
INLINE = "(inline)"

guard = RLock()  # reentrant: a finalizer may close an executor within


@dataclass(slots=True)
class Totals:
    """What executors of one name have counted, and what they do now.

    counts: by the names of fields of Statistics. restarts: by reason.
    breakers: of each function, how many are in each state, and "openings" so far.
    """

    counts: dict[str, int] = field(default_factory=dict)
    restarts: dict[str, int] = field(default_factory=dict)
    functions: dict[Key, Tally] = field(default_factory=dict)
    breakers: dict[Key, Counter[str]] = field(default_factory=dict)

    def merge(self, other: Totals) -> None:
        """Add another one's."""
        for mine, theirs in ((self.counts, other.counts), (self.restarts, other.restarts)):
            for name, value in theirs.items():
                mine[name] = mine.get(name, 0) + value
        for key, tally in other.functions.items():
            self.functions.setdefault(key, Tally()).merge(tally)
        for key, breakers in other.breakers.items():
            self.breakers.setdefault(key, Counter()).update(breakers)


class Member(Protocol):
    """An executor's pools, as they are read here."""

    name: str

    def totals(self) -> Totals:
        """Return what they have counted; called under the guard."""


_members: dict[int, Member] = {}
_ended: dict[str, Totals] = {}
_names: set[str] = set()
_supervisor_restarts = 0
_inline = Series()  # of call_nif


def enter(member: Member) -> None:
    """Count an executor from now on."""
    with guard:
        _members[id(member)] = member


def leave(member: Member) -> None:
    """Keep what it has counted; its pools are stopped."""
    with guard:
        if _members.pop(id(member), None) is not None:
            _ended.setdefault(_label(member.name), Totals()).merge(member.totals())


def forget_all() -> None:
    """Start anew: in the child of a fork no executor has counted anything yet."""
    global guard, _supervisor_restarts, _inline  # noqa: PLW0603 - of this process
    guard = RLock()  # a thread that is gone may have held the old one
    _supervisor_restarts = 0
    _inline = Series()
    _members.clear()
    _ended.clear()


def totals() -> dict[str, Totals]:
    """Return the totals of all executors, by name."""
    found: dict[str, Totals] = {}
    with guard:
        for name, totals in _ended.items():
            found.setdefault(name, Totals()).merge(totals)
        for member in list(_members.values()):
            found.setdefault(_label(member.name), Totals()).merge(member.totals())
        inline = Totals(functions=_inline.totals())
    if inline.functions:
        found[INLINE] = inline
    return found


def _label(name: str) -> str:
    if name not in _names and len(_names) >= MOST_NAMES:
        return OTHER
    _names.add(name)
    return name


def count_inline_failure(function: str, library: str | None, error: NifError) -> None:
    """Count a call of `call_nif` that failed; from any thread."""
    with guard:
        _inline.count_failure(function, library, error)


def count_supervisor_restart() -> None:
    """Count a child that a supervisor has restarted; from any thread."""
    global _supervisor_restarts  # noqa: PLW0603 - a count of the process
    with guard:
        _supervisor_restarts += 1


def supervisor_restarts() -> int:
    """Return how many children supervisors have restarted in this process."""
    return _supervisor_restarts
