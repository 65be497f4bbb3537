"""Where log events go.

A program that has configured structlog gets the events through its own processors. One that has not
gets them as warnings of the standard logger "aionif", which a library must not print to stdout.
Handlers of a program's own may be attached besides.

Events are made where a call has just failed, so whoever listens must not make it fail in another
way. A handler, or structlog's processors, that raise are detached from the events of aionif, for
good, and that is reported to those that are left; other logs of the program still reach it.

Texts may come from native code, or from a worker that somebody else controls. So every text in an
event is printable: whoever shows it is neither commanded nor misled.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from aionif.system.escape import printable

__all__ = ("LEVELS", "attach", "debug", "detach", "tell", "warn")

LEVELS = ("debug", "info", "warning", "error")

Handler = Callable[[str, dict[str, Any]], object]

_standard = logging.getLogger("aionif")
_handlers: list[Handler] = []
_detached: WeakSet[logging.Handler] = WeakSet()
_structlog_raised_under: Any = None  # the configuration whose processors raised


def attach(handler: Handler) -> None:
    """Call `handler(event, fields)` for each log event of aionif, in the thread that makes it.

    It must not block. One that raises is detached, and the log says so.
    """
    if handler not in _handlers:
        _handlers.append(handler)


def detach(handler: Handler) -> None:
    """Call it no more; harmless if it is not attached."""
    if handler in _handlers:
        _handlers.remove(handler)


def warn(event: str, **fields: Any) -> None:
    """Log one event as a warning. Whatever handlers do, this does not raise."""
    tell("warning", event, fields)


def debug(event: str, **fields: Any) -> None:
    """Log what only those want to know who look for it; handlers that were attached do not."""
    tell("debug", event, fields)


def tell(level: str, event: str, fields: dict[str, Any]) -> None:
    """Log one event at one of LEVELS. Attached handlers get all but those of "debug"."""
    fields = _printable(fields)
    for handler in tuple(_handlers) if level != "debug" else ():  # one that raises leaves
        try:
            handler(event, fields)
        except Exception as error:  # noqa: BLE001 - it is somebody else's
            detach(handler)
            _report(handler, error)
    if not _to_structlog(level, event, fields):
        _to_standard(getattr(logging, level.upper()), event, fields)


def _printable(fields: dict[str, Any]) -> dict[str, Any]:
    return {
        key: printable(value) if isinstance(value, str) else value for key, value in fields.items()
    }


def _to_structlog(level: str, event: str, fields: dict[str, Any]) -> bool:
    """Return whether structlog has taken it."""
    global _structlog_raised_under  # noqa: PLW0603 - one per process, as structlog's configuration
    # Not imported here, as that takes as long as all of aionif: who has configured it has done so.
    structlog: Any = sys.modules.get("structlog")
    is_configured = getattr(structlog, "is_configured", None)  # not yet, while it is imported
    if is_configured is None or not is_configured():
        return False
    processors = structlog.get_config()["processors"]
    if processors is _structlog_raised_under:
        return False
    try:
        getattr(structlog.get_logger("aionif"), level)(event, **fields)
    except Exception as error:  # noqa: BLE001 - it is somebody else's
        _structlog_raised_under = processors
        _report("structlog's processors", error)
        return False
    return True


def _to_standard(level: int, event: str, fields: dict[str, Any]) -> None:
    if not _standard.isEnabledFor(level):
        return
    text = " ".join(f"{key}={value!r}" for key, value in fields.items() if value is not None)
    record = _standard.makeRecord(
        _standard.name, level, __file__, 0, "%s %s", (event, text), None,
        "warn", {"nif": fields},
    )  # fmt: skip
    _deliver(record)


def _deliver(record: logging.LogRecord) -> None:
    """As Logger.handle, but it knows which handler has raised."""
    raised = []
    try:
        wanted = _standard.filter(record)
    except Exception:  # noqa: BLE001 - a filter that fails lets everything pass
        wanted = True
    if not wanted:
        return
    for handler in _standard_handlers():
        if record.levelno < handler.level or handler in _detached:
            continue
        try:
            handler.handle(record)
        except Exception as error:  # noqa: BLE001 - it is somebody else's
            _detached.add(handler)
            raised.append((handler, error))
    for culprit, problem in raised:
        _report(culprit, problem)


def _standard_handlers() -> list[logging.Handler]:
    found: list[logging.Handler] = []
    logger: logging.Logger | None = _standard
    while logger is not None:
        found += logger.handlers
        logger = logger.parent if logger.propagate else None
    usable = [handler for handler in found if handler not in _detached]
    return usable or ([logging.lastResort] if logging.lastResort else [])


def _report(handler: object, error: Exception) -> None:
    """Tell those that are left. Each handler is detached once, so this ends."""
    fields = {"handler": _name_of(handler), "error": f"{type(error).__name__}: {error}"}
    warn("handler_detached", **fields)


def _name_of(handler: object) -> str:
    if isinstance(handler, str):
        return handler
    return getattr(handler, "__qualname__", None) or type(handler).__qualname__
