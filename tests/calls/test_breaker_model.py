"""The breaker alone, on a clock the tests set: what it lets through, in whatever order."""

from __future__ import annotations

import threading
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from aionif import NifBreaker
from aionif.calls.breakers import Breaker, Breakers
from tests.support.supervising import Clock

if TYPE_CHECKING:
    from aionif.calls.breakers import Permit

PLAN: Any = SimpleNamespace(name="f", library=None, identity=1)


def breaker_on(clock: Clock, **settings: Any) -> Breaker:
    settings = {"max_crashes": 2, "max_seconds": 10.0, "hold_seconds": 5.0} | settings
    return Breaker(NifBreaker(clock=clock, **settings), PLAN, ("f", None), lambda _plan: None)


def opened(clock: Clock) -> Breaker:
    breaker = breaker_on(clock, max_crashes=1)
    admitted(breaker).crashed()
    return breaker


def admitted(breaker: Breaker) -> Permit:
    permit = breaker.admit()
    assert permit is not None
    return permit


def state(breaker: Breaker) -> str:
    return breaker.statistics().state


def test_it_opens_at_so_many_crashes() -> None:
    breaker = breaker_on(Clock())
    admitted(breaker).crashed()
    assert state(breaker) == "closed"
    admitted(breaker).crashed()
    assert state(breaker) == "open"
    assert breaker.admit() is None


def test_crashes_too_far_apart_do_not_open_it() -> None:
    clock = Clock()
    breaker = breaker_on(clock)
    for _ in range(5):
        admitted(breaker).crashed()
        assert breaker.statistics().crashes == 1
        clock.now += 10.01
    admitted(breaker).crashed()
    clock.now += 10.0  # just as old as the window is long: it counts
    admitted(breaker).crashed()
    assert state(breaker) == "open"


def test_one_probe_at_a_time_once_its_time_is_over() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 4.99
    assert (state(breaker), breaker.admit()) == ("open", None)
    assert breaker.statistics().seconds_left == pytest.approx(0.01)
    clock.now += 0.01
    assert state(breaker) == "half_open"
    probe = admitted(breaker)
    assert probe.is_probe
    assert breaker.admit() is breaker.admit() is None


def test_a_probe_that_returns_closes_it_and_forgets_the_crashes() -> None:
    clock = Clock()
    breaker = breaker_on(clock)
    for _ in range(2):
        admitted(breaker).crashed()
    clock.now += 5
    admitted(breaker).returned()
    assert state(breaker) == "closed"
    admitted(breaker).crashed()  # the first of a new count
    assert state(breaker) == "closed"


def test_a_probe_that_crashes_opens_it_for_as_long_again() -> None:
    clock = Clock()
    breaker = opened(clock)
    for crashes in (2, 3):
        clock.now += 5
        admitted(breaker).crashed()
        now = breaker.statistics()
        assert (now.state, now.crashes, now.openings) == ("open", crashes, crashes)
        assert now.seconds_left == 5.0


def test_a_probe_without_a_verdict_makes_room_for_another() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 5
    for _ in range(3):
        probe = admitted(breaker)
        assert breaker.admit() is None
        probe.withdraw()
        probe.withdraw()  # harmless
    assert state(breaker) == "half_open"
    admitted(breaker).returned()
    assert state(breaker) == "closed"


def test_crashes_of_calls_under_way_when_it_opened_do_not_count_later() -> None:
    clock = Clock()
    breaker = breaker_on(clock, max_crashes=1)
    before = admitted(breaker)
    before.crashed()
    clock.now += 4
    before.crashed()  # while it is open: no longer for that
    clock.now += 1
    probe = admitted(breaker)
    before.crashed()  # during the probe: that one decides
    assert state(breaker) == "half_open"
    probe.returned()
    before.crashed()  # after it: of a time gone by
    assert (state(breaker), breaker.statistics().openings) == ("closed", 1)


def test_a_reset_closes_it_and_overtakes_a_probe() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 5
    probe = admitted(breaker)
    breaker.reset()
    assert state(breaker) == "closed"
    probe.crashed()
    probe.withdraw()
    assert state(breaker) == "closed"
    assert admitted(breaker).holds()


def test_what_was_held_off_is_counted() -> None:
    breaker = opened(Clock())
    for _ in range(3):
        breaker.admit()
    assert breaker.statistics().held == 3


def test_it_may_be_held_for_good() -> None:
    clock = Clock()
    breaker = breaker_on(clock, max_crashes=1, hold_seconds=float("inf"))
    admitted(breaker).crashed()
    clock.now = 1e12
    assert breaker.admit() is None


def test_each_setting_and_function_has_its_own() -> None:
    breakers, clock = Breakers(), Clock()
    other: Any = SimpleNamespace(name="g", library=None, identity=2)
    one, two = NifBreaker(clock=clock), NifBreaker(clock=clock, max_crashes=1)

    def find(settings: NifBreaker, plan: Any) -> Breaker:
        return breakers.find(settings, plan, (plan.name, None), lambda _plan: None)

    assert find(one, PLAN) is find(NifBreaker(clock=clock), PLAN)
    assert len({id(find(settings, plan)) for settings in (one, two) for plan in (PLAN, other)}) == 4
    admitted(find(two, PLAN)).crashed()
    assert breakers.totals()["f", None] == {"closed": 1, "open": 1, "openings": 1}
    breakers.reset(PLAN)
    assert breakers.totals()["f", None] == {"closed": 2, "openings": 1}
    breakers.end()
    assert breakers.totals()["f", None] == {"openings": 1}, "a count must not go down"


def test_one_of_many_threads_is_the_probe() -> None:
    clock = Clock()
    breaker = opened(clock)
    clock.now += 5
    probes: list[Permit] = []
    start = threading.Barrier(8, timeout=30)

    def ask() -> None:
        start.wait()
        for _ in range(200):
            permit = breaker.admit()
            if permit is not None:
                probes.append(permit)

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len(probes) == 1
    assert breaker.statistics().held == 8 * 200 - 1


class Calls:
    """Calls of the function, as the core counts them, told to a breaker when they have ended."""

    def __init__(self, clock: Clock, **settings: Any) -> None:
        settings = {"max_crashes": 10, "min_share": 0.5, "hold_seconds": 5.0} | settings
        made = NifBreaker(clock=clock, **settings)
        self.counts = (0, 0)
        self.breaker = Breaker(made, PLAN, ("f", None), lambda _plan: None, lambda _: self.counts)

    def end(self, returned: int, crashed: int) -> None:
        """Have so many end before anyone is told."""
        permit = self.breaker.admit()
        calls, crashes = self.counts
        self.counts = (calls + returned + crashed, crashes + crashed)
        for _ in range(crashed):
            if permit is not None:
                permit.crashed()


@pytest.mark.parametrize("returned", [2, 9, 99])
def test_a_small_share_of_crashes_does_not_open_it(returned: int) -> None:
    calls = Calls(Clock())
    for _ in range(100):
        calls.end(returned, 1)
    assert state(calls.breaker) == "closed"
    for _ in range(10):
        calls.end(10 * returned, 10)  # in bursts, of which the crashes are told together
    assert state(calls.breaker) == "closed"


@pytest.mark.parametrize(("returned", "crashed"), [(0, 1), (1, 1), (1, 3)])
def test_a_large_share_of_crashes_opens_it(returned: int, crashed: int) -> None:
    calls = Calls(Clock())
    calls.end(1000, 0)  # what was before the first crash does not count
    for _ in range(10):
        calls.end(returned, crashed)
    assert state(calls.breaker) == "open"


def test_it_opens_when_the_share_grows() -> None:
    calls = Calls(Clock())
    for _ in range(100):
        calls.end(9, 1)
    assert state(calls.breaker) == "closed"
    for _ in range(10):
        calls.end(0, 1)
    assert state(calls.breaker) == "open"


def test_bursts_of_crashes_alone_open_it() -> None:
    calls = Calls(Clock())
    for _ in range(2):
        calls.end(0, 50)
    assert state(calls.breaker) == "open"


def test_crashes_of_a_share_that_lie_apart_do_not_open_it() -> None:
    clock = Clock()
    calls = Calls(clock, max_seconds=60.0)
    for _ in range(50):
        calls.end(0, 1)
        clock.now += 7.0
    assert state(calls.breaker) == "closed"


def test_holds_grow_up_to_a_bound_and_start_anew() -> None:
    clock = Clock()
    breaker = breaker_on(clock, max_crashes=1, hold_seconds=1.0, max_hold_seconds=5.0)
    for _ in range(2):
        for hold in (1.0, 2.0, 4.0, 5.0, 5.0):
            admitted(breaker).crashed()
            assert breaker.statistics().seconds_left == pytest.approx(hold)
            clock.now += hold
        admitted(breaker).returned()
        assert state(breaker) == "closed"


class _Calls(RuleBasedStateMachine):
    """Calls that begin, end in every way and at any time, while the clock goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.breaker = breaker_on(self.clock)
        self.under_way: list[Permit] = []

    @rule(seconds=st.floats(0, 8))
    def wait(self, seconds: float) -> None:
        self.clock.now += seconds

    @rule()
    def begin(self) -> None:
        before = state(self.breaker)
        probes = [permit for permit in self.under_way if permit.is_probe and permit.holds()]
        permit = self.breaker.admit()
        if before == "closed":
            assert permit is not None
            assert not permit.is_probe
        elif before == "open" or probes:
            assert permit is None
        else:
            assert permit is not None, "the place of the probe has leaked"
            assert permit.is_probe
        if permit is not None:
            self.under_way.append(permit)

    @rule(data=st.data(), how=st.sampled_from(("crashed", "returned", "cancelled")))
    def end(self, data: Any, how: str) -> None:
        if not self.under_way:
            return
        permit = self.under_way.pop(data.draw(st.integers(0, len(self.under_way) - 1)))
        held, before = permit.holds(), state(self.breaker)
        if how == "crashed":
            permit.crashed()
        if how == "returned" and permit.is_probe:
            permit.returned()
        if how != "returned":
            permit.withdraw()
        if not held:
            assert state(self.breaker) == before, "a call from before has changed something"
        elif permit.is_probe:
            after = {"crashed": "open", "returned": "closed", "cancelled": "half_open"}
            assert state(self.breaker) == after[how]

    @rule()
    def reset(self) -> None:
        self.breaker.reset()
        assert state(self.breaker) == "closed"

    @invariant()
    def at_most_one_probe_is_under_way(self) -> None:
        probes = [permit for permit in self.under_way if permit.is_probe and permit.holds()]
        assert len(probes) <= 1
        assert not probes or state(self.breaker) == "half_open"

    @invariant()
    def below_so_many_crashes_it_stays_closed(self) -> None:
        now = self.breaker.statistics()
        assert (now.crashes >= 2) == (now.state != "closed")


TestCalls = _Calls.TestCase
TestCalls.settings = hypothesis_settings(deadline=None, max_examples=100)
