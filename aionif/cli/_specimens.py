"""The crash gallery as the demonstration runs it: in which order, and what each call came to."""

from __future__ import annotations

import copy
import time
from typing import TYPE_CHECKING, Any

import aionif
from aionif.cli._calls import Row
from aionif.testing import gallery

if TYPE_CHECKING:
    from aionif.testing.gallery import Language, Specimen

__all__ = ("call", "functions", "missing", "runnable", "section")

_ENDLESS = 0.1  # seconds, the deadline of a call that would never return
_TIMEOUT = 30.0  # seconds, for all others: far more than any needs, so that nothing hangs

# Each leaves a lock of libc held for good. Nothing after them should depend on one.
_LAST = ("stdio_locked", "malloc_locked")

_LANGUAGES: dict[Language, str] = {
    "c": "Crash gallery: C",
    "cxx": "Crash gallery: C++",
    "rust": "Crash gallery: Rust",
    "rust_abort": "Crash gallery: Rust",
}


def runnable() -> list[Specimen]:
    """Return the specimens to call, in order: those that leave a lock held come last."""
    found = [specimen for specimen in gallery.available() if specimen.outcome != "death"]
    return sorted(found, key=lambda specimen: specimen.name in _LAST)


def section(specimen: Specimen) -> str:
    """Return the heading under which a specimen is shown."""
    if specimen.name in _LAST:
        return "Crash gallery: C, leaving a lock of libc held (so they come last)"
    return _LANGUAGES[specimen.language]


def missing() -> list[str]:
    """Return a sentence for each part of the gallery that was not built."""
    sentences = []
    for language in _LANGUAGES:
        try:
            gallery.library_path(language)
        except FileNotFoundError as reason:
            sentences.append(str(reason))
    return sentences


def functions(specimens: list[Specimen]) -> dict[str, Any]:
    """Load the gallery and return the specimens' functions by name."""
    loaded: dict[str, Any] = {}
    for language in {specimen.language for specimen in specimens}:
        of_language = [specimen for specimen in specimens if specimen.language == language]
        library = aionif.load(
            gallery.library_path(language), "\n".join(specimen.cdef for specimen in of_language)
        )
        loaded |= {specimen.name: getattr(library, specimen.symbol) for specimen in of_language}
    return loaded


async def call(
    specimen: Specimen, function: Any, executor: aionif.NifExecutor
) -> tuple[Row, aionif.NifError | None]:
    """Call one specimen; return its row, and the error it raised."""
    timeout = _ENDLESS if specimen.outcome == "NifTimeout" else _TIMEOUT
    value, error = None, None
    started = time.perf_counter()
    try:
        value = await executor.execute_nif(function, *specimen.arguments, timeout=timeout)
    except aionif.NifError as raised:
        error = raised
    seconds = time.perf_counter() - started
    row = Row(
        call=specimen.name,
        what=_outcome(specimen, value) if error is None else _bare(error),
        error=None if error is None else type(error).__name__,
        seconds=seconds,
        problem=_problem(specimen, value, error),
    )
    return row, error


def _outcome(specimen: Specimen, value: object) -> str:
    note = f" ({specimen.note})" if specimen.note else ""
    return f"returned{note}" if value is None else f"returned {value}{note}"


def _bare(error: aionif.NifError) -> str:
    """What happened, without function and library: those are in the table already."""
    bare = copy.copy(error)
    bare.function = bare.library = bare.tier = None
    return str(bare).partition("\n")[0]


def _problem(specimen: Specimen, value: object, error: aionif.NifError | None) -> str:
    """Return what should have happened instead, in words; empty if it came out as it should."""
    if (type(error).__name__ if error else "result") != specimen.outcome:
        return f"a {specimen.outcome}"
    match error:
        case None if specimen.value is not None and value != _expected_value(specimen):
            return f"the result {specimen.value}"
        case aionif.NifSignal() if error.signal is not specimen.signal:
            return specimen.signal.name if specimen.signal else "no signal"
        case aionif.NifPanic() if specimen.reason is not None and error.reason != specimen.reason:
            return f"the reason {specimen.reason!r}"
        case aionif.NifExit() if error.status != specimen.value:
            return f"the status {specimen.value}"
    return ""


def _expected_value(specimen: Specimen) -> int | None:
    """The gallery's table, save for the counter that an earlier specimen has moved on by then."""
    return 3 if specimen.name == "cxx_destroyed" else specimen.value
