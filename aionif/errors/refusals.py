"""The call was not made: it was not accepted, came too late, or had a wrong argument."""

# ruff: noqa: N818 - NifCrash is the name of a thing that happened; NifCrashError would say it twice

from __future__ import annotations

from dataclasses import dataclass

from aionif.errors.base import NifError, short_repr

__all__ = ("NifArgumentError", "NifClosed", "NifRejected")


# A type in this set is kept as the offending value as it is: immutable, and sure to pickle.
_PLAIN_TYPES = frozenset({bool, bytes, complex, float, int, str, type(None)})


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
    """The call came too late: `resource` ("executor", "session", "library") is closed.

    reason: what has closed it, if nobody asked for it, such as the crash of a call.
    """

    resource: str = "executor"
    reason: str = ""

    def _what(self) -> str:
        return f"the {self.resource} is closed" + (f": {self.reason}" if self.reason else "")

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
        self._shown = short_repr(self.value)
        if type(self.value) not in _PLAIN_TYPES:
            self.value = self._shown

    def _what(self) -> str:
        return f"argument {self.argument!r} {self.problem}: got {self._shown}"

    def _remedy(self) -> str:
        return self.remedy
