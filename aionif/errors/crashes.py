"""The native code itself ended the call: faults, panics, exits."""

# ruff: noqa: N818 - NifCrash is the name of a thing that happened; NifCrashError would say it twice

from __future__ import annotations

from dataclasses import dataclass, field, replace
from signal import Signals
from typing import TYPE_CHECKING, Any, Literal, Self

from aionif.crash.report import CrashReport, format_size
from aionif.errors.base import NifError
from aionif.system.escape import printable

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("NifCrash", "NifExit", "NifPanic", "NifSignal", "NifStackOverflow", "NifSyscallDenied")


@dataclass(kw_only=True, eq=False, repr=False)
class NifCrash(NifError):
    """The native code crashed, panicked or exited; the process goes on.

    report: what was recorded of the crash.
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
            headline = printable(f"{type(self).__name__}: {self._what()}")
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

    None: it called `quick_exit`, whose status is not known.
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
