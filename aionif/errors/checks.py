"""Checks of what a caller gives: each names the argument, and says what to write instead."""

from __future__ import annotations

import inspect
import math

from aionif.errors.refusals import NifArgumentError

__all__ = (
    "check_callable",
    "check_choice",
    "check_count",
    "check_function",
    "check_names",
    "check_seconds",
    "check_share",
    "check_span",
)


def check_callable(name: str, value: object) -> None:
    """Raise NifArgumentError unless `value` can be called, and is done when it returns."""
    if inspect.iscoroutinefunction(value):
        raise NifArgumentError(
            argument=name,
            value=value,
            problem="is a coroutine function, which nobody would await",
            remedy="Give a plain function; it may send to a stream, or start a task.",
        )
    if not callable(value):
        raise NifArgumentError(
            argument=name, value=value, problem="can't be called", remedy="Give a function."
        )


def check_function(value: object) -> None:
    """Raise NifArgumentError for what is to be awaited: a coroutine function, or a coroutine."""
    if inspect.iscoroutine(value):
        shown = value.__qualname__
        value.close()  # nobody will await it
        raise NifArgumentError(
            argument="fn",
            value=shown,
            problem="is a coroutine, not a function",
            remedy="Pass the function, and its arguments after it.",
        )
    if inspect.iscoroutinefunction(value):
        raise NifArgumentError(
            argument="fn",
            value=value,
            problem="is a coroutine function, which nobody would await there",
            remedy="Await it here, or give a plain function.",
        )


def check_choice(name: str, value: object, choices: tuple[str, ...]) -> None:
    """Raise NifArgumentError unless `value` is one of `choices`."""
    if value not in choices:
        raise NifArgumentError(
            argument=name,
            value=value,
            problem="is not a choice",
            remedy=f"Use {' or '.join(map(repr, choices))}.",
        )


def check_count(name: str, value: object, least: int) -> None:
    """Raise NifArgumentError unless `value` is an int of at least `least`."""
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value < 1 << 40:
        raise NifArgumentError(
            argument=name,
            value=value,
            problem="is out of range",
            remedy=f"Use a whole number of at least {least}.",
        )


def check_names(name: str, value: object) -> None:
    """Raise NifArgumentError unless `value` is a tuple or list of names that are not empty."""
    if not isinstance(value, (tuple, list)):
        remedy = f"Write ({value!r},)." if isinstance(value, str) else "Use a tuple of str."
        raise NifArgumentError(
            argument=name, value=value, problem="is no tuple of names", remedy=remedy
        )
    for each in value:
        if not isinstance(each, str) or not each:
            raise NifArgumentError(
                argument=name, value=each, problem="is not a name", remedy="Use a tuple of str."
            )


def check_seconds(name: str, value: object) -> float:
    """Return `value` as seconds; raise NifArgumentError for a negative number, NaN or no number."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise NifArgumentError(
            argument=name,
            value=value,
            problem="must be seconds",
            remedy="Use a number such as 0.5.",
        )
    if math.isnan(value) or value < 0:
        raise NifArgumentError(
            argument=name,
            value=value,
            problem="must not be negative or NaN",
            remedy="Use a number of seconds, or leave it out for no limit.",
        )
    return float(value)


def check_span(name: str, value: object) -> float:
    """Return `value` as seconds; raise NifArgumentError unless it is a number above 0."""
    seconds = check_seconds(name, value)
    if not seconds:
        raise NifArgumentError(
            argument=name,
            value=value,
            problem="is not a span of time",
            remedy="Use a number of seconds above 0.",
        )
    return seconds


def check_share(name: str, value: object) -> None:
    """Raise NifArgumentError unless `value` is a number from 0 to 1."""
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number or not 0 <= value <= 1:  # type: ignore[operator] # it is a number
        raise NifArgumentError(
            argument=name,
            value=value,
            problem="is not a share",
            remedy="Use a number from 0 to 1, such as 0.5 for half.",
        )
