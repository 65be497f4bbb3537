"""Which tier suits a function, and how many workers: a few rules over what was measured.

The rules are tried in the order in which they stand in `advise`, and the first that holds decides.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from aionif.bench.statistics import figure, median_seconds, ratio

if TYPE_CHECKING:
    from aionif.bench.result import Results

__all__ = ("Advice", "advise")

_SHORT = 20e-6  # seconds; the event loop itself takes longer than this for one turn with work
_NO_DEARER = 1.15  # of the process tier over the thread tier
_COMPUTES = 0.8  # of its time on a CPU: it does not wait
_MOST_WORKERS = 32

_CRASHES = ("NifSignal", "NifStackOverflow", "NifPanic", "NifExit", "NifWorkerLost")


@dataclass(frozen=True, slots=True, kw_only=True)
class Advice:
    """How to call a function.

    tier: "inline" is `call_nif`; the others are values of `isolation`. workers: for `max_workers`;
    0 inline, where there are none. reasons: sentences.
    """

    tier: Literal["inline", "thread", "process"]
    workers: int
    reasons: tuple[str, ...]


def advise(results: Results, scenario: str, *, cpus: int | None = None) -> Advice | None:
    """Return which tier suits the function that a scenario calls, one call after another.

    cpus: that the program may use; None: as many as this process. None is returned where neither
    the thread nor the process tier was measured.
    """
    cpus = cpus or len(os.sched_getaffinity(0))
    workers, why = _workers(results, scenario, cpus)
    if crash := _crash(results, scenario):
        return _advice(
            "process", workers, f"it crashed ({crash}): there a crash costs one worker", why
        )
    own = median_seconds(results, scenario, "direct")
    thread = median_seconds(results, scenario, "thread")
    process = median_seconds(results, scenario, "process")
    if thread is None:
        if process is None:
            return None
        return _advice("process", workers, "of aionif's tiers only processes can run it", why)
    if own is not None and own <= _SHORT and _is_inline(results, scenario):
        text = f"it takes {_text(own)} itself, and {_text(max(0.0, thread - own))} more on a thread"
        return _advice("inline", 0, text, "so short a call does not hold the event loop up")
    over = ratio(results, scenario, "process", "thread")
    if over is not None and over.value <= _NO_DEARER:
        text = f"a process costs no more than a thread here ({over.value:.2f}x), and contains more"
        return _advice("process", workers, text, why)
    return _advice("thread", workers, _against_process(process, thread), why)


def _advice(tier: Literal["inline", "thread", "process"], workers: int, *reasons: str) -> Advice:
    return Advice(tier=tier, workers=workers, reasons=reasons)


def _crash(results: Results, scenario: str) -> str:
    """Return how the function crashed; empty: it did not."""
    for cell in results.cells:
        if cell.scenario == scenario:
            if cell.status == "failed" and cell.note.startswith(_CRASHES):
                return cell.note.partition(":")[0]
            if cell.status == "died":
                return cell.note
    return ""


def _is_inline(results: Results, scenario: str) -> bool:
    return median_seconds(results, scenario, "call_nif") is not None


def _workers(results: Results, scenario: str, cpus: int) -> tuple[int, str]:
    """Return as many workers as keep the CPUs busy."""
    own = median_seconds(results, scenario, "direct")
    used = figure(results, scenario, "direct", "cpu_seconds_per_call")
    if not own or used is None or used >= _COMPUTES * own:
        return cpus, f"it computes, so more workers than the {cpus} CPUs would only wait for them"
    share = max(used / own, 1e-3)
    workers = min(_MOST_WORKERS, math.ceil(cpus / share))
    return workers, f"it waits for {1 - share:.0%} of its time, so workers can outnumber the CPUs"


def _against_process(process: float | None, thread: float) -> str:
    if process is None:
        return "it could not be called in a worker process"
    return (
        f"a process takes {_text(process)} where a thread takes {_text(thread)}; choose it all the "
        "same for code, or input, that you do not trust"
    )


def _text(seconds: float) -> str:
    for unit, name in ((1.0, "s"), (1e-3, "ms"), (1e-6, "us")):
        if seconds >= unit:
            return f"{seconds / unit:.3g} {name}"
    return f"{seconds * 1e9:.3g} ns"
