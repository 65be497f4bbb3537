"""What a caller may choose, validated at construction; the one home of every default."""

from __future__ import annotations

from dataclasses import InitVar, dataclass, replace
from typing import Literal, get_args

from aionif.breaker import SEALED_BREAKER, NifBreaker
from aionif.errors import NifArgumentError
from aionif.errors.checks import check_choice, check_count, check_seconds, check_span
from aionif.filters.syscalls import number_of
from aionif.limits import NO_LIMITS, SEALED_LIMITS, SEALED_RUN_TIMEOUT, NifLimits
from aionif.log import LEVELS
from aionif.sandbox import Sandbox

__all__ = ("EndingPolicy", "Isolation", "NifPolicy", "check_policy", "check_tier")

Results = Literal["auto", "plain", "pickle"]
Isolation = Literal["inline", "thread", "process", "auto"]
EndingPolicy = Literal["abort", "abandon", "wait"]
Stack = Literal["guarded", "thread"]
Handlers = Literal["aionif", "library"]

ENDINGS: tuple[EndingPolicy, ...] = ("abort", "abandon", "wait")  # the core's numbers, in order

_KIB = 1024
_MIB = 1024 * _KIB
_SMALLEST_STACK = 16 * _KIB
_SMALLEST_GUARD = 64 * _KIB
_MOST_DENIED = 32

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
        Where `ulimit -v` limits address space it is 8 MiB at the most.
    stack: "guarded": calls run on a stack of their own. "thread": on the one that their thread was
        started with, for libraries that look for pointers there (libgc). On workers it has the
        same size and guard; inline it is what the thread has.
    handlers: "aionif": a fault in a call ends the call. "library": the handlers that libraries have
        installed are asked first, for those that raise faults on purpose and resolve them
        (virtual machines).
    measure_stack: keep the high-water mark of stack use in `statistics()`. Costs some
        microseconds a call.
    contain_exit: turn `exit()` and `_exit()` inside a call into NifExit.
    deny_syscalls: names of system calls that end a call with NifSyscallDenied.
    abort_attempts: how often, a millisecond apart, a call past its deadline is told to stop
        before its thread is abandoned.
    max_lost_threads: threads that may be lost at one time, abandoned or retired after a crash that
        left a lock held, before further calls are refused. One that ends later counts no more.
    spin: seconds that an idle worker stays awake when calls come that close together.
    watch: a call that usually takes no longer than so many seconds may be watched by its
        submitter instead of suspending the task. 0 turns it off.
    wake: seconds that the watch may last longer where a sleeping worker has to be woken first. The
        event loop does nothing else meanwhile; 0 suspends the task in that case.
    limits: of worker processes; threads have none. Where the sandbox has limits too, the lower of
        two holds.
    sandbox: what worker processes may do. Only with isolation="process" or "auto", which then runs
        its functions in processes from the start. `deny_syscalls` adds to what it denies.
    timeout: seconds, waiting in the queue included, for calls that are given no timeout. None: that
        of the library or the executor, if it has one; math.inf: no limit.
    run_timeout: seconds that a call may run for which no timeout holds; its wait in the
        queue does not count, and one that was given a timeout has that alone. None: 60 s in a
        sandbox, else no limit; math.inf: no limit there either. Not for inline calls.
    slow_call: a call that runs longer than so many seconds is logged when it ends; None: none is.
    results: how results and exceptions of Python callables come from worker processes. "plain": as
        plain data, which can do nothing by being read: None, numbers, str, bytes, bytearray, tuple,
        list, dict, set, frozenset, arrays, built-in exceptions. "pickle": as pickles, which can
        run code in this process, so a sandbox holds no longer than nobody hostile runs in its
        workers. "auto": plain from sealed workers, pickles from others.
    raised_level: at which level an exception of a Python callable is logged: "debug", "info",
        "warning" or "error".
    breaker: a circuit breaker for each function, in calls on workers. None: none, but in a sandbox
        one that opens where at least half of a function's calls crash, a hundred of them within a
        minute. False: none there either.
    plain_results: the old name of results="plain".

    Raises:
        NifArgumentError: a value is out of range; it names the field.
    """

    on_timeout: EndingPolicy = "abort"
    on_cancel: EndingPolicy = "abort"
    thread_safe: bool = True
    stack_size: int = _MIB
    guard_size: int = 128 * _MIB
    stack: Stack = "guarded"
    handlers: Handlers = "aionif"
    measure_stack: bool = False
    contain_exit: bool = True
    deny_syscalls: tuple[str, ...] = ()
    abort_attempts: int = 50
    max_lost_threads: int = 256
    spin: float = 50e-6
    watch: float = 10e-6
    wake: float = 60e-6
    limits: NifLimits = NO_LIMITS
    sandbox: Sandbox | None = None
    timeout: float | None = None
    run_timeout: float | None = None
    slow_call: float | None = None
    results: Results = "auto"
    breaker: NifBreaker | Literal[False] | None = None
    raised_level: Literal["debug", "info", "warning", "error"] = "debug"
    plain_results: InitVar[bool] = False

    def __post_init__(self, plain_results: bool) -> None:
        if plain_results:
            self._ask_for_plain_results()
        for name in ("on_timeout", "on_cancel"):
            check_choice(name, getattr(self, name), ENDINGS)
        check_choice("raised_level", self.raised_level, LEVELS)
        check_choice("results", self.results, get_args(Results))
        check_choice("stack", self.stack, get_args(Stack))
        check_choice("handlers", self.handlers, get_args(Handlers))
        if self.measure_stack and self.stack == "thread":
            raise NifArgumentError(
                argument="measure_stack",
                value=True,
                problem='is not to be had with stack="thread", which holds frames of others too',
                remedy='Measure with stack="guarded".',
            )
        check_count("stack_size", self.stack_size, _SMALLEST_STACK)
        check_count("guard_size", self.guard_size, _SMALLEST_GUARD)
        check_count("abort_attempts", self.abort_attempts, 0)
        check_count("max_lost_threads", self.max_lost_threads, 1)
        check_seconds("spin", self.spin)
        check_seconds("watch", self.watch)
        check_seconds("wake", self.wake)
        if self.slow_call is not None:
            check_seconds("slow_call", self.slow_call)
        if self.timeout is not None:
            check_span("timeout", self.timeout)
        if self.run_timeout is not None:
            check_span("run_timeout", self.run_timeout)
        if not isinstance(self.limits, NifLimits):
            raise NifArgumentError(
                argument="limits",
                value=self.limits,
                problem="is not a NifLimits",
                remedy="Write limits=aionif.NifLimits(...).",
            )
        if self.breaker not in (None, False) and not isinstance(self.breaker, NifBreaker):
            raise NifArgumentError(
                argument="breaker",
                value=self.breaker,
                problem="is not a NifBreaker",
                remedy="Write breaker=aionif.NifBreaker(...), or False for none.",
            )
        self._check_denied()
        if self.sandbox is not None:
            self._combine(self.sandbox)

    def _ask_for_plain_results(self) -> None:
        if self.results == "pickle":
            raise NifArgumentError(
                argument="plain_results",
                value=True,
                problem='contradicts results="pickle"',
                remedy='Leave it out: it is the old name of results="plain".',
            )
        object.__setattr__(self, "results", "plain")

    @property
    def has_plain_results(self) -> bool:
        """Whether worker processes reply in plain data."""
        return self.results == "plain" or (self.results == "auto" and self.sandbox is not None)

    def _combine(self, sandbox: object) -> None:
        """Have policy and sandbox say the same of what both can say."""
        if not isinstance(sandbox, Sandbox):
            raise NifArgumentError(
                argument="sandbox",
                value=sandbox,
                problem="is not a Sandbox",
                remedy="Write sandbox=aionif.Sandbox.compute() or .python().",
            )
        limits = self.limits.tightened(sandbox.limits).completed(SEALED_LIMITS)
        sandbox = replace(sandbox, limits=limits).deny_syscalls(*self.deny_syscalls)
        object.__setattr__(self, "limits", limits)
        if self.run_timeout is None:
            object.__setattr__(self, "run_timeout", SEALED_RUN_TIMEOUT)
        if self.breaker is None:
            object.__setattr__(self, "breaker", SEALED_BREAKER)
        object.__setattr__(self, "sandbox", sandbox)

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


def check_tier(policy: NifPolicy, isolation: Isolation) -> None:
    """Raise NifArgumentError where a policy asks for what calls under `isolation` can't have."""
    if policy.sandbox is not None and isolation in {"thread", "inline"}:
        raise NifArgumentError(
            argument="sandbox",
            value=policy.sandbox,
            problem=f'seals processes, and isolation="{isolation}" runs calls in this one',
            remedy='Use an executor with isolation="process".',
        )
    if policy.limits != NO_LIMITS and isolation in {"thread", "inline"}:
        raise NifArgumentError(
            argument="limits",
            value=policy.limits,
            problem=f'are kept for processes, and isolation="{isolation}" runs calls in this one',
            remedy='Use isolation="process", or leave them out; threads can be given a timeout.',
        )
    if policy.run_timeout is not None and isolation == "inline":
        raise NifArgumentError(
            argument="run_timeout",
            value=policy.run_timeout,
            problem="is kept for calls on workers, and inline calls run in the caller's thread",
            remedy="Give the call a timeout, or make it with execute_nif on threads or processes.",
        )
    if policy.breaker and isolation == "inline":
        raise NifArgumentError(
            argument="breaker",
            value=policy.breaker,
            problem="watches calls on workers, and inline calls run in the caller's thread",
            remedy="Call it with execute_nif on threads or processes, or by a policy without one.",
        )
    if policy.breaker and policy.breaker.then == isolation == "process":
        raise NifArgumentError(
            argument="then",
            value="process",
            problem='moves calls to worker processes, where isolation="process" has them already',
            remedy='Use NifBreaker(then="refuse").',
        )
    if policy.breaker and policy.breaker.then == "process" and isolation == "auto":
        raise NifArgumentError(
            argument="then",
            value="process",
            problem='moves calls to worker processes, as isolation="auto" does at the first crash',
            remedy='Use NifBreaker(then="refuse"), or isolation="thread".',
        )
