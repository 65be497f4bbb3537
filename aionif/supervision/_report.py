"""Supervisor reports: OTP's fields, as a log event and for a handler of the user's."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from aionif import log
from aionif.supervision.errors import describe

if TYPE_CHECKING:
    from collections.abc import Callable

    from aionif.supervision.spec import ChildSpec

__all__ = ("ErrorContext", "Handler", "Reporter", "SupervisorReport")

ErrorContext = Literal["start_error", "child_terminated", "shutdown_error", "shutdown"]

_standard = logging.getLogger("aionif")


@dataclass(frozen=True, slots=True, kw_only=True)
class SupervisorReport:
    """What a supervisor has to say about a child, with the fields of OTP's supervisor reports.

    supervisor: its name.
    error_context: "child_terminated"; "start_error": it could not be started (again);
        "shutdown_error": it did not stop as it should; "shutdown": the supervisor gives up.
    reason: why, as a line of text.
    offender: the child, as plain data: id, start, restart_type, significant, shutdown, child_type.
    error: the exception behind it, where there is one. It is not part of the log event.
    """

    supervisor: str
    error_context: ErrorContext
    reason: str
    offender: dict[str, Any]
    error: BaseException | None = field(default=None, repr=False, compare=False)


def offender_of(spec: ChildSpec) -> dict[str, Any]:
    """Return a child as plain data."""
    name = getattr(spec.start, "__qualname__", None) or getattr(spec.start, "name", None)
    return {
        "id": spec.id,
        "start": name or type(spec.start).__name__,
        "restart_type": spec.restart,
        "significant": spec.significant,
        "shutdown": spec.shutdown,
        "child_type": spec.type,
    }


def log_report(report: SupervisorReport) -> None:
    """Log a report as a warning."""
    log.warn(
        "supervisor_report",
        supervisor=report.supervisor,
        error_context=report.error_context,
        reason=report.reason,
        offender=report.offender,
    )


class Handler:
    """A function that is called until it raises, and never after that.

    What goes wrong in a handler must not become a failure of what it was told about. But a handler
    that fails would fail each time, so it is detached, and that is reported, once.
    """

    def __init__(self, function: Callable[[Any], object], what: str) -> None:
        self._function: Callable[[Any], object] | None = function
        self._what = what

    def __call__(self, subject: Any) -> bool:
        """Call it with `subject`; False if it is detached."""
        if self._function is None:
            return False
        try:
            self._function(subject)
        except Exception as error:  # noqa: BLE001 - whatever it is
            self._detach(error)
            return False
        return True

    def _detach(self, error: Exception) -> None:
        function, self._function = self._function, None
        name = getattr(function, "__qualname__", None) or repr(function)
        fields = {"handler": name, "kind": self._what, "reason": describe(error)}
        try:
            log.warn("handler_detached", **fields)
        except Exception:  # noqa: BLE001 - the log is what fails: logging keeps its own errors
            _standard.warning("handler_detached %s", fields, extra={"nif": fields})


class Reporter:
    """Where the reports of one supervisor go."""

    def __init__(self, name: str, on_report: Callable[[SupervisorReport], object] | None) -> None:
        self._name = name
        self._handlers = [Handler(log_report, "log")]
        if on_report is not None:
            self._handlers.append(Handler(on_report, "on_report"))

    def __call__(
        self,
        context: ErrorContext,
        spec: ChildSpec,
        reason: str,
        error: BaseException | None = None,
    ) -> None:
        report = SupervisorReport(
            supervisor=self._name,
            error_context=context,
            reason=reason if error is None else describe(error),
            offender=offender_of(spec),
            error=error,
        )
        for handler in self._handlers:
            handler(report)
