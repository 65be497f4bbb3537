"""A model of how an event loop hears of calls that have ended: workers, the port's queue, its bell.

Every order of the steps of csrc/lanes/collect.c and of `aionif__lane_publish` is tried. Workers
publish and ring where the bell is armed; the watchdog collects and rings likewise, under the lock;
the loop takes so many events at a time, and sleeps on the bell's descriptor. What the core itself
has to say (a zygote is wanted) may come at any time, also before the loop has looked for the first
time; and no call may be able to run before the loop has heard it.

What must hold: when nothing more happens, the loop was told of every call; and it does not spin
over a descriptor that stays readable. The rules that once were wrong show that the model sees both.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

UNDER_THE_LOCK = ("taking", "arming", "taking again")


class Rules(NamedTuple):
    """How the core does it; `calls_need_news`: no call runs before the loop has heard them."""

    arms_only_when_empty: bool = True  # else: whenever no call is under way any more
    opens_armed: bool = True  # else: the first call arms the bell
    writes_before_it_says_so: bool = True
    calls_need_news: bool = False


class World(NamedTuple):
    """All that there is.

    workers: each has one call: "new", "waiting", "running", "published", "ringing", "half rung",
        "done".
    loop: "asleep", "due" (it is to look), "reading", then as under the lock.
    """

    workers: tuple[str, ...]
    collected: tuple[bool, ...]
    queue: int = 0
    told: int = 0
    given: int = 0  # events that the loop was given in this look
    loop: str = "asleep"
    watchdog: str = "idle"
    has_news: bool = True  # of the core itself
    armed: bool = True
    readable: bool = False
    rung: bool = False


def ring(world: World, rules: Rules, stage: str) -> tuple[World, str]:
    """One of two steps, in either order: the descriptor is written; the flag says so."""
    writes = (stage == "ringing") == rules.writes_before_it_says_so
    rung = world._replace(readable=True) if writes else world._replace(rung=True)
    return rung, "half rung" if stage == "ringing" else "done"


def worker_steps(world: World, rules: Rules, index: int) -> Iterator[World]:
    stage = world.workers[index]
    if stage == "new":
        after, stage = world, "waiting"
        if not rules.opens_armed and world.loop == "asleep":
            after = world._replace(armed=True)
    elif stage == "waiting":
        if rules.calls_need_news and not world.told:
            return
        after, stage = world, "running"
    elif stage == "running":
        after, stage = world, "published"
    elif stage == "published":  # an exchange, if it saw the bell armed
        after, stage = world._replace(armed=False), "ringing" if world.armed else "done"
    elif stage != "done":
        after, stage = ring(world, rules, stage)
    else:
        return
    workers = (*world.workers[:index], stage, *world.workers[index + 1 :])
    yield after._replace(workers=workers)


def collect(world: World) -> World:
    ended = tuple(stage not in {"new", "waiting", "running"} for stage in world.workers)
    new = sum(ended) - sum(world.collected)
    return world._replace(collected=ended, queue=world.queue + new)


def watchdog_steps(world: World, rules: Rules) -> Iterator[World]:
    if world.watchdog == "idle":
        tells = [collect(world)]
        if world.has_news:
            tells.append(world._replace(has_news=False, queue=world.queue + 1))
        for after in tells:
            if after != world and world.loop not in UNDER_THE_LOCK:
                yield after._replace(armed=False, watchdog="ringing" if world.armed else "idle")
    else:
        after, stage = ring(world, rules, world.watchdog)
        yield after._replace(watchdog="idle" if stage == "done" else stage)


def take(world: World, rules: Rules, room: int, otherwise: str) -> World:
    world = collect(world)
    count = min(world.queue, room)
    world = world._replace(queue=world.queue - count, told=world.told + count, given=count)
    looks_again = count > 0 and not all(world.collected)
    if rules.arms_only_when_empty:
        looks_again |= world.queue > 0
    return world._replace(loop="due" if looks_again else otherwise)


def loop_steps(world: World, rules: Rules, room: int) -> Iterator[World]:
    if world.loop == "asleep" and world.readable:
        yield world._replace(loop="due")
    elif world.loop == "due":
        yield world._replace(rung=False, loop="reading" if world.rung else "locking")
    elif world.loop == "reading":
        yield world._replace(readable=False, loop="locking")
    elif world.loop == "locking" and world.watchdog == "idle":
        yield world._replace(loop="taking")
    elif world.loop == "taking":
        yield take(world, rules, room, "arming")
    elif world.loop == "arming":
        yield world._replace(armed=True, loop="asleep" if world.given else "taking again")
    elif world.loop == "taking again":
        yield take(world, rules, room, "asleep")


def check(world: World) -> None:
    rests = world.loop == "asleep" and world.watchdog == "idle"
    over = all(stage == "done" for stage in world.workers)
    assert not (rests and over and world.readable and not world.rung), "the loop spins"


def explore(calls: int, room: int, rules: Rules) -> int:
    first = World(("new",) * calls, (False,) * calls, armed=rules.opens_armed)
    seen, todo = {first}, [first]
    while todo:
        world = todo.pop()
        check(world)
        following = {*watchdog_steps(world, rules), *loop_steps(world, rules, room)}
        for index in range(calls):
            following.update(worker_steps(world, rules, index))
        if not following:
            assert world.told == calls + 1, f"forgotten: {world}"
        todo.extend(following - seen)
        seen |= following
    return len(seen)


@pytest.mark.parametrize("room", [1, 2, 4])
@pytest.mark.parametrize("calls", [1, 2, 3])
def test_every_order_of_steps(calls: int, room: int) -> None:
    assert explore(calls, room, Rules()) > 20
    assert explore(calls, room, Rules(calls_need_news=True)) > 20


@pytest.mark.parametrize(
    ("rules", "complaint"),
    [
        (Rules(arms_only_when_empty=False), "forgotten"),
        (Rules(opens_armed=False, calls_need_news=True), "forgotten"),
        (Rules(writes_before_it_says_so=False), "spins"),
    ],
)
def test_the_model_sees_what_a_wrong_rule_does(rules: Rules, complaint: str) -> None:
    with pytest.raises(AssertionError, match=complaint):
        explore(3, 1, rules)
