"""The timeout of a call that names none: the nearest one that was set for such calls."""

from __future__ import annotations

import math

__all__ = ("DEFAULT", "DefaultTimeout", "nearest")


class DefaultTimeout(float):
    """Seconds that nobody gave for this call; setting: what has set them, as one writes it."""

    __slots__ = ("setting",)
    setting: str

    def __repr__(self) -> str:  # in signatures, where seconds of nobody's would be misread
        return "DEFAULT" if self is DEFAULT else super().__repr__()


DEFAULT = DefaultTimeout(math.inf)
"""In place of a timeout: the call was given none. None is one: no limit."""


def nearest(*sources: tuple[str, float | None]) -> DefaultTimeout | None:
    """Return the first timeout that is set, of settings and their values; None: there is none."""
    for setting, seconds in sources:
        if seconds is not None:
            found = DefaultTimeout(seconds)
            found.setting = setting
            return found
    return None
