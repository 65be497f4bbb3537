"""The whole reply of a sealed worker, to a call of a Python callable.

An input begins with what the worker says of its reply, eight bytes. The rest is what lies in the
call's block, or in the memory for large results.
"""

from __future__ import annotations

import os
import traceback
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import numpy as np  # noqa: F401 - as in plain.py

from aionif import NifError, NifLimits, NifPolicy, Sandbox
from aionif.core.native import ffi, lib
from aionif.memory.arena import HEADER, SIZE
from aionif.process import remote_errors, replies
from aionif.process.packed import Later
from tests.fuzz.bounds import MOST, FindingError, bounded

__all__ = ("read_reply",)

_POLICY = NifPolicy(sandbox=Sandbox.compute(limits=NifLimits(result_size=MOST)))
_PLAN: Any = SimpleNamespace(name="function", library=None)
_EXPECTED: tuple[type[Exception], ...] = (NifError, *remote_errors._BUILT_IN.values())
_LIKE_A_REPLY = ffi.cast("struct aionif_reply *", 64)


class _Core:
    """The core, with one large result in a file of ours."""

    def __init__(self, data: bytes) -> None:
        self.file = os.memfd_create("reply")
        self.returned = 0
        os.write(self.file, data)

    def aionif_reply_descriptor(self, _: Any) -> int:
        return self.file

    def aionif_reply_give_back(self, _: Any) -> None:
        self.returned += 1

    def __getattr__(self, name: str) -> Any:
        return getattr(lib, name)


def read_reply(data: bytes) -> None:
    answer = int.from_bytes(data[:8], "little")
    data = data[8 : 8 + SIZE - HEADER]
    if answer & replies._ELSEWHERE:
        _read_large(answer, data)
    else:
        memory = ffi.new("char[]", SIZE)
        memory[HEADER : HEADER + len(data)] = data
        block = SimpleNamespace(address=int(ffi.cast("uintptr_t", memory)))
        _read(answer, SimpleNamespace(block=block), ffi.NULL, len(data))


def _read_large(answer: int, data: bytes) -> None:
    core: Any = _Core(data)
    try:
        with patch.object(replies, "lib", core):
            _read(answer, None, _LIKE_A_REPLY, len(data))
            _read(answer, None, ffi.NULL, len(data))  # it says so, and has not got it
    finally:
        os.close(core.file)
    if core.returned != 1:
        raise FindingError(f"its memory was given back {core.returned} times")


def _read(answer: int, packed: Any, large: Any, size: int) -> None:
    is_error = bool(answer & replies._ERROR)

    def read() -> None:
        try:
            value = replies.result(answer, packed, large, _PLAN, _POLICY)
            if isinstance(value, Later):
                value = value.here()
        except _EXPECTED as error:
            if not isinstance(error, NifError) and not is_error:
                raise FindingError(f"{type(error).__name__} of a result") from error
            "".join(traceback.format_exception_only(error))
            str(error.__cause__)
            repr(error)

    bounded(read, SIZE + size, (NifError,))
