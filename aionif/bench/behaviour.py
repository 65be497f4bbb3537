"""What a subject does when a call crashes, hangs or is cancelled: tried, not written by hand."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

from aionif.bench._behave import Trial
from aionif.bench._children import Ending, run_child
from aionif.bench.result import Behaviour

if TYPE_CHECKING:
    from aionif.bench.subjects import Subject

__all__ = ("observe",)

_CHILD = "aionif.bench._behave"
_BOUND = 6.0  # seconds; all that a child waits for by itself is less


async def observe(
    subject: Subject,
    event: Literal["crash", "hang", "cancel"],
    *,
    workers: int,
    turns: float,
    bound: float = _BOUND,
) -> Behaviour:
    """Have one call of a subject go wrong in a child process, and return what was seen.

    workers: of the subject. turns: of native work in a microsecond. bound: seconds after which the
    child is killed if nothing more comes of it.
    """
    trial = Trial(subject=subject.name, event=event, workers=workers, turns=turns)
    ending = await run_child(_CHILD, asdict(trial), bound=bound)
    seen: dict[str, Any] = {}
    for line in ending.lines:
        seen |= line
    others = seen.pop("bystander_was_told", "")
    return Behaviour(
        subject=subject.name,
        event=event,
        survived=ending.status == 0,
        note=_note(ending, seen, others),
        **{"told": "", **seen},
    )


def _note(ending: Ending, seen: dict[str, Any], others: str) -> str:
    parts = []
    if ending.status is None:
        parts.append("the program hung, and was killed")
    elif ending.status != 0:
        parts.append(ending.note)
    if others:
        parts.append(f"bystanders got {others}")
    elif seen.get("bystanders_lost"):
        parts.append("bystanders did not end in time")
    return "; ".join(parts)
