"""How supervision fails, in the family of `aionif.errors` and with its guarantees."""

from __future__ import annotations

from dataclasses import dataclass

from aionif.errors import NifError
from aionif.system.escape import one_line

__all__ = ("MaxRestartsExceeded", "NifCancelled", "RestartRecord", "describe")

_TEXT_LIMIT = 200  # characters; the error itself goes to the report


@dataclass(frozen=True, slots=True, kw_only=True)
class RestartRecord:
    """One restart that counted.

    at: seconds on the supervisor's clock. child: its id. reason: why it ended, as a line of text.
    """

    at: float
    child: str
    reason: str


# eq=False: exceptions are compared and hashed by identity; contextlib and logging rely on it.
@dataclass(kw_only=True, eq=False, repr=False)
class MaxRestartsExceeded(NifError):  # noqa: N818 - it says what happened, as its family does
    """A supervisor gave up: more than `max_restarts` restarts within `max_seconds` seconds.

    Its children were stopped before it was raised. `__cause__` is what the last child failed with.

    supervisor: its name. child: the id of the child that failed last.
    history: the restarts within the window, oldest first; the last one was not made.
    """

    supervisor: str
    child: str | None = None
    max_restarts: int | None = None
    max_seconds: float | None = None
    history: tuple[RestartRecord, ...] = ()

    def _what(self) -> str:
        limit = "" if self.max_restarts is None else f" ({self.max_restarts}"
        limit += "" if self.max_seconds is None else f" in {self.max_seconds:g} s"
        limit += ")" if limit else ""
        last = f", last of {self.child!r}" if self.child else ""
        reason = f": {self.history[-1].reason}" if self.history else ""
        return f"supervisor {self.supervisor!r} reached its limit of restarts{limit}{last}{reason}"

    def _remedy(self) -> str:
        return "exc.history has the restarts; repair what fails, or raise max_restarts."


@dataclass(kw_only=True, eq=False, repr=False)
class NifCancelled(NifError):  # noqa: N818 - the same
    """The call was cancelled through its handle, or with its task group, and has no result."""

    def _what(self) -> str:
        return "the call was cancelled"

    def _remedy(self) -> str:
        return "Look at handle.outcome before awaiting a handle that may be cancelled."


def describe(error: BaseException) -> str:
    """Return `error` as one line of text."""
    try:
        text = one_line(str(error).partition("\n")[0])
    except Exception:  # noqa: BLE001 - a report must not fail for the text of an error
        text = "(its text can't be shown)"
    line = f"{type(error).__name__}: {text}" if text else type(error).__name__
    return line if len(line) <= _TEXT_LIMIT else f"{line[: _TEXT_LIMIT - 3]}..."
