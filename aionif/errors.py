"""What can go wrong with a call, as exceptions that carry data.

    NifError
    +-- NifCrash                 the native code ended the call; has a report
    |   +-- NifSignal            a fault, or a signal the code raised itself
    |   |   +-- NifStackOverflow
    |   |   +-- NifSyscallDenied
    |   +-- NifPanic             a C++ exception, a Rust panic, a forced unwind
    |   +-- NifExit              the code tried to end the process
    +-- NifTimeout               also TimeoutError
    +-- NifLimitExceeded         a resource limit of the policy
    +-- NifWorkerLost            the worker process died for no reason of its own
    +-- NifRejected              not accepted: queue full, breaker open, too many threads retired
    +-- NifClosed                the executor, session or library is closed
    +-- NifArgumentError         also TypeError and ValueError; nothing was submitted
    +-- NifCancelled             } of supervision, in
    +-- MaxRestartsExceeded      } aionif.supervision.errors

Guarantees, each held by a test over every class:

- All state is in attributes. `str()` is made from them when asked for, so that an executor can
  fill in `function`, `library` and `tier` of an error that was made below it.
- Pickle, `copy` and `deepcopy` keep the type, every attribute and the notes. The usual way for
  exceptions, to call the class again with `args`, cannot carry keyword-only attributes; here
  `args` stays empty and the state travels on its own.
- `str()` is one or two lines: what happened and where; what the caller can do.

Every class is built with keywords only. The common ones, `function`, `library` and `tier`, say
which call it was, and are None where that is not known.
"""

# ruff: noqa: N818 - NifCrash is the name of a thing that happened; NifCrashError would say it twice

from __future__ import annotations

import reprlib
from dataclasses import dataclass, field, replace
from signal import Signals
from typing import TYPE_CHECKING, Any, Literal, Self

from aionif._frames import Frame, Inlined
from aionif._report import CrashReport, format_size

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = (
    "CrashReport",
    "Frame",
    "Inlined",
    "NifArgumentError",
    "NifClosed",
    "NifCrash",
    "NifError",
    "NifExit",
    "NifLimitExceeded",
    "NifPanic",
    "NifRejected",
    "NifSignal",
    "NifStackOverflow",
    "NifSyscallDenied",
    "NifTimeout",
    "NifWorkerLost",
)

_TEXT_LIMIT = 300  # characters of str() that may come from a panic's reason or from libc

# A type in this set is kept as the offending value as it is: immutable, and sure to pickle.
_PLAIN_TYPES = frozenset({bool, bytes, complex, float, int, str, type(None)})


# eq=False: exceptions are compared and hashed by identity; contextlib and logging rely on it.
@dataclass(kw_only=True, eq=False, repr=False)
class NifError(Exception):
    """Base of everything that aionif raises.

    function: name of the native function.
    library: path or name of its library.
    tier: where the call ran: "inline", "thread" or "process".
    """

    function: str | None = None
    library: str | None = None
    tier: str | None = None

    def __str__(self) -> str:
        where, what, remedy = self._where(), _clip(self._what()), self._remedy()
        head = f"{where}: {what}" if where else what
        return f"{head}\n{remedy}" if remedy else head

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        state = self.__dict__.copy()
        if notes := state.get("__notes__"):
            state["__notes__"] = list(notes)  # a note added to a copy is not the original's
        return _restore, (type(self), self.args), state

    def _where(self) -> str:
        library = (self.library or "").rpartition("/")[2]
        place = " in ".join(name for name in (self.function, library) if name)
        tier = None if self.tier is None else f"({self.tier} tier)"
        return " ".join(part for part in (place, tier) if part)

    def _what(self) -> str:
        return "the call failed"

    def _remedy(self) -> str:
        return ""


def _restore(cls: type[NifError], args: tuple[object, ...]) -> NifError:
    """Make an instance without `__init__`; its state follows through `__setstate__`."""
    error = cls.__new__(cls)
    error.args = args
    return error


def _clip(text: str) -> str:
    """Make one line of bounded length; the whole text stays in the attributes."""
    line = " ".join(text.split())
    return line if len(line) <= _TEXT_LIMIT else f"{line[: _TEXT_LIMIT - 3]}..."


def _short_repr(value: object) -> str:
    try:
        return reprlib.repr(value)
    except ValueError:  # an int of more digits than sys.get_int_max_str_digits()
        return f"<{type(value).__name__} too long to show>"


@dataclass(kw_only=True, eq=False, repr=False)
class NifCrash(NifError):
    """The native code crashed, panicked or exited; the process goes on.

    report: what was recorded. The error completes it with what it knows itself.
    """

    report: CrashReport = field(default_factory=CrashReport)

    def __post_init__(self) -> None:
        self._complete_report()

    @classmethod
    def deferred(cls, source: Callable[[], CrashReport], **attributes: Any) -> Self:
        """Return an error whose report `source` makes when it is first looked at.

        A report is long and most are never read; a service that survives crashes by the thousand
        should not pay for them.
        """
        error = cls.__new__(cls)
        error.__dict__.update(attributes, _source=source)
        return error

    def __getattr__(self, name: str) -> Any:
        if name == "report" and "_source" in self.__dict__:
            self.report = self.__dict__.pop("_source")()
            self._complete_report()
            return self.report
        raise AttributeError(name=name, obj=self)

    def __reduce__(self) -> tuple[Any, ...]:
        self.report  # noqa: B018 - a copy must not depend on this process's memory map
        return super().__reduce__()

    def _complete_report(self) -> None:
        if not self.report.headline:
            headline = f"{type(self).__name__}: {self._what()}"
            self.report = replace(self.report, headline=headline)

    def as_term(self) -> tuple[Any, ...]:
        """Return the crash as a tagged tuple of plain data, as an Erlang exit reason would be."""
        return ("nif_crash", self.report.describe())

    def _what(self) -> str:
        return self.report.describe()

    def _remedy(self) -> str:
        if self.tier == "process":
            return "The worker process was replaced; exc.report.render() shows where it crashed."
        if self.report.taint:
            taint = ", ".join(self.report.taint)
            return f"This process may be damaged ({taint}): restart it when you can."
        return "exc.report.render() shows where."


@dataclass(kw_only=True, eq=False, repr=False)
class NifSignal(NifCrash):
    """The CPU or the C library raised a signal inside the call.

    signal, code, address: as in the kernel's `siginfo_t`; address is None where none was given.
    syscall: name of the system call that was refused, for SIGSYS.
    """

    signal: Signals
    code: int = 0
    address: int | None = None
    syscall: str | None = None

    def _complete_report(self) -> None:
        if self.report.signal is None:
            self.report = replace(
                self.report, signal=self.signal, code=self.code, address=self.address
            )
        super()._complete_report()

    def as_term(self) -> tuple[Literal["nif_signal"], int]:
        """Return ("nif_signal", signal number)."""
        return ("nif_signal", int(self.signal))


@dataclass(kw_only=True, eq=False, repr=False)
class NifStackOverflow(NifSignal):
    """The call ran into the guard page below its stack; `report.stack_size` is in bytes."""

    signal: Signals = Signals.SIGSEGV

    def _what(self) -> str:
        at = "" if self.address is None else f" at {self.address:#x}"
        size = self.report.stack_size
        stack = "" if size is None else f" (stack of {format_size(size)})"
        return f"stack overflow{at}{stack}"

    def _remedy(self) -> str:
        return "Bound the recursion or the arrays on the stack, or raise stack_size."


@dataclass(kw_only=True, eq=False, repr=False)
class NifSyscallDenied(NifSignal):
    """The call made a system call that the policy forbids.

    number: of the system call on this CPU; its name is `syscall`, or `name`.
    """

    signal: Signals = Signals.SIGSYS
    number: int | None = None

    @property
    def name(self) -> str | None:
        """The system call's name; None where it has none that is known."""
        return self.syscall

    def _what(self) -> str:
        name = "a system call" if self.syscall is None else f"system call {self.syscall}"
        number = "" if self.number is None else f" (number {self.number})"
        return f"{name}{number} is denied by the policy"

    def _remedy(self) -> str:
        return "Allow it in the policy if the function needs it; exc.report.render() shows where."


@dataclass(kw_only=True, eq=False, repr=False)
class NifPanic(NifCrash):
    """An exception unwound to the base of the call.

    reason: its text, best effort; empty where none could be recovered.
    language: "C" stands for a forced unwind such as `pthread_exit`.
    type_name: the C++ type, demangled; None for the others.
    """

    reason: str = ""
    language: Literal["C++", "Rust", "C"]
    type_name: str | None = None

    def _complete_report(self) -> None:
        if self.report.message is None and self.reason:
            self.report = replace(self.report, message=self.reason)
        super()._complete_report()

    def as_term(self) -> tuple[Literal["nif_panic"], str, tuple[str, ...]]:
        """Return ("nif_panic", reason, one line of text per frame, innermost first)."""
        return ("nif_panic", self.reason, self.report.stacktrace)

    def _what(self) -> str:
        kinds = {"C++": "C++ exception", "Rust": "Rust panic", "C": "forced unwind"}
        kind = kinds[self.language]
        if self.type_name is not None:
            kind += f" {self.type_name}"
        return f"{kind}: {self.reason}" if self.reason else kind

    def _remedy(self) -> str:
        return "Catch it inside the native function to keep it; exc.report.render() shows where."


@dataclass(kw_only=True, eq=False, repr=False)
class NifExit(NifCrash):
    """The call tried to end the process; status is what it gave to `exit`.

    None: it called `quick_exit`, which does not tell.
    """

    status: int | None

    def as_term(self) -> tuple[Literal["nif_exit"], int | None]:
        """Return ("nif_exit", status)."""
        return ("nif_exit", self.status)

    def _what(self) -> str:
        given = "" if self.status is None else f" with status {self.status}"
        return f"the call tried to exit the process{given}"

    def _remedy(self) -> str:
        return "Have the function return an error instead; exc.report.render() shows where."


@dataclass(kw_only=True, eq=False, repr=False)
class NifTimeout(NifError, TimeoutError):
    """No result came in time.

    timeout: what was allowed, in seconds.
    phase: "queue" if the call had not started and never will, "run" if it was running.
    """

    timeout: float
    phase: Literal["queue", "run"] = "run"

    def _what(self) -> str:
        if self.phase == "queue":
            return f"no worker was free within {self.timeout:g} s; the call was not started"
        return f"the call did not return within {self.timeout:g} s"

    def _remedy(self) -> str:
        if self.phase == "queue":
            return "Raise timeout or max_workers, or make fewer calls at once."
        return "Raise timeout, or have the function poll aionif_should_stop()."


@dataclass(kw_only=True, eq=False, repr=False)
class NifLimitExceeded(NifError):
    """The call used more than the policy allows.

    limit: which limit, in the policy's own word, such as "memory".
    allowed: its value, in the policy's unit.
    """

    limit: str
    allowed: float | None = None

    def _what(self) -> str:
        allowed = "" if self.allowed is None else f" of {self.allowed:.12g}"
        return f"the call exceeded its {self.limit} limit{allowed}"

    def _remedy(self) -> str:
        return f"Raise the {self.limit} limit in the policy, or give the function less to do."


@dataclass(kw_only=True, eq=False, repr=False)
class NifWorkerLost(NifError):
    """The worker process died under the call, from outside or for a reason not known.

    pid: of the worker. exit_code: as `subprocess` has it, negative for a signal.
    """

    pid: int | None = None
    exit_code: int | None = None

    def _what(self) -> str:
        worker = "the worker process" if self.pid is None else f"worker process {self.pid}"
        return f"{worker} was lost{_how_it_ended(self.exit_code)}"

    def _remedy(self) -> str:
        remedy = "The call may have run in part: repeat it only if that does no harm."
        if self.exit_code == -Signals.SIGKILL:
            remedy += (
                " If the kernel killed it because it was out of memory, its log says so, and "
                "NifLimits(resident_memory=...) ends such a call earlier."
            )
        return remedy


def _how_it_ended(exit_code: int | None) -> str:
    if exit_code is None:
        return ""
    if exit_code >= 0:
        return f" (it exited with status {exit_code})"
    try:
        return f" (killed by {Signals(-exit_code).name})"
    except ValueError:  # a real-time signal has no name of its own
        return f" (killed by signal {-exit_code})"


@dataclass(kw_only=True, eq=False, repr=False)
class NifRejected(NifError):
    """The call was not accepted, and did not run.

    reason: why, such as "the queue is full". remedy: what the caller can do about it.
    retry_after: seconds after which it may be accepted, where that is known.
    """

    reason: str = "the queue is full"
    remedy: str = "Wait and repeat the call, raise max_queue, or shed load."
    retry_after: float | None = None

    def _what(self) -> str:
        return f"the call was rejected: {self.reason}"

    def _remedy(self) -> str:
        return self.remedy


@dataclass(kw_only=True, eq=False, repr=False)
class NifClosed(NifError):
    """The call came too late: `resource` ("executor", "session", "library") is closed."""

    resource: str = "executor"

    def _what(self) -> str:
        return f"the {self.resource} is closed"

    def _remedy(self) -> str:
        return f"Make the call while the {self.resource} is open, or open a new one."


@dataclass(kw_only=True, eq=False, repr=False)
class NifArgumentError(NifError, TypeError, ValueError):
    """An argument cannot be used; nothing was submitted.

    argument: its name, or its position counted from 0.
    value: what was given: kept if it is a number, a str, bytes or None. Anything else is kept as
        a short repr, for it may not pickle, and an error should not keep a buffer alive.
    problem: what is wrong with it. remedy: what to write instead.
    """

    argument: str | int
    value: object = None
    problem: str = "cannot be used"
    remedy: str = ""

    def __post_init__(self) -> None:
        self._shown = _short_repr(self.value)
        if type(self.value) not in _PLAIN_TYPES:
            self.value = self._shown

    def _what(self) -> str:
        return f"argument {self.argument!r} {self.problem}: got {self._shown}"

    def _remedy(self) -> str:
        return self.remedy
