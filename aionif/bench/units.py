"""Figures as people read them: three digits, and a unit that suits."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aionif.bench.statistics import Ratio

__all__ = (
    "format_bytes",
    "format_count",
    "format_figure",
    "format_ratio",
    "format_seconds",
    "format_times",
    "title_of_figure",
)

_TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "us"), (1e-9, "ns"))
_SIZES = ((2**30, "GiB"), (2**20, "MiB"), (2**10, "KiB"), (1, "B"))
_MANY = 999.5  # shown without a fraction, and never as 1e+03

# Figures of cells are named with their unit last; what is left is their title.
_SHARE = "_seconds_per_second"
_SUFFIXES = ("_seconds_per_call", "_per_second", "_seconds", "_bytes")


def format_seconds(seconds: float) -> str:
    """Return a duration, as in `87.1 us`."""
    return _scaled(seconds, _TIMES)


def format_bytes(size: float) -> str:
    """Return a size, as in `3.68 MiB`."""
    return _scaled(size, _SIZES)


def format_count(number: float) -> str:
    """Return a number without a unit, as in `80,700` or `0.12`."""
    if abs(number) >= _MANY:
        digits = len(str(int(abs(number))))
        return f"{round(number, 3 - digits):,.0f}"
    return f"{number:.3g}"


def format_ratio(ratio: Ratio) -> str:
    """Return a ratio of times and its 95 % interval in words, as in `37 x faster (33 to 52)`."""
    if not ratio.bounded:
        return f"{format_times(ratio.value)} (one round)"
    faster = ratio.value < 1
    low, high = (1 / ratio.high, 1 / ratio.low) if faster else (ratio.low, ratio.high)
    return f"{format_times(ratio.value)} ({format_count(low)} to {format_count(high)})"


def format_times(value: float) -> str:
    """Return a ratio of times in words, as in `37 x faster`."""
    if value < 1:
        return f"{format_count(1 / value)} x faster"
    return f"{format_count(value)} x slower"


def title_of_figure(name: str) -> str:
    """Return the heading for a figure of `Cell`: what is measured, without its unit."""
    if name.endswith(_SHARE):
        return f"{_words(name.removesuffix(_SHARE))} in use"
    for suffix in _SUFFIXES:
        if name.endswith(suffix) and name != suffix:
            a_call = " a call" if suffix == "_seconds_per_call" else ""
            rate = " a second" if suffix == "_per_second" else ""
            return _words(name.removesuffix(suffix)) + a_call + rate
    return _words(name)


def format_figure(name: str, value: float) -> str:
    """Return a figure of `Cell` with the unit that its name says."""
    if name.endswith(("_seconds", "_seconds_per_call")):
        return format_seconds(value)
    if name.endswith("_bytes"):
        return format_bytes(value)
    if name.endswith(_SHARE):
        return f"{format_count(value * 100)} %"
    return f"{format_count(value)}/s" if name.endswith("_per_second") else format_count(value)


def _words(name: str) -> str:
    return " ".join(
        word.upper() if word in ("cpu", "pss", "rss") else word for word in name.split("_")
    )


def _scaled(value: float, units: tuple[tuple[float, str], ...]) -> str:
    if value < 0:
        return f"-{_scaled(-value, units)}"
    # half of the last digit less: what rounds to a whole unit is shown in that unit
    scale, unit = next(((s, u) for s, u in units if value >= s * 0.9995), units[-1])
    return f"{format_count(value / scale)} {unit}"
