"""A model of the lane between a parent and a worker process that may die at any step.

Every order of the atomic steps of both sides is tried, with a death after each of the worker's. In
the model, as in csrc/lane.h, the only thing that both sides write is a record's state.

What must hold whatever happens: each call ends once, by returning or by being lost; none runs
twice; what has returned has run; each death loses at most the one call that was running.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, TypeVar

import pytest

if TYPE_CHECKING:
    from collections.abc import Iterator

FREE, QUEUED, RUNNING, FINISHED, WITHDRAWN, PASSED = range(6)
SLOTS, DEATHS, WITHDRAWALS = 2, 2, 1

Item = TypeVar("Item")
Record = tuple[int, int]  # state, call


class World(NamedTuple):
    """All that there is; the worker's part is what it knows by itself, and whether it lives."""

    records: tuple[Record, ...]
    books: tuple[int, ...]  # the parent's: the call in each slot, or -1
    submitted: int = 0
    collected: int = 0
    pending: tuple[int, ...] = ()
    ran: tuple[int, ...] = ()
    ended: tuple[str, ...] = ()
    alive: bool = True
    cursor: int = 0
    doing: str = "looking"  # or what it has decided to do with the record at its cursor
    taking: int = -1  # the parent is about to kill: the position it looks at next
    signalled: bool = False
    known: bool = False  # to be dead
    deaths: int = 0
    withdrawals: int = 0


def start(calls: int) -> World:
    nothing = ((FREE, -1),) * SLOTS
    return World(
        nothing, (-1,) * SLOTS, pending=tuple(range(calls)), ran=(0,) * calls, ended=("",) * calls
    )


def put(items: tuple[Item, ...], index: int, item: Item) -> tuple[Item, ...]:
    return (*items[:index], item, *items[index + 1 :])


def set_state(world: World, position: int, state: int) -> World:
    slot = position % SLOTS
    return world._replace(records=put(world.records, slot, (state, world.records[slot][1])))


# ---- the worker: one atomic step each ----


def worker_steps(world: World) -> Iterator[World]:
    if not world.alive:
        return
    if world.deaths < DEATHS or world.signalled:
        yield world._replace(alive=False)
    state, call = world.records[world.cursor % SLOTS]
    if world.doing == "looking":
        if state == QUEUED:
            yield world._replace(doing="claiming")
        elif state == WITHDRAWN:
            yield set_state(world, world.cursor, PASSED)._replace(cursor=world.cursor + 1)
    elif world.doing == "claiming":  # a compare-and-swap
        if state == QUEUED:
            yield set_state(world, world.cursor, RUNNING)._replace(doing="running")
        else:
            yield world._replace(doing="looking")
    elif world.doing == "running":
        yield world._replace(ran=put(world.ran, call, world.ran[call] + 1), doing="publishing")
    else:
        done = set_state(world, world.cursor, FINISHED)
        yield done._replace(doing="looking", cursor=world.cursor + 1)


# ---- the parent: its lock makes its own steps one after another, not the worker's ----


def parent_steps(world: World) -> Iterator[World]:
    if world.taking >= 0:
        yield from taking_back(world)
        return
    if (
        world.pending
        and world.submitted - world.collected < SLOTS
        and not (world.signalled or world.known)
    ):
        yield submit(world)
    if world.collected != world.submitted:
        yield from collect(world)
        if world.alive and not world.signalled and world.withdrawals < WITHDRAWALS:
            for position in range(world.collected, world.submitted):
                yield withdraw(world, position)._replace(withdrawals=world.withdrawals + 1)
        if world.alive and not world.signalled and world.deaths < DEATHS:
            yield world._replace(taking=world.submitted)
    elif not world.alive:  # buried: a spare has its place, with a lane of its own
        fresh = start(0)
        yield fresh._replace(
            pending=world.pending,
            ran=world.ran,
            ended=world.ended,
            deaths=world.deaths + 1,
            withdrawals=world.withdrawals,
        )


def submit(world: World) -> World:
    slot, call = world.submitted % SLOTS, world.pending[0]
    return world._replace(
        records=put(world.records, slot, (QUEUED, call)),
        books=put(world.books, slot, call),
        submitted=world.submitted + 1,
        pending=world.pending[1:],
    )


def withdraw(world: World, position: int) -> World:
    slot = position % SLOTS
    if world.records[slot][0] != QUEUED or world.books[slot] < 0:
        return world
    back = set_state(world, position, WITHDRAWN)
    return back._replace(
        books=put(world.books, slot, -1), pending=(world.books[slot], *world.pending)
    )


def taking_back(world: World) -> Iterator[World]:
    """Queued records first, from the last; then the signal, which arrives when it arrives."""
    position = world.taking - 1
    if position >= world.collected:
        yield withdraw(world, position)._replace(taking=position)
    else:
        yield world._replace(taking=-1, signalled=True)


def collect(world: World) -> Iterator[World]:
    slot = world.collected % SLOTS
    state, call = world.records[slot][0], world.books[slot]
    dead = not world.alive
    gone = world._replace(
        records=put(world.records, slot, (FREE, -1)),
        books=put(world.books, slot, -1),
        collected=world.collected + 1,
    )
    if state == FINISHED and call >= 0:
        yield end(gone, call, "returned")
    elif state == PASSED:
        yield gone
    elif dead and call < 0:
        yield gone._replace(known=True)
    elif dead and state == QUEUED:
        yield withdraw(world, world.collected)._replace(known=True)
    elif dead:
        yield end(gone, call, "lost")._replace(known=True)


def end(world: World, call: int, how: str) -> World:
    assert not world.ended[call], "a call ended twice"
    return world._replace(ended=put(world.ended, call, how))


# ---- all of it ----


def check(world: World) -> None:
    assert max(world.ran) <= 1, "a call ran twice"
    for ran, ended in zip(world.ran, world.ended, strict=True):
        assert ended != "returned" or ran == 1, "a call returned that never ran"
    assert world.ended.count("lost") <= world.deaths + (not world.alive), "a death lost two calls"


@pytest.mark.parametrize("calls", [1, 2, 3])
def test_every_order_of_steps(calls: int) -> None:
    first = start(calls)
    seen, todo, ends = {first}, [first], 0
    while todo:
        world = todo.pop()
        check(world)
        following = {*worker_steps(world), *parent_steps(world)} - {world}
        if all(world.ended):
            ends += 1
        else:
            assert following, f"stuck: {world}"
        for step in following - seen:
            seen.add(step)
            todo.append(step)
    assert ends
    assert len(seen) > 50 * calls
