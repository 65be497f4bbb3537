"""What `aionif top` was told: data of another process, held to its shape before it is shown."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

from aionif.system.escape import printable
from aionif.telemetry.series import FATES, Histogram
from aionif.telemetry.top import connect

if TYPE_CHECKING:
    import socket

__all__ = ("Snapshot", "read")

Snapshot = dict[str, Any]

_PATIENCE = 10.0  # seconds for a whole answer
_MOST = 16 << 20  # bytes of an answer
_DEEPEST = 64  # levels of supervisors below each other

_COUNT = {str: int}
_EXECUTOR = {
    "counts": _COUNT,
    "restarts": _COUNT,
    "functions": [
        {
            "function": str,
            "library": (str, type(None)),
            "calls": _COUNT,
            "crashes": _COUNT,
            "duration": [int],
            "queue_wait": [int],
        }
    ],
    "breakers": [dict],
}
_SHAPE = {
    "pid": int,
    "time": (int, float),
    "tainted": [str],
    "executors": {str: _EXECUTOR},
    "supervisors": [dict],
}
_SUPERVISOR = {
    "name": str,
    "strategy": str,
    "restarts": int,
    "active": int,
    "specs": int,
    "children": [dict],
    "more": _COUNT,
}
_NUMBERS = ("workers", "running", "queued", "submitted")


def read(pid: int) -> Snapshot:
    """Return what a process of this user tells of itself; all text in it is printable.

    Raises:
        OSError: there is no answer. ValueError: it is none of `aionif top`.
    """
    with connect(pid, _PATIENCE) as connection:
        line = _receive(connection)
    if not line.endswith(b"\n"):
        raise ConnectionResetError(f"process {pid} has ended, or tells too much")
    try:
        snapshot = json.loads(line, parse_constant=float)
        _check(snapshot)
    except (ValueError, RecursionError) as problem:
        raise ValueError(f"what process {pid} tells can't be read: {problem}") from None
    found: Snapshot = _shown(snapshot)
    return found


def _receive(connection: socket.socket) -> bytes:
    parts: list[bytes] = []
    end = time.monotonic() + _PATIENCE
    while sum(map(len, parts)) <= _MOST and time.monotonic() < end:
        part = connection.recv(1 << 20)
        parts.append(part)
        if not part or part.endswith(b"\n"):
            return b"".join(parts)
    return b""


def _check(snapshot: Any) -> None:
    _match(snapshot, _SHAPE, "")
    for name, executor in snapshot["executors"].items():
        if executor["counts"] and any(number not in executor["counts"] for number in _NUMBERS):
            raise ValueError(f"counts of {printable(name)} are missing")
        for function in executor["functions"]:
            _check_function(function)
        for breaker in executor["breakers"]:
            rest = {
                key: value for key, value in breaker.items() if key not in {"function", "library"}
            }
            _match(rest, {str: int}, "breakers")
            _match(breaker.get("function"), str, "breakers")
            breaker.setdefault("openings", 0)
    for supervisor in snapshot["supervisors"]:
        _check_supervisor(supervisor, _DEEPEST)


def _check_function(function: Any) -> None:
    buckets = len(Histogram().buckets)
    if {len(function["duration"]), len(function["queue_wait"])} != {buckets}:
        raise ValueError("its durations are of another version")
    if any(fate not in function["calls"] for fate in FATES):
        raise ValueError("its outcomes are of another version")
    if not all(number.isdecimal() and len(number) < 4 for number in function["crashes"]):  # noqa: PLR2004
        raise ValueError("a signal is no number")


def _check_supervisor(supervisor: Any, levels: int) -> None:
    if not levels:
        raise ValueError("supervisors are nested too deep")
    _match(supervisor, _SUPERVISOR, "supervisors")
    for child in supervisor["children"]:
        _match(child, {"id": str, "state": str}, "children")
        if "supervisor" in child:
            _check_supervisor(child["supervisor"], levels - 1)


def _match(value: Any, shape: Any, place: str) -> None:
    """Raise ValueError unless a value is as a shape says: a type, or a container of shapes."""
    if isinstance(shape, dict) and isinstance(value, dict):
        if str in shape:
            for each in value.values():
                _match(each, shape[str], place)
            return
        for key, inner in shape.items():
            _match(value.get(key), inner, key)
    elif isinstance(shape, list) and isinstance(value, list):
        for each in value:
            _match(each, shape[0], place)
    elif isinstance(shape, (dict, list)) or not _is_a(value, shape):
        raise ValueError(f"{place or 'it'} is not of the right type")


def _is_a(value: Any, wanted: Any) -> bool:
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return isinstance(value, wanted) and 0 <= value < 1 << 64
    return isinstance(value, wanted) and not isinstance(value, bool)


def _shown(value: Any) -> Any:
    """Return a copy with all text printable."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, dict):
        return {printable(key): _shown(each) for key, each in value.items()}
    return [_shown(each) for each in value] if isinstance(value, list) else value
