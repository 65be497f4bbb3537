"""Times that come whether or not the program is ready for them: an open loop.

A timerfd is set to the next time of a schedule and watched by the event loop, so a time reaches
the program as a request on a socket does: the kernel makes a descriptor readable and wakes the
loop, from sleep if it sleeps. A second process that writes to a pipe would be one more runnable
thread on the cores that are measured, and would wake late itself; `loop.call_at` rounds to
milliseconds.

What is due is told the time of the schedule, not of when the loop got round to it: an arrival that
finds the loop busy has waited all the same. Leaving that out is what Gil Tene calls coordinated
omission ("How NOT to Measure Latency", 2013).
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from typing import TYPE_CHECKING, Any

import anyio
import cffi

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Timer", "at_times", "poisson", "steady")

_ffi = cffi.FFI()
_ffi.cdef("""
struct timespec { long tv_sec; long tv_nsec; };
struct itimerspec { struct timespec it_interval; struct timespec it_value; };
int timerfd_create(int clock, int flags);
int timerfd_settime(int fd, int flags, const struct itimerspec *time, struct itimerspec *old);
""")
_libc: Any = _ffi.dlopen(None)
_settime = _libc.timerfd_settime

_MONOTONIC = 1
_ABSOLUTE = 1
_HEAD_START = 5_000_000  # nanoseconds before the first time


class Timer:
    """A descriptor that becomes readable at each time of a schedule, once it is set to it.

    schedule: nanoseconds of CLOCK_MONOTONIC. The settings are made beforehand, so that to go on to
    the next time costs one system call and no more Python than that takes.

    Raises OSError if there are no descriptors left.
    """

    def __init__(self, schedule: list[int]) -> None:
        self.descriptor: int = _libc.timerfd_create(_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        if self.descriptor < 0:
            raise OSError(_ffi.errno, "timerfd_create failed")
        settings = [((0, 0), divmod(when, 1_000_000_000)) for when in schedule]
        self._settings = _ffi.new("struct itimerspec[]", settings)

    def set(self, position: int) -> None:
        """Wake at the time at this place of the schedule; at once if it has passed."""
        _settime(self.descriptor, _ABSOLUTE, self._settings + position, _ffi.NULL)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self.descriptor)


def poisson(rate: float, count: int) -> list[int]:
    """Return times as independent clients come: `rate` a second on average, from now on.

    The gaps are the same for every subject.
    """
    draw = random.Random(rate)  # noqa: S311 - no secret
    times, at = [], float(time.monotonic_ns() + _HEAD_START)
    for _ in range(count):
        at += draw.expovariate(rate) * 1e9
        times.append(int(at))
    return times


def steady(gap: float, count: int) -> list[int]:
    """Return times that are `gap` seconds apart, from now on."""
    start = time.monotonic_ns() + _HEAD_START
    return [start + round(turn * gap * 1e9) for turn in range(count)]


async def at_times(schedule: list[int], action: Callable[[int], object]) -> None:
    """Call `action(time)` for each time once it has come, in a callback of the event loop."""
    timer = Timer(schedule)
    position = 0

    def due() -> bool:
        nonlocal position
        now = time.monotonic_ns()
        while position < len(schedule) and schedule[position] <= now:
            action(schedule[position])
            position += 1
        if position < len(schedule):
            timer.set(position)  # which also makes the descriptor unreadable until then
            return False
        return True

    timer.set(0)
    try:
        if _runs_asyncio():
            await _watched(timer.descriptor, due)
        else:
            await anyio.wait_readable(timer.descriptor)
            while not due():
                await anyio.wait_readable(timer.descriptor)
    finally:
        timer.close()


def _runs_asyncio() -> bool:
    try:
        return asyncio.get_running_loop() is not None
    except RuntimeError:
        return False


async def _watched(descriptor: int, due: Callable[[], bool]) -> None:
    """Do it without a task that has to be woken each time."""
    loop = asyncio.get_running_loop()
    finished = loop.create_future()

    def readable() -> None:
        if due():
            loop.remove_reader(descriptor)
            finished.set_result(None)

    loop.add_reader(descriptor, readable)
    try:
        await finished
    finally:
        loop.remove_reader(descriptor)
