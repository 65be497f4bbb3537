"""Where log events go.

A program that has configured structlog gets the events through its own processors. One that has not
gets them as warnings of the standard logger "aionif", which a library must not print to stdout.
"""

from __future__ import annotations

import logging
from typing import Any

import structlog

__all__ = ("warn",)

_standard = logging.getLogger("aionif")


def warn(event: str, **fields: Any) -> None:
    """Log one event as a warning."""
    if structlog.is_configured():
        structlog.get_logger("aionif").warning(event, **fields)
    elif _standard.isEnabledFor(logging.WARNING):
        text = " ".join(f"{key}={value!r}" for key, value in fields.items() if value is not None)
        _standard.warning("%s %s", event, text, extra={"nif": fields})
