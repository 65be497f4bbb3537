"""What the core has noticed by itself (a lost worker, a displaced handler) -> log events."""

from __future__ import annotations

from signal import Signals
from typing import Any

from aionif.core.native import ffi, lib
from aionif.core.taints import taints
from aionif.log import warn
from aionif.process import zygote
from aionif.sealing.seal import log_missing, words_of
from aionif.system.shortage import explain

__all__ = ("report_all",)

_EVENTS = {
    lib.AIONIF_CORE_RETIRED: ("worker_retired", "a crashed call left a lock held"),
    lib.AIONIF_CORE_ABANDONED: ("worker_abandoned", "its call did not end when told to"),
    lib.AIONIF_CORE_UNENDED: ("worker_abandoned", "code that its thread runs as it ends hangs"),
    lib.AIONIF_CORE_DISPLACED: ("handler_displaced", "aionif's handler is in front again"),
    lib.AIONIF_CORE_NO_FILTER: ("exit_not_contained", None),
    lib.AIONIF_CORE_NO_WORKER: ("worker_not_started", None),
    lib.AIONIF_CORE_TAINTED: ("process_tainted", None),
    lib.AIONIF_CORE_ZYGOTE_LOST: ("zygote_lost", "another one is started"),
    lib.AIONIF_CORE_SLOW: ("nif_slow", None),
    lib.AIONIF_CORE_MISBEHAVED: ("worker_misbehaved", "it wrote what it may not; it was killed"),
}


def report_all(names: dict[int, str]) -> None:
    """Log everything noticed since the last time; names: of functions, by address."""
    event = ffi.new("struct aionif_core_event *")
    while lib.aionif_take_core_event(event):
        if event.kind == lib.AIONIF_CORE_UNSEALED:
            log_missing(words_of(event.detail), _text(event.text), _text(event.executor))
            continue
        if event.kind == lib.AIONIF_CORE_ZYGOTE_WANTED:
            zygote.numbered(event.thread).revive()
            continue
        if event.kind == lib.AIONIF_CORE_ZYGOTE_ENDED:
            zygote.numbered(event.thread).bury_spent()
            continue
        name, reason = _EVENTS[event.kind]
        if event.kind == lib.AIONIF_CORE_ZYGOTE_LOST:
            warn(name, **_of_lost_zygote(zygote.numbered(event.thread), reason, event.detail))
            continue
        executor = _text(event.executor)
        warn(name, **_fields(event, reason, names), **({"executor": executor} if executor else {}))


def _text(field: Any) -> str:
    return bytes(ffi.string(field)).decode("utf-8", "replace")


def _of_lost_zygote(lost: zygote.Zygote, reason: str | None, stillborn: int) -> dict[str, Any]:
    if stillborn:
        return {"reason": lost.problem()[0], "stderr": lost.last_words() or None}
    lost.revive()
    return {"reason": reason}


def _fields(event: Any, reason: str | None, names: dict[int, str]) -> dict[str, Any]:
    text = _text(event.text)
    if event.kind == lib.AIONIF_CORE_NO_WORKER:
        return {"reason": explain(int(event.detail), text)[0]}
    if event.kind == lib.AIONIF_CORE_TAINTED:
        return {"reason": ", ".join(taints(event.detail))}
    if event.kind == lib.AIONIF_CORE_SLOW:
        name = names.get(int(event.function), hex(event.function))
        return {"function": name, "pool": _text(event.executor), "duration": event.detail / 1000}
    fields: dict[str, Any] = {"reason": reason or text}
    if event.thread:
        fields["thread"] = int(event.thread)
    if event.function:
        fields["function"] = names.get(int(event.function), hex(event.function))
    if event.kind == lib.AIONIF_CORE_DISPLACED:
        fields["signal"] = Signals(event.detail).name
    return fields
