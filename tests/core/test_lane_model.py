"""A model of lanes between a parent and worker processes that may die at any step.

Every order of the atomic steps of both sides is tried: workers that are still starting, spares,
ones that were replaced and whose death is not known yet, a submitter that watches its record
without the lock, and a zygote that is lost with all of its workers. In the model, as in
csrc/lanes/lane.h, the only thing that both sides write is a record's state.

What must hold whatever happens: each call ends once, by returning or by being lost; none runs
twice; what has returned has run; each death loses at most the one call that was running; and no
state is a dead end. The rules that once were wrong show that the model sees what it is for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

FREE, QUEUED, RUNNING, FINISHED, WITHDRAWN, PASSED = range(6)
SLOTS, LANES = 2, 3

Item = TypeVar("Item")
Record = tuple[int, int, bool]  # state, call, watched


class Lane(NamedTuple):
    """A lane and the worker at its other end.

    place: "pool", "spare", "doomed" (replaced; here until its death is known and its calls ended).
    process: "ordered" (it does not run yet), "serving", "dead".
    """

    place: str = "pool"
    process: str = "ordered"
    records: tuple[Record, ...] = ((FREE, -1, False),) * SLOTS
    books: tuple[int, ...] = (-1,) * SLOTS  # the parent's: the call in each slot, or -1
    submitted: int = 0
    collected: int = 0
    cursor: int = 0
    doing: str = "looking"  # or what the worker has decided to do with the record at its cursor
    claimed: int = -1  # the call that it runs
    taking: int = -1  # it is being retired: the position that is looked at next
    signalled: bool = False
    known: bool = False  # to be dead


class Budget(NamedTuple):
    """How often what is not bounded by itself may still happen."""

    deaths: int = 1
    withdrawals: int = 1
    retirements: int = 1
    watches: int = 1
    zygotes: int = 1
    spares: int = 1


class World(NamedTuple):
    """All that there is."""

    lanes: tuple[Lane, ...] = ()
    pending: tuple[int, ...] = ()
    ran: tuple[int, ...] = ()
    ended: tuple[str, ...] = ()
    watching: int = -1  # the call whose submitter looks at its record
    deaths: int = 0  # that were told so far
    left: Budget = Budget()


class Rules(NamedTuple):
    """What the parent does. Each was once not so, and calls waited for ever, or ran twice."""

    takes_back_what_was_watched: bool = True
    waits_for_deaths: bool = True  # of workers whose zygote is lost
    keeps_withdrawn_records: bool = True


def put(items: tuple[Item, ...], index: int, item: Item) -> tuple[Item, ...]:
    return (*items[:index], item, *items[index + 1 :])


def with_lane(world: World, index: int, lane: Lane | None) -> World:
    lanes = world.lanes[:index] + (() if lane is None else (lane,)) + world.lanes[index + 1 :]
    return world._replace(lanes=lanes)


def set_state(lane: Lane, position: int, state: int) -> Lane:
    slot = position % SLOTS
    _, call, watched = lane.records[slot]
    watched = watched and state == RUNNING
    return lane._replace(records=put(lane.records, slot, (state, call, watched)))


def spend(world: World, **what: int) -> World:
    left = {name: getattr(world.left, name) - count for name, count in what.items()}
    return world._replace(left=world.left._replace(**left))


# ---- a worker: one atomic step each ----


def worker_steps(world: World, index: int) -> Iterator[World]:
    lane = world.lanes[index]
    if lane.process == "dead":
        return
    if lane.signalled or world.left.deaths:
        dead = with_lane(world, index, lane._replace(process="dead"))
        yield dead if lane.signalled else spend(dead, deaths=1)
    if lane.process == "ordered":
        yield with_lane(world, index, lane._replace(process="serving"))
        return
    state, call, _ = lane.records[lane.cursor % SLOTS]
    if lane.doing == "looking":
        if state == QUEUED:
            yield with_lane(world, index, lane._replace(doing="claiming"))
        elif state == WITHDRAWN:
            passed = set_state(lane, lane.cursor, PASSED)
            yield with_lane(world, index, passed._replace(cursor=lane.cursor + 1))
    elif lane.doing == "claiming":  # a compare-and-swap
        if state == QUEUED:
            lane = set_state(lane, lane.cursor, RUNNING)._replace(doing="running", claimed=call)
        else:
            lane = lane._replace(doing="looking")
        yield with_lane(world, index, lane)
    elif lane.doing == "running":
        ran = put(world.ran, lane.claimed, world.ran[lane.claimed] + 1)
        yield with_lane(world, index, lane._replace(doing="publishing"))._replace(ran=ran)
    else:
        done = set_state(lane, lane.cursor, FINISHED)
        yield with_lane(world, index, done._replace(doing="looking", cursor=lane.cursor + 1))


# ---- the parent: its lock makes its own steps one after another, not the workers' ----


def parent_steps(world: World, rules: Rules) -> Iterator[World]:
    for index, lane in enumerate(world.lanes):
        if lane.taking >= 0:  # under the lock: nothing else of the parent comes in between
            yield retire(world, index)
            return
    yield from staff(world)
    if world.left.zygotes and world.lanes:
        yield lose_zygote(world, rules)
    for index, lane in enumerate(world.lanes):
        if lane.collected != lane.submitted:
            yield from collect(world, index, rules)
        if lane.place == "pool":
            yield from lane_steps(world, index)
        if lane.process == "dead" and not lane.known:
            yield know(world, index)
        if lane.place == "doomed":
            yield from bury(world, index, rules)


def staff(world: World) -> Iterator[World]:
    """A call that waits gets a worker: the spare, or one that is ordered. And a spare is kept."""
    places = [lane.place for lane in world.lanes]
    if world.pending and "pool" not in places:
        if "spare" in places:
            index = places.index("spare")
            yield with_lane(world, index, world.lanes[index]._replace(place="pool"))
        elif len(places) < LANES:
            yield world._replace(lanes=(*world.lanes, Lane()))
    if world.left.spares and "spare" not in places and len(places) < LANES:
        yield spend(world._replace(lanes=(*world.lanes, Lane(place="spare"))), spares=1)


def lose_zygote(world: World, rules: Rules) -> World:
    """Its workers die with it, and who had not started never will."""
    for index, lane in enumerate(world.lanes):
        lost = lane._replace(signalled=True)
        if lane.process == "ordered":
            lost = lost._replace(process="dead")
        world = with_lane(world, index, lost)
        if not (rules.waits_for_deaths or lane.known):
            world = know(world, index)
    return spend(world, zygotes=1)


def know(world: World, index: int) -> World:
    known = with_lane(world, index, world.lanes[index]._replace(known=True))
    return known._replace(deaths=world.deaths + 1)


def lane_steps(world: World, index: int) -> Iterator[World]:
    lane = world.lanes[index]
    serves = not (lane.signalled or lane.known)
    if world.pending and lane.submitted - lane.collected < SLOTS and serves:
        yield submit(world, index, watched=False)
        if world.left.watches and lane.submitted == lane.collected and world.watching < 0:
            yield spend(submit(world, index, watched=True), watches=1)
    if world.left.withdrawals and serves:
        for position in range(lane.collected, lane.submitted):
            yield spend(withdraw(world, index, position), withdrawals=1)
    if lane.known:
        yield with_lane(world, index, lane._replace(taking=lane.submitted))
    elif world.left.retirements and not lane.signalled:
        started = lane._replace(taking=lane.submitted)
        yield spend(with_lane(world, index, started), retirements=1)


def submit(world: World, index: int, *, watched: bool) -> World:
    lane, call = world.lanes[index], world.pending[0]
    slot = lane.submitted % SLOTS
    lane = lane._replace(
        records=put(lane.records, slot, (QUEUED, call, watched)),
        books=put(lane.books, slot, call),
        submitted=lane.submitted + 1,
    )
    world = with_lane(world, index, lane)._replace(pending=world.pending[1:])
    return world._replace(watching=call) if watched else world


def withdraw(world: World, index: int, position: int) -> World:
    """Unless the worker was quicker, or a submitter watches it: a compare-and-swap."""
    lane = world.lanes[index]
    slot = position % SLOTS
    state, _, watched = lane.records[slot]
    if state != QUEUED or watched or lane.books[slot] < 0:
        return world
    back = set_state(lane, position, WITHDRAWN)
    back = back._replace(books=put(lane.books, slot, -1))
    return with_lane(world, index, back)._replace(pending=(lane.books[slot], *world.pending))


def retire(world: World, index: int) -> World:
    """Queued records first, from the last; then the signal, which arrives when it arrives."""
    lane = world.lanes[index]
    position = lane.taking - 1
    if position >= lane.collected:
        lane = lane._replace(taking=position)
        return withdraw(with_lane(world, index, lane), index, position)
    return with_lane(world, index, lane._replace(taking=-1, signalled=True, place="doomed"))


def collect(world: World, index: int, rules: Rules) -> Iterator[World]:
    lane = world.lanes[index]
    slot = lane.collected % SLOTS
    state, call = lane.records[slot][0], lane.books[slot]
    gone = lane._replace(
        records=put(lane.records, slot, (FREE, -1, False)),
        books=put(lane.books, slot, -1),
        collected=lane.collected + 1,
    )
    over = state == PASSED or (state == WITHDRAWN and not rules.keeps_withdrawn_records)
    if state == FINISHED and call >= 0:
        yield end(with_lane(world, index, gone), call, "returned")
    elif call < 0 and (over or lane.known):
        yield with_lane(world, index, gone)
    elif call >= 0 and lane.known and state != QUEUED:
        yield end(with_lane(world, index, gone), call, "lost")


def bury(world: World, index: int, rules: Rules) -> Iterator[World]:
    lane = world.lanes[index]
    if rules.takes_back_what_was_watched:
        for position in range(lane.collected, lane.submitted):
            yield withdraw(world, index, position)
    watched = world.watching >= 0 and world.watching in lane.books
    if lane.known and lane.collected == lane.submitted and not watched:
        yield with_lane(world, index, None)


def end(world: World, call: int, how: str) -> World:
    assert not world.ended[call], "a call ended twice"
    return world._replace(ended=put(world.ended, call, how))


def submitter_steps(world: World) -> Iterator[World]:
    """It gives up watching, at any moment: not under the lock."""
    if world.watching < 0:
        return
    for index, lane in enumerate(world.lanes):
        if world.watching in lane.books:
            slot = lane.books.index(world.watching)
            state, call, _ = lane.records[slot]
            lane = lane._replace(records=put(lane.records, slot, (state, call, False)))  # noqa: PLW2901
            yield with_lane(world, index, lane)._replace(watching=-1)
            return
    yield world._replace(watching=-1)


# ---- all of it ----


def check(world: World) -> None:
    assert max(world.ran) <= 1, "a call ran twice"
    for ran, ended in zip(world.ran, world.ended, strict=True):
        assert ended != "returned" or ran == 1, "a call returned that never ran"
    assert world.ended.count("lost") <= world.deaths, "a death lost two calls"


def steps(world: World, rules: Rules) -> set[World]:
    following = {*parent_steps(world, rules), *submitter_steps(world)}
    for index in range(len(world.lanes)):
        following.update(worker_steps(world, index))
    return following - {world}


def explore(calls: int, rules: Rules, left: Budget) -> int:
    """Return how many states there are; fail where one breaks a rule or leads nowhere."""
    first = World(pending=tuple(range(calls)), ran=(0,) * calls, ended=("",) * calls, left=left)
    seen, todo, ends = {first}, [first], 0
    while todo:
        world = todo.pop()
        check(world)
        if all(world.ended):
            ends += 1
            continue
        following = steps(world, rules)
        assert following, f"stuck: {world}"
        todo.extend(following - seen)
        seen |= following
    assert ends
    return len(seen)


NONE = Budget(deaths=0, withdrawals=0, retirements=0, watches=0, zygotes=0, spares=0)

SCENES = {
    "a worker dies": (3, NONE._replace(deaths=1)),
    "a worker dies as its submitter watches": (3, NONE._replace(deaths=1, watches=1)),
    "a spare takes the place": (2, NONE._replace(deaths=1, watches=1, spares=1)),
    "a worker is retired": (3, NONE._replace(retirements=1, watches=1)),
    "a call is withdrawn and a worker retired": (3, NONE._replace(withdrawals=1, retirements=1)),
    "the zygote is lost": (3, NONE._replace(watches=1, zygotes=1)),
    "the zygote is lost with a spare": (1, NONE._replace(watches=1, zygotes=1, spares=1)),
}


@pytest.mark.parametrize(("calls", "left"), SCENES.values(), ids=SCENES.keys())
def test_every_order_of_steps(calls: int, left: Budget) -> None:
    assert explore(calls, Rules(), left) > 100


@pytest.mark.parametrize(
    ("rules", "complaint"),
    [
        (Rules(takes_back_what_was_watched=False), "stuck"),
        (Rules(waits_for_deaths=False), "lost two calls"),
        (Rules(keeps_withdrawn_records=False), "twice|never ran|stuck"),
    ],
)
def test_the_model_sees_what_a_wrong_rule_does(rules: Rules, complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        for calls, left in SCENES.values():
            explore(calls, rules, left)
