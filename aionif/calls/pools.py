"""The core's pools as an executor uses them: one for each way its workers have to be set up."""

from __future__ import annotations

import os
from dataclasses import dataclass, fields, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from aionif.calls.breakers import Breakers, BreakerStatistics
from aionif.calls.preloads import Preloads
from aionif.core.native import ffi, lib
from aionif.errors import NifRejected
from aionif.filters.syscalls import number_of
from aionif.limits import SEALED_LIMITS
from aionif.log import warn
from aionif.memory.shared import Warm
from aionif.process import zygote, zygote_start
from aionif.sealing.seal import log_missing, read_report
from aionif.sealing.template import template_of
from aionif.system.cgroup import killed_together
from aionif.system.shortage import explain
from aionif.telemetry import registry
from aionif.telemetry.series import RESTARTS, FunctionStatistics, Key, Series

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from aionif.binding.plan import Plan
    from aionif.breaker import NifBreaker
    from aionif.calls.breakers import Breaker
    from aionif.errors import NifError
    from aionif.limits import NifLimits
    from aionif.policy import NifPolicy
    from aionif.process.setup import Setup
    from aionif.sealing.seal import SealReport

__all__ = ("Pools", "Statistics", "seal_of")

_NANOSECONDS = 1_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Statistics:
    """Counts of one executor since it was opened, and what it does at this moment.

    submitted: calls accepted. returned, failed: ended by returning; by a crash, panic or exit.
    raised: ended with an exception of a Python callable; not among those that returned.
    timed_out: deadlines passed, in the queue or while running. cancelled: by their task.
    aborted: calls stopped after a timeout or a cancellation. rejected: refused for a full queue.
    queued, running: now. workers, idle: threads that serve, and those without a call.
    started: threads ever started. abandoned: threads in a call that did not stop when told to.
    retired: threads parked because a crash left a lock held.
    watched: calls whose end the submitter saw without suspending its task.
    killed: worker processes ended: after a crash, a deadline, a limit, or as the executor closed.
    stack_high_water: most bytes of stack that a measured call used.
    tainted: an earlier crash may have damaged this process (in words; empty if not).
    unsealed: parts of sandboxes that are not in force here (in words; empty if none).
    exposed: what worker processes can't keep from this process here (in words; empty if nothing).
    restarts: workers that had to be replaced, by those reasons that there were.
    functions: counts and durations of each function.
    breakers: the circuit breakers of those functions that have one.
    stderr_dropped: bytes that worker processes of the program, of all its executors, wrote to
        stderr and that were dropped as nobody read them.
    """

    submitted: int
    returned: int
    raised: int
    failed: int
    timed_out: int
    cancelled: int
    aborted: int
    rejected: int
    queued: int
    running: int
    workers: int
    idle: int
    started: int
    retired: int
    abandoned: int
    watched: int
    killed: int
    stack_high_water: int
    tainted: tuple[str, ...]
    restarts: Mapping[str, int]
    functions: tuple[FunctionStatistics, ...]
    unsealed: tuple[str, ...] = ()
    exposed: tuple[str, ...] = ()
    breakers: tuple[BreakerStatistics, ...] = ()
    stderr_dropped: int = 0


_OF_THE_PROGRAM = "stderr_dropped"
_COUNTS = [f.name for f in fields(Statistics) if f.type == "int" and f.name != _OF_THE_PROGRAM]
_OF_THIS_MOMENT = ("queued", "running", "workers", "idle")


class Pools:
    """The pools of one executor, opened as policies ask for them."""

    def __init__(self, *, max_workers: int, max_queue: int, name: str) -> None:
        self._max_workers = max_workers
        self._max_queue = max_queue
        self.name = name
        self._pools: dict[tuple[Any, ...], Any] = {}
        self._descriptors: list[int] = []  # for worker processes: setups, stdout
        self._ended = dict.fromkeys(_COUNTS, 0)  # of pools that were stopped
        self._unsealed: set[str] = set()  # likewise
        self._restarts = dict.fromkeys(RESTARTS, 0)  # likewise
        self._exposed: tuple[str, ...] = ()
        self._preloads: dict[tuple[Any, ...], Preloads] = {}
        self._series = Series()
        self.warm = Warm()
        self._breakers = Breakers(name)

    def __iter__(self) -> Iterator[Any]:
        return iter(self._pools.values())

    def get(self, policy: NifPolicy, setup: Setup | None = None) -> Any:
        """Return the pool whose workers are set up as `policy` says.

        setup: of worker processes; None for threads.

        Raises:
            NifRejected: the system gives no memory or thread.
        """
        key = _key(policy, setup)
        pool = self._pools.get(key)
        if pool is None:
            pool = self._pools[key] = self._open(policy, setup)
            registry.enter(self)
        return pool

    def preloads(self, policy: NifPolicy, setup: Setup) -> Preloads | None:
        """Return the modules that workers import before they are sealed; None: they are not."""
        if policy.sandbox is None:
            return None
        key = _key(policy, setup)
        found = self._preloads.get(key)
        if found is None:
            renew = partial(self._renew, policy, setup)
            found = self._preloads[key] = Preloads(policy.sandbox, setup.preload, renew)
        return found

    def _renew(self, policy: NifPolicy, setup: Setup) -> None:
        pool = self._pools.get(_key(policy, setup))
        if pool is not None:
            lib.aionif_pool_set_up(pool, self._describe(policy, setup))

    def _describe(self, policy: NifPolicy, setup: Setup) -> int:
        """Return a descriptor of what the workers are to do before they serve."""
        preloads = self.preloads(policy, setup)
        document = setup.document(policy, preloads.names if preloads else ())
        try:
            descriptor = os.memfd_create("aionif-setup")
            self._descriptors.append(descriptor)
            os.write(descriptor, document)
        except OSError as problem:
            reason, remedy = explain(problem.errno or 0, "memfd_create")
            raise NifRejected(reason=reason, remedy=remedy) from problem
        return descriptor

    def _stdout(self) -> int:
        try:
            self._descriptors.append(zygote_start.duplicate_stdout())
        except OSError as problem:
            reason, remedy = explain(problem.errno or 0, "fcntl")
            raise NifRejected(reason=reason, remedy=remedy) from problem
        return self._descriptors[-1]

    def _open(self, policy: NifPolicy, setup: Setup | None) -> Any:
        alone = (os.cpu_count() or 1) == 1  # then whoever spins keeps the other side from running
        denied = () if policy.sandbox else policy.deny_syscalls  # the seal denies them, too
        settings = ffi.new(
            "struct aionif_pool_settings *",
            {
                "max_workers": self._max_workers,
                "max_queue": self._max_queue,
                "max_lost": policy.max_lost_threads,
                "spin_ns": 0 if alone else int(policy.spin * _NANOSECONDS),
                "watch_ns": 0 if alone else int(policy.watch * _NANOSECONDS),
                "wake_ns": 0 if alone else int(policy.wake * _NANOSECONDS),
                "stack_size": policy.stack_size,
                "guard_size": policy.guard_size,
                "abort_attempts": policy.abort_attempts,
                "contain_exit": policy.contain_exit,
                "asks_handlers": policy.handlers == "library",
                "own_stack": policy.stack == "thread",
                "denied_count": len(denied),
                "denied": [number_of(name) for name in denied],
                "name": self.name.encode()[: lib.AIONIF_NAME - 1],
            },
        )
        if setup is not None:
            self._set_up(settings, policy, setup)
        pool = lib.aionif_pool_open(settings)
        if pool == ffi.NULL:
            reason, remedy = explain(ffi.errno, "a thread")
            raise NifRejected(reason=reason, remedy=remedy)
        return pool

    def _set_up(self, settings: Any, policy: NifPolicy, setup: Setup) -> None:
        starter = zygote.of(template_of(policy.sandbox))
        starter.ensure()
        limits = _limits_to_keep(policy, starter, self.name)
        if limits != policy.limits:
            self._unsealed.add("limits")
        settings.setup = self._describe(policy, setup)
        settings.out = self._stdout()
        self._exposed = _exposed(self.name)
        settings.is_process = 1
        settings.zygote = starter.number
        settings.fresh = policy.sandbox is not None and policy.sandbox.fresh
        settings.max_calls = setup.max_calls or 0
        settings.cpu_limit_ns = int((limits.cpu_time or 0) * _NANOSECONDS)
        settings.resident_limit = limits.resident_memory or 0
        settings.result_room = 0 if limits.result_size is None else max(limits.result_size, 1)
        settings.has_address_limit = limits.address_space is not None
        settings.has_file_limit = limits.file_size is not None
        settings.has_sandbox = policy.sandbox is not None
        settings.one_call = policy.sandbox is not None and policy.sandbox.forks

    def statistics(self, tainted: tuple[str, ...]) -> Statistics:
        """Add up the counts of all pools."""
        with registry.guard:
            totals = self.totals()
        missing = set(self._unsealed)
        for pool in self:
            missing.update(_unsealed(pool))
        functions = sorted(totals.functions.items(), key=lambda item: (item[0][0], str(item[0][1])))
        return Statistics(
            **totals.counts,
            tainted=tainted,
            unsealed=tuple(sorted(missing)),
            exposed=self._exposed,
            restarts={reason: count for reason, count in totals.restarts.items() if count},
            functions=tuple(tally.freeze(*key) for key, tally in functions),
            breakers=self._breakers.statistics(),
            stderr_dropped=int(lib.aionif_stderr_lost()),
        )

    def totals(self) -> registry.Totals:
        """Add up the counts of all pools; under the guard of the registry."""
        counts, restarts = dict(self._ended), dict(self._restarts)
        for pool in list(self):
            _add(counts, restarts, pool)
        return registry.Totals(counts, restarts, self._series.totals(), self._breakers.totals())

    def series(self, pool: Any, plan: Plan) -> Any:
        """Return where calls of a function in one of these pools are counted."""
        with registry.guard:
            return self._series.find(pool, plan.name, plan.library)

    def count_inline_failure(self, plan: Plan, error: NifError) -> None:
        """Count an inline call that failed: there is no pool that would."""
        with registry.guard:
            self._series.count_failure(plan.name, plan.library, error)
        registry.enter(self)

    def breaker(
        self, settings: NifBreaker, plan: Plan, on_change: Callable[[Plan], None]
    ) -> Breaker:
        """Return the breaker of a function; on_change: told of its plan when calls may not pass."""
        with registry.guard:
            key = self._series.key(plan.name, plan.library)
        return self._breakers.find(settings, plan, key, on_change, self._ended_calls)

    def _ended_calls(self, key: Key) -> tuple[int, int]:
        with registry.guard:
            return self._series.ended(key)

    def reset_breakers(self, plan: Plan | None) -> None:
        """Close the breakers of a function; None: of all."""
        self._breakers.reset(plan)

    def processes(self) -> list[int]:
        """Return the ids of worker processes that serve, without the spares."""
        return [process for pool in self for process in self.processes_of(pool)]

    def processes_of(self, pool: Any) -> set[int]:
        """Return those of one pool."""
        room = self._max_workers
        found = ffi.new("int32_t[]", room)
        return set(ffi.unpack(found, lib.aionif_pool_processes(pool, found, room)))

    def forget(self) -> None:
        """Drop the pools without a word to them: in the child of a fork they do not exist."""
        self._pools.clear()
        self._series.forget()
        self.warm.forget()

    def stop(self) -> None:
        """End all threads and free the pools. After the last call has ended, or was given up."""
        while self._pools:
            with registry.guard:
                _, pool = self._pools.popitem()
                _add(self._ended, self._restarts, pool)
                self._unsealed.update(_unsealed(pool))
                self._ended.update(dict.fromkeys(_OF_THIS_MOMENT, 0))
                self._series.end(pool)
            unended = lib.aionif_pool_stop(pool)
            with registry.guard:
                self._ended["abandoned"] += unended
        self._breakers.end()
        registry.leave(self)
        self.warm.close()
        while self._descriptors:
            os.close(self._descriptors.pop())


def _key(policy: NifPolicy, setup: Setup | None) -> tuple[Any, ...]:
    return (
        policy.stack_size,
        policy.guard_size,
        policy.stack,
        policy.handlers,
        policy.contain_exit,
        policy.deny_syscalls,
        policy.abort_attempts,
        policy.max_lost_threads,
        policy.spin,
        policy.watch,
        policy.wake,
        setup and (setup, policy.limits, policy.sandbox),
    )


def seal_of(pool: Any) -> SealReport | None:
    """Return what came of sealing a pool's workers; None: nothing is known yet."""
    out = ffi.new("struct aionif_seal_result *")
    state = lib.aionif_pool_sealed(pool, out)
    if state == lib.AIONIF_SEAL_UNKNOWN:
        return None
    return read_report(out, is_sealed=state == lib.AIONIF_SEALED)


_logged: set[str] = set()


def _limits_to_keep(policy: NifPolicy, starter: zygote.Zygote, name: str) -> NifLimits:
    """Return the limits of a policy; where there is no /proc, without what it did not ask for.

    Raises:
        NifRejected: it asks for what can't be kept here.
    """
    limits = policy.limits
    if limits.resident_memory is None or starter.is_visible():
        return limits
    problem = "resident_memory is read from /proc, which is not mounted, or hides processes"
    if policy.sandbox is None or limits.resident_memory != SEALED_LIMITS.resident_memory:
        raise NifRejected(
            reason=f"its limits can't be enforced here: {problem} of this one",
            remedy="Mount /proc, or leave resident_memory out.",
        )
    log_missing(("limits",), problem, name)
    return replace(limits, resident_memory=None)


def _exposed(name: str) -> tuple[str, ...]:
    """Return what worker processes can't keep from this one, and log it once."""
    group = killed_together()
    if group is None:
        return ()
    words = f"where memory runs out this process is killed with its workers ({group})"
    if words not in _logged:
        _logged.add(words)
        warn("process_exposed", reason=words, executor=name)
    return (words,)


def _unsealed(pool: Any) -> tuple[str, ...]:
    report = seal_of(pool)
    return report.missing if report is not None and report.is_sealed else ()


def _add(totals: dict[str, int], restarts: dict[str, int], pool: Any) -> None:
    counts = ffi.new("struct aionif_statistics *")
    lib.aionif_pool_statistics(pool, counts)
    for name in _COUNTS:
        value = int(getattr(counts, name))
        highest = name == "stack_high_water"
        totals[name] = max(totals[name], value) if highest else totals[name] + value
    for name, count in zip(RESTARTS, counts.restarts, strict=True):
        restarts[name] += count
