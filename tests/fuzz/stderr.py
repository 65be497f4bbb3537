"""What a worker writes to stderr, as the zygote passes it on and keeps it for reports.

An input is a row of chunks: two bytes of length each, then the bytes.
"""

from __future__ import annotations

import os
from typing import Any

from aionif.process.child_stderr import PASS, Speaker
from tests.fuzz.bounds import MOST, FindingError, bounded

__all__ = ("read_stderr",)

_LABEL = "[worker 7] "
_ROOM = 4096  # of a report


class _Outlet:
    def __init__(self) -> None:
        self.passed = bytearray()

    def put(self, data: bytes) -> None:
        self.passed += data


def read_stderr(data: bytes) -> None:
    bounded(lambda: _pass_on(data), MOST + 64 * len(data), ())


def _pass_on(data: bytes) -> None:
    outlet: Any = _Outlet()
    theirs, ours = os.pipe2(os.O_NONBLOCK)
    try:
        speaker = Speaker(theirs, 7, PASS, outlet)
        while len(data) > 2:
            size = int.from_bytes(data[:2], "little") % 8192
            os.write(ours, data[2 : 2 + size] or b"\n")
            speaker.read()
            data = data[2 + size :]
            _check(speaker)
        speaker.drain()
        _check(speaker)
    finally:
        os.close(theirs)
        os.close(ours)
    for line in outlet.passed.decode().splitlines():
        if not line.startswith(_LABEL) or not line.replace("\t", " ").isprintable():
            raise FindingError(f"passed on: {line[:80]!r}")


def _check(speaker: Speaker) -> None:
    if len(speaker.tail(_ROOM)) > _ROOM:
        raise FindingError("more than a report has room for")
