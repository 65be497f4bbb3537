"""Circuit breakers at work: the crashes of each function, and whether it is called meanwhile.

                 max_crashes within max_seconds
       closed ----------------------------------> open <----------------+
         ^                                         | hold_seconds       | the probe crashes
         |            the probe returns            v                    |
         +------------------------------------- half open --------------+

A call begins with a permit and tells its end by it. All calls of one closed time share a permit,
and each probe has one of its own; a breaker heeds the one that holds now and no other. So calls
that were under way when it opened, or when it was reset, can't count against what came later, and
a probe that was overtaken by a reset has no say.

Where crashes must also be a share of all calls, the core's counts say of how many: they are read
at each crash, and compared with what they were at the oldest crash that still counts. Both numbers
are the core's, as crashes are told here only when a loop looks: of a thousand calls that ended
meanwhile, the crashes would come first.

A probe may end without a verdict: cancelled, timed out, refused by a full queue, its arguments not
convertible. Then it is withdrawn, and the next call is the probe. Nothing is timed here: an open
breaker becomes half open by the first call that finds its time over.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from threading import RLock
from typing import TYPE_CHECKING, Any, Literal

from aionif.calls.window import Window
from aionif.log import warn

if TYPE_CHECKING:
    from collections.abc import Callable

    from aionif.binding.plan import Plan
    from aionif.breaker import NifBreaker
    from aionif.telemetry.series import Key

Counts = tuple[int, int]
"""How many calls of a function have ended, and how many of them crashed."""

__all__ = ("Breaker", "BreakerStatistics", "Breakers", "Permit")

State = Literal["closed", "open", "half_open"]


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerStatistics:
    """The circuit breaker of one function in one executor.

    state: "closed", "open" or "half_open".
    crashes: while it is closed, those within `max_seconds`; otherwise, those since it was closed.
    openings: how often it has opened. held: calls that it refused, or moved to a worker process.
    seconds_left: until a call is let through as a probe; 0 where one may be, or is under way.
    """

    function: str
    library: str | None
    state: State
    crashes: int
    openings: int
    held: int
    seconds_left: float


class Permit:
    """What a call begins with, and tells its breaker its end by."""

    __slots__ = ("_breaker", "is_probe")

    def __init__(self, breaker: Breaker, *, is_probe: bool = False) -> None:
        self._breaker = breaker
        self.is_probe = is_probe

    def holds(self) -> bool:
        """Whether calls may still begin with it."""
        return self._breaker.permit is self

    def crashed(self) -> None:
        """Count a crash."""
        self._breaker.count_crash(self)

    def returned(self) -> None:
        """Close the breaker: its probe has returned."""
        self._breaker.accept(self)

    def withdraw(self) -> None:
        """Let another call be the probe, if this one was, and has said nothing."""
        self._breaker.withdraw(self)


class Breaker:
    """The breaker of one function. Used from any thread."""

    def __init__(  # noqa: PLR0913, PLR0917 - what it watches, whom it asks, whom it tells
        self,
        settings: NifBreaker,
        plan: Plan,
        key: Key,
        on_change: Callable[[Plan], None],
        count_ended: Callable[[Key], Counts] | None = None,
        executor: str | None = None,
    ) -> None:
        self._executor = executor
        self.settings = settings
        self._hold = settings.hold_seconds
        self._count_ended = count_ended if settings.min_share else None
        self.key = key
        self.permit: Permit | None = Permit(self)  # None: open, or half open without a probe
        self.openings = 0
        self._plan = plan
        self._on_change = on_change
        self._state: State = "closed"
        self._until = 0.0
        self._crashes = 0
        self._held = 0
        self._window: Window[Counts | None] = Window(settings.max_seconds)
        self._lock = RLock()  # reentrant: a finalizer may make a call within

    def admit(self) -> Permit | None:
        """Return what a call begins with; None: it is held off."""
        with self._lock:
            is_due = self._state == "open" and self.settings.clock() >= self._until
            if is_due:
                self._state = "half_open"
            permit = self.permit
            if self._state == "half_open" and permit is None:
                permit = self.permit = Permit(self, is_probe=True)
            elif self._state != "closed":
                permit = None
                self._held += 1
        if is_due:
            self._log("breaker_half_open")
        return permit

    def count_crash(self, permit: Permit) -> None:
        """Count a crash of a call that began with `permit`; open if that is one too many."""
        # Not under the lock: whoever reads counts holds theirs, and may then want this one.
        ended = self._count_ended(self.key) if self._count_ended else None
        with self._lock:
            if permit is not self.permit:
                return
            now = self.settings.clock()
            within = self._window.add(now, ended)
            self._crashes = self._crashes + 1 if permit.is_probe else within
            if self._crashes < self.settings.max_crashes:
                return
            if not permit.is_probe and ended and not self._are_many(ended):
                self._window.drop_oldest()
                return
            if permit.is_probe and self.settings.max_hold_seconds is not None:
                self._hold = min(2 * self._hold, self.settings.max_hold_seconds)
            self._state = "open"
            self._until = now + self._hold
            self.permit = None
            self.openings += 1
        self._on_change(self._plan)
        self._log("breaker_opened", hold_seconds=self._hold, then=self.settings.then)

    def _are_many(self, ended: Counts) -> bool:
        """Whether enough of the calls that have ended within the window crashed."""
        oldest = self._window.history()[0] or ended
        calls, crashes = (now - then + 1 for now, then in zip(ended, oldest, strict=True))
        return crashes >= max(self.settings.max_crashes, self.settings.min_share * calls)

    def accept(self, permit: Permit) -> None:
        """Close: the probe that began with `permit` has returned."""
        with self._lock:
            if permit is not self.permit:
                return
            self._close()
        self._log("breaker_closed", reason="its probe returned")

    def withdraw(self, permit: Permit) -> None:
        """Let another call be the probe."""
        with self._lock:
            if permit.is_probe and permit is self.permit:
                self.permit = None

    def reset(self) -> None:
        """Close, and forget all crashes."""
        with self._lock:
            was_closed = self._state == "closed"
            self._close()
        self._on_change(self._plan)
        if not was_closed:
            self._log("breaker_closed", reason="it was reset")

    def _close(self) -> None:
        self._state = "closed"
        self.permit = Permit(self)
        self._crashes = 0
        self._hold = self.settings.hold_seconds
        self._window.clear()

    def statistics(self) -> BreakerStatistics:
        """Return what it is doing now."""
        with self._lock:
            now = self.settings.clock()
            is_over = self._state == "open" and now >= self._until
            is_closed = self._state == "closed"
            return BreakerStatistics(
                function=self.key[0],
                library=self.key[1],
                state="half_open" if is_over else self._state,
                crashes=self._window.count(now) if is_closed else self._crashes,
                openings=self.openings,
                held=self._held,
                seconds_left=max(self._until - now, 0.0) if self._state == "open" else 0.0,
            )

    def _log(self, event: str, **fields: Any) -> None:
        where = {"function": self._plan.name, "library": self._plan.library}
        warn(event, **where, executor=self._executor, crashes=self._crashes, **fields)


class Breakers:
    """The breakers of one executor: one for each function and setting."""

    def __init__(self, executor: str | None = None) -> None:
        self._executor = executor
        self._breakers: dict[tuple[object, NifBreaker], Breaker] = {}
        self._is_over = False

    def find(
        self,
        settings: NifBreaker,
        plan: Plan,
        key: Key,
        on_change: Callable[[Plan], None],
        count_ended: Callable[[Key], Counts] | None = None,
    ) -> Breaker:
        """Return the breaker of a function; key: what it is counted under, by `count_ended` too."""
        breaker = self._breakers.get((plan.identity, settings))
        if breaker is None:  # of two threads that come here at once, both get what the first made
            new = Breaker(settings, plan, key, on_change, count_ended, self._executor)
            breaker = self._breakers.setdefault((plan.identity, settings), new)
        return breaker

    def reset(self, plan: Plan | None) -> None:
        """Close those of a function, or all of them."""
        for (identity, _), breaker in list(self._breakers.items()):
            if plan is None or identity == plan.identity:
                breaker.reset()

    def statistics(self) -> tuple[BreakerStatistics, ...]:
        """Return what they are doing now, by function."""
        found = [breaker.statistics() for breaker in list(self._breakers.values())]
        return tuple(sorted(found, key=lambda each: (each.function, str(each.library))))

    def end(self) -> None:
        """Note that nothing is called here any more: what is left is how often they have opened."""
        self._is_over = True

    def totals(self) -> dict[Key, Counter[str]]:
        """Return how many are in each state, and "openings", by what they are counted under."""
        found: dict[Key, Counter[str]] = {}
        for breaker in list(self._breakers.values()):
            counts = found.setdefault(breaker.key, Counter())
            counts["openings"] += breaker.openings
            if not self._is_over:
                counts[breaker.statistics().state] += 1
        return found
