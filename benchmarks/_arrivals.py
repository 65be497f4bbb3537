"""Arrivals that do not wait for the answers: an open loop.

Each arrival is a time in a schedule, drawn before the run from the exponential distribution, as
independent clients come. A timerfd is set to the next time in the schedule and watched by the event
loop, so an arrival reaches the program as a request on a socket does: the kernel makes a descriptor
readable and wakes the loop, from sleep if it sleeps. A second process that writes to a pipe would
be one more runnable thread on the cores that are measured, and would wake late itself;
`loop.call_at` rounds to milliseconds.

Latency counts from the time in the schedule, not from when the loop got round to it: an arrival
that finds the loop busy has waited all the same.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from typing import TYPE_CHECKING, Any

import cffi

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

__all__ = ("Timer", "run_open_loop")

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
_HEAD_START = 5_000_000  # nanoseconds before the first arrival


class Timer:
    """A descriptor that becomes readable at each time of a schedule, once it is set to it.

    schedule: nanoseconds of CLOCK_MONOTONIC. The settings are made beforehand, so that to go on to
    the next time costs one system call and no more Python than that takes.
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


def _schedule(rate: int, count: int) -> list[int]:
    draw = random.Random(rate)  # noqa: S311 - the same schedule for every subject
    start = time.monotonic_ns() + _HEAD_START
    times, at = [], 0.0
    for _ in range(count):
        at += draw.expovariate(rate) * 1e9
        times.append(start + int(at))
    return times


async def run_open_loop(
    call: Callable[[], Awaitable[object]], rate: int, count: int
) -> tuple[list[float], float]:
    """Make `count` calls at `rate` a second; return latencies and CPU time a call, in microseconds.

    CPU time is that of the whole process, all its threads, user and system.
    """
    loop = asyncio.get_running_loop()
    schedule = _schedule(rate, count)
    timer = Timer(schedule)
    latencies: list[float] = []
    tasks: list[asyncio.Task[None]] = []
    finished = loop.create_future()

    async def serve(intended: int) -> None:
        await call()
        latencies.append((time.monotonic_ns() - intended) / 1000)
        if len(latencies) == count:
            finished.set_result(None)

    def arrive() -> None:
        now = time.monotonic_ns()
        while len(tasks) < count and schedule[len(tasks)] <= now:
            tasks.append(loop.create_task(serve(schedule[len(tasks)])))
        if len(tasks) < count:
            timer.set(len(tasks))
        else:
            loop.remove_reader(timer.descriptor)

    loop.add_reader(timer.descriptor, arrive)
    timer.set(0)
    used = time.process_time_ns()
    await finished
    used = time.process_time_ns() - used
    timer.close()
    return latencies, used / 1000 / count
