"""What the core has noticed by itself (a lost worker, a displaced handler) -> log events."""

from __future__ import annotations

from signal import Signals
from typing import Any

from aionif import _zygote
from aionif._crash import taints
from aionif._native import ffi, lib
from aionif._seal import log_missing, words_of
from aionif.telemetry.log import warn

__all__ = ("report_all",)

_EVENTS = {
    lib.AIONIF_NOTICE_RETIRED: ("worker_retired", "a crashed call left a lock held"),
    lib.AIONIF_NOTICE_ABANDONED: ("worker_abandoned", "its call did not end when told to"),
    lib.AIONIF_NOTICE_DISPLACED: ("handler_displaced", "aionif's handler is in front again"),
    lib.AIONIF_NOTICE_NO_FILTER: ("exit_not_contained", None),
    lib.AIONIF_NOTICE_NO_WORKER: ("worker_not_started", None),
    lib.AIONIF_NOTICE_TAINTED: ("process_tainted", None),
    lib.AIONIF_NOTICE_ZYGOTE_LOST: ("zygote_lost", "another one is started"),
    lib.AIONIF_NOTICE_SLOW: ("nif_slow", None),
    lib.AIONIF_NOTICE_MISBEHAVED: ("worker_misbehaved", "it wrote what it may not; it was killed"),
}


def report_all(names: dict[int, str]) -> None:
    """Log everything noticed since the last time; names: of functions, by address."""
    notice = ffi.new("struct aionif_notice *")
    while lib.aionif_take_notice(notice):
        if notice.kind == lib.AIONIF_NOTICE_UNSEALED:
            log_missing(words_of(notice.detail), ffi.string(notice.text).decode(errors="replace"))
            continue
        if notice.kind == lib.AIONIF_NOTICE_ZYGOTE_WANTED:
            _zygote.revive()
            continue
        event, reason = _EVENTS[notice.kind]
        if notice.kind == lib.AIONIF_NOTICE_ZYGOTE_LOST and not notice.detail:
            _zygote.revive()
        warn(event, **_fields(notice, reason, names))


def _fields(notice: Any, reason: str | None, names: dict[int, str]) -> dict[str, Any]:
    text = ffi.string(notice.text).decode("utf-8", "replace")
    if notice.kind == lib.AIONIF_NOTICE_ZYGOTE_LOST and notice.detail:  # before it was ready
        return {"reason": _zygote.problem()[0], "stderr": _zygote.last_words() or None}
    if notice.kind == lib.AIONIF_NOTICE_NO_WORKER:
        return {"reason": _zygote.lack(int(notice.detail), text)[0]}
    if notice.kind == lib.AIONIF_NOTICE_TAINTED:
        return {"reason": ", ".join(taints(notice.detail))}
    if notice.kind == lib.AIONIF_NOTICE_SLOW:
        name = names.get(int(notice.function), hex(notice.function))
        return {"function": name, "pool": text, "duration": notice.detail / 1000}
    fields: dict[str, Any] = {"reason": reason or text}
    if notice.thread:
        fields["thread"] = int(notice.thread)
    if notice.function:
        fields["function"] = names.get(int(notice.function), hex(notice.function))
    if notice.kind == lib.AIONIF_NOTICE_DISPLACED:
        fields["signal"] = Signals(notice.detail).name
    return fields
