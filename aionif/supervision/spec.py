"""What a child is and how it is kept: specifications, checked before anything runs."""

from __future__ import annotations

import inspect
import math
from dataclasses import dataclass, field
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any, Literal

from aionif.calls.submit import plan_of
from aionif.errors import NifArgumentError
from aionif.errors.checks import check_choice, check_count, check_seconds, check_span

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = (
    "AutoShutdown",
    "Backoff",
    "ChildCounts",
    "ChildInfo",
    "ChildKind",
    "ChildSpec",
    "Restart",
    "Settings",
    "Shutdown",
    "Strategy",
    "Supervisor",
)

Strategy = Literal["one_for_one", "one_for_all", "rest_for_one"]
Restart = Literal["permanent", "transient", "temporary"]
AutoShutdown = Literal["never", "any_significant", "all_significant"]
Shutdown = float | Literal["brutal_kill", "infinity"]
ChildKind = Literal["coroutine", "nif", "supervisor"]

STRATEGIES = ("one_for_one", "one_for_all", "rest_for_one")
RESTARTS = ("permanent", "transient", "temporary")
AUTO_SHUTDOWNS = ("never", "any_significant", "all_significant")

_YIELDS = inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
_WORKER_SHUTDOWN = 5.0  # seconds, OTP's default


class Supervisor:
    """What can be a child and is a supervisor itself: NifSupervisor, which stands above this."""

    async def run_as_child(self, started: Callable[[Any], None]) -> None:
        """Start, call `started(self)`, and run until cancelled or until it ends by itself."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """How long a supervisor waits before a restart. OTP has none of it: it restarts at once.

    initial: seconds before the first restart of a child. factor: each further one waits so many
        times longer, but no longer than maximum seconds.
    jitter: the part of the wait, 0 to 1, that may be taken off at random, so that children that
        failed together are not restarted together.
    reset_after: after a child has run for this many seconds, its next wait is `initial` again.

    Raises:
        NifArgumentError: a value is out of range; it names the field.
    """

    initial: float = 0.1
    maximum: float = 30.0
    factor: float = 2.0
    jitter: float = 0.5
    reset_after: float = 60.0

    def __post_init__(self) -> None:
        for name in ("initial", "maximum", "factor", "jitter", "reset_after"):
            check_seconds(name, getattr(self, name))
        bounds = {
            "initial": (0.0 < self.initial < math.inf, "a number of seconds above 0"),
            "maximum": (self.initial <= self.maximum < math.inf, "at least initial, and finite"),
            "factor": (1.0 <= self.factor < math.inf, "a number of at least 1"),
            "jitter": (self.jitter <= 1.0, "a number from 0 to 1"),
        }
        for name, (holds, remedy) in bounds.items():
            if not holds:
                raise NifArgumentError(
                    argument=name,
                    value=getattr(self, name),
                    problem="is out of range",
                    remedy=f"Use {remedy}.",
                )

    def delay(self, failures: int, chance: float) -> float:
        """Return the seconds before a restart after so many failures in a row, 1 at the least.

        chance: a random number from 0 to 1.
        """
        # In logarithms: factor ** failures has no float where a child fails for long enough.
        steps = math.log(self.factor) * (failures - 1)
        longest = steps >= math.log(self.maximum / self.initial)
        wait = self.maximum if longest else self.initial * math.exp(steps)
        return wait * (1.0 - self.jitter * chance)


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildSpec:
    """One child of a supervisor: what to start, and what to do when it ends.

    id: its name, unique among the children of the supervisor.
    start: a coroutine function, a native function (as for `execute_nif`), or a NifSupervisor.
        A coroutine function with a parameter `task_status` has started when it calls
        `task_status.started()`; one that raises before that has failed to start. Any other has
        started when its task runs.
    args: what `start` is called with.
    restart: "permanent": always restarted. "transient": restarted if it ended abnormally, that is
        with an exception other than NifShutdown. "temporary": never. Default: "permanent"; for a
        native function "temporary", since to restart it is to make the call again.
    shutdown: seconds it has for its clean-up when it is stopped, see `shutdown_scope`;
        "brutal_kill" for none, "infinity" for no limit. Default: 5; for a supervisor "infinity".
    significant: whether its end may end the supervisor, see auto_shutdown.

    Raises:
        NifArgumentError: a value can't be used; it names the field.
    """

    id: str
    start: Any
    args: tuple[Any, ...] = ()
    restart: Restart = None  # type: ignore[assignment] # filled in, by kind
    shutdown: Shutdown = None  # type: ignore[assignment] # the same
    significant: bool = False
    kind: ChildKind = field(init=False, repr=False)
    reports_start: bool = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check_name("id", self.id)
        kind = _kind_of(self.start)
        fill = object.__setattr__
        fill(self, "kind", kind)
        fill(self, "reports_start", kind == "supervisor" or _takes_status(self.start, kind))
        if type(self.args) is not tuple:
            self._check_args()
        if self.restart is None:
            fill(self, "restart", "temporary" if kind == "nif" else "permanent")
        elif self.restart not in RESTARTS:
            check_choice("restart", self.restart, RESTARTS)
        if self.shutdown is None:
            fill(self, "shutdown", "infinity" if kind == "supervisor" else _WORKER_SHUTDOWN)
        elif self.shutdown not in ("brutal_kill", "infinity"):
            check_shutdown(self.shutdown)
        if self.significant and self.restart == "permanent":
            raise NifArgumentError(
                argument="significant",
                value=True,
                problem="can't be set for a permanent child, which never ends for good",
                remedy='Use restart="transient" or "temporary".',
            )

    def _check_args(self) -> None:
        if not isinstance(self.args, list):
            raise NifArgumentError(
                argument="args",
                value=self.args,
                problem="must be a tuple",
                remedy="Write (value,) for a single one.",
            )
        object.__setattr__(self, "args", tuple(self.args))

    @property
    def type(self) -> Literal["worker", "supervisor"]:
        """What it is in a supervision tree."""
        return "supervisor" if self.kind == "supervisor" else "worker"


def check_shutdown(value: object) -> None:
    """Raise NifArgumentError unless `value` is a finite number of seconds."""
    if isinstance(value, str) or value == math.inf:
        raise NifArgumentError(
            argument="shutdown",
            value=value,
            problem="is not a choice",
            remedy="Use seconds, 'brutal_kill' or 'infinity'.",
        )
    check_seconds("shutdown", value)


def _kind_of(start: Any) -> ChildKind:
    if type(start) is FunctionType or type(start) is MethodType:
        if start.__code__.co_flags & _YIELDS:
            raise _cannot_start(start)
        return "coroutine"
    if isinstance(start, Supervisor):
        return "supervisor"
    try:
        plan_of(start)
    except NifArgumentError:
        if not callable(start):
            raise _cannot_start(start) from None
        return "coroutine"
    return "nif"


def _cannot_start(start: Any) -> NifArgumentError:
    return NifArgumentError(
        argument="start",
        value=start,
        problem="can't be started",
        remedy="Use a coroutine function, a native function or a NifSupervisor.",
    )


def _takes_status(start: Any, kind: ChildKind) -> bool:
    if kind == "nif":
        return False
    code = getattr(start, "__code__", None)
    if code is not None and "__wrapped__" not in start.__dict__:
        return "task_status" in code.co_varnames[: code.co_argcount + code.co_kwonlyargcount]
    try:
        return "task_status" in inspect.signature(start).parameters
    except (TypeError, ValueError):  # a callable of C, which says nothing of its parameters
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a NifSupervisor was given, checked."""

    name: str
    strategy: Strategy
    max_restarts: int
    max_seconds: float
    max_children: int | None
    auto_shutdown: AutoShutdown
    backoff: Backoff | None
    children: tuple[ChildSpec, ...]

    def __post_init__(self) -> None:
        check_name("name", self.name)
        check_choice("strategy", self.strategy, STRATEGIES)
        check_choice("auto_shutdown", self.auto_shutdown, AUTO_SHUTDOWNS)
        check_count("max_restarts", self.max_restarts, 0)
        check_span("max_seconds", self.max_seconds)
        if self.max_children is not None:
            check_count("max_children", self.max_children, 0)
        if self.backoff is not None and not isinstance(self.backoff, Backoff):
            raise NifArgumentError(
                argument="backoff",
                value=self.backoff,
                problem="is not a Backoff",
                remedy="Write backoff=aionif.Backoff(...).",
            )
        self._check_children()

    def _check_children(self) -> None:
        try:
            object.__setattr__(self, "children", tuple(self.children))
        except TypeError:
            raise NifArgumentError(
                argument="children",
                value=self.children,
                problem="can't be iterated over",
                remedy="Give a list of ChildSpec.",
            ) from None
        seen: set[str] = set()
        for spec in self.children:
            self.check(spec)
            if spec.id in seen:
                raise NifArgumentError(
                    argument="id",
                    value=spec.id,
                    problem="is the name of two children",
                    remedy="Give each child an id of its own.",
                )
            seen.add(spec.id)
        if self.max_children is not None and len(seen) > self.max_children:
            raise NifArgumentError(
                argument="max_children",
                value=self.max_children,
                problem=f"is less than the {len(seen)} children given",
            )

    def check(self, spec: object) -> None:
        """Raise NifArgumentError unless `spec` can be a child's of this supervisor."""
        if not isinstance(spec, ChildSpec):
            raise NifArgumentError(
                argument="child",
                value=spec,
                problem="is not a ChildSpec",
                remedy='Write aionif.ChildSpec(id="...", start=...).',
            )
        if spec.significant and self.auto_shutdown == "never":
            raise NifArgumentError(
                argument="significant",
                value=True,
                problem=f"means nothing for child {spec.id!r}: the supervisor never looks at it",
                remedy='Give the supervisor auto_shutdown="any_significant" or "all_significant".',
            )


def check_name(argument: str, value: object) -> None:
    """Raise NifArgumentError unless `value` is a str with something in it."""
    if not isinstance(value, str) or not value:
        raise NifArgumentError(
            argument=argument, value=value, problem="is not a name", remedy="Use a non-empty str."
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildInfo:
    """One child as it is now.

    state: "running"; "restarting": it waits for its next restart; "stopped": it ended and its
        spec is kept.
    supervisor: the NifSupervisor itself, for a child that is one.
    """

    id: str
    state: Literal["running", "restarting", "stopped"]
    type: Literal["worker", "supervisor"]
    supervisor: Any = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChildCounts:
    """How many children there are.

    specs: that have a spec, running or not. active: that run.
    supervisors, workers: those with a spec by type, running or not.
    """

    specs: int
    active: int
    supervisors: int
    workers: int
