"""What a caller may choose, validated at construction; the one home of every default."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from aionif._syscalls import number_of
from aionif.errors import NifArgumentError

__all__ = ("EndingPolicy", "Isolation", "NifLimits", "NifPolicy")

Isolation = Literal["inline", "thread", "process", "auto"]
EndingPolicy = Literal["abort", "abandon", "wait"]

ENDINGS: tuple[EndingPolicy, ...] = ("abort", "abandon", "wait")  # the core's numbers, in order

_KIB = 1024
_MIB = 1024 * _KIB
_SMALLEST_STACK = 16 * _KIB
_SMALLEST_GUARD = 64 * _KIB
_MOST_DENIED = 32
_LEAST = {"address_space": _MIB, "resident_memory": _MIB, "open_files": 16, "file_size": 0}

# What workers, their handlers and the C library call on a worker's own behalf. A filter can't tell
# them from the NIF's calls.
_NEEDED = frozenset(
    (  # noqa: SIM905 - forty lines of quotes would say no more
        "brk clock_gettime clock_nanosleep clone clone3 close exit exit_group fstat futex getpid "
        "getrandom gettid lseek madvise mmap mprotect mremap munmap nanosleep newfstatat open "
        "openat prctl process_vm_readv read rseq rt_sigaction rt_sigprocmask rt_sigreturn "
        "sched_getaffinity sched_yield set_robust_list sigaltstack tgkill timer_create "
        "timer_delete timer_settime write"
    ).split()
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NifLimits:
    """What one worker process may use. None: no limit of ours.

    address_space: bytes, over what the worker has mapped before its first call.
    resident_memory: bytes of its own in memory, looked at every 10 ms while a call runs.
    cpu_time: seconds of CPU that one call may use, looked at every 10 ms.
    open_files: descriptors, the worker's own (about six) included.
    file_size: bytes, of any file it writes.

    Raises:
        NifArgumentError: a value is out of range; it names the field.
    """

    address_space: int | None = None
    resident_memory: int | None = None
    cpu_time: float | None = None
    open_files: int | None = None
    file_size: int | None = None

    def __post_init__(self) -> None:
        for name, least in _LEAST.items():
            value = getattr(self, name)
            if value is not None:
                check_count(name, value, least)
        if self.cpu_time is not None:
            check_seconds("cpu_time", self.cpu_time)

    def of_worker(self) -> dict[str, int]:
        """Return those that the worker sets for itself."""
        names = ("address_space", "open_files", "file_size")
        values = {name: getattr(self, name) for name in names}
        return {name: value for name, value in values.items() if value is not None}


_NO_LIMITS = NifLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class NifPolicy:
    """How calls run, and what becomes of those that do not end in time.

    A policy is given to an executor, to a library or to one call; the nearest one is used whole.

    on_timeout, on_cancel: what happens to a call that still runs when its deadline passes, or
        whose task is cancelled. "abort": it is asked to stop, then stopped where that is safe, and
        its thread is abandoned where it is not. "abandon": its thread is left alone at once and
        replaced. "wait": the task waits for the call to return, and then gets its error.
    thread_safe: False for a library whose functions must not run at the same time.
    stack_size: bytes of the stack a call runs on.
    guard_size: bytes of inaccessible memory below it. A frame larger than this can jump over it.
    measure_stack: keep the high-water mark of stack use in `statistics()`. Costs some
        microseconds a call.
    contain_exit: turn `exit()` and `_exit()` inside a call into NifExit.
    deny_syscalls: names of system calls that end a call with NifSyscallDenied.
    abort_attempts: how often, a millisecond apart, a call is tried for a safe place to stop it
        before its thread is abandoned.
    max_lost_threads: threads that may be abandoned, or retired after a crash that left a lock
        held, before further calls are refused.
    spin: seconds that an idle worker stays awake when calls come that close together.
    watch: a call that usually takes no longer than so many seconds may be watched by its
        submitter instead of suspending the task. 0 turns it off.
    wake: seconds that the watch may last longer where a sleeping worker has to be woken first. The
        event loop does nothing else meanwhile; 0 suspends the task in that case.
    limits: of worker processes; threads have none.
    slow_call: a call that runs longer than so many seconds is logged when it ends; None: none is.
    plain_results: of Python callables in worker processes, take only what is made of numbers,
        text, bytes, None and containers of these. A worker under foreign control can't
        then run code here by its result.

    Raises:
        NifArgumentError: a value is out of range; it names the field.
    """

    on_timeout: EndingPolicy = "abort"
    on_cancel: EndingPolicy = "abort"
    thread_safe: bool = True
    stack_size: int = _MIB
    guard_size: int = 8 * _MIB
    measure_stack: bool = False
    contain_exit: bool = True
    deny_syscalls: tuple[str, ...] = ()
    abort_attempts: int = 50
    max_lost_threads: int = 16
    spin: float = 50e-6
    watch: float = 10e-6
    wake: float = 60e-6
    limits: NifLimits = _NO_LIMITS
    slow_call: float | None = None
    plain_results: bool = False

    def __post_init__(self) -> None:
        for name in ("on_timeout", "on_cancel"):
            check_choice(name, getattr(self, name), ENDINGS)
        check_count("stack_size", self.stack_size, _SMALLEST_STACK)
        check_count("guard_size", self.guard_size, _SMALLEST_GUARD)
        check_count("abort_attempts", self.abort_attempts, 0)
        check_count("max_lost_threads", self.max_lost_threads, 1)
        check_seconds("spin", self.spin)
        check_seconds("watch", self.watch)
        check_seconds("wake", self.wake)
        if self.slow_call is not None:
            check_seconds("slow_call", self.slow_call)
        if not isinstance(self.limits, NifLimits):
            raise NifArgumentError(
                argument="limits",
                value=self.limits,
                problem="is not a NifLimits",
                remedy="Write limits=aionif.NifLimits(...).",
            )
        self._check_denied()

    def _check_denied(self) -> None:
        if isinstance(self.deny_syscalls, str):
            raise NifArgumentError(
                argument="deny_syscalls",
                value=self.deny_syscalls,
                problem="must be a tuple of names",
                remedy=f"Write ({self.deny_syscalls!r},).",
            )
        object.__setattr__(self, "deny_syscalls", tuple(self.deny_syscalls))
        if len(self.deny_syscalls) > _MOST_DENIED:
            raise NifArgumentError(
                argument="deny_syscalls",
                value=len(self.deny_syscalls),
                problem=f"names more than {_MOST_DENIED} system calls",
            )
        for name in self.deny_syscalls:
            number_of(name)
            if name in _NEEDED:
                raise NifArgumentError(
                    argument="deny_syscalls",
                    value=name,
                    problem="is needed by the worker itself",
                    remedy="Leave it out.",
                )


def check_policy(policy: object) -> None:
    """Raise NifArgumentError unless `policy` is a NifPolicy, or None for another's."""
    if policy is not None and not isinstance(policy, NifPolicy):
        raise NifArgumentError(
            argument="policy",
            value=policy,
            problem="is not a NifPolicy",
            remedy="Write policy=aionif.NifPolicy(...).",
        )


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise NifArgumentError unless `value` is one of `choices`."""
    if value not in choices:
        raise NifArgumentError(
            argument=name,
            value=value,
            problem="is not a choice",
            remedy=f"Use {' or '.join(map(repr, choices))}.",
        )


def check_count(name: str, value: object, least: int) -> None:
    """Raise NifArgumentError unless `value` is an int of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 1 << 40:
        raise NifArgumentError(
            argument=name,
            value=value,
            problem="is out of range",
            remedy=f"Use a whole number of at least {least}.",
        )


def check_seconds(name: str, value: object) -> float:
    """Return `value` as seconds; raise NifArgumentError for a negative number, NaN or no number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise NifArgumentError(
            argument=name,
            value=value,
            problem="must be seconds",
            remedy="Use a number such as 0.5.",
        )
    if math.isnan(value) or value < 0:
        raise NifArgumentError(
            argument=name,
            value=value,
            problem="must not be negative or NaN",
            remedy="Use a number of seconds, or leave it out for no limit.",
        )
    return float(value)
