"""Plain data: the stream and its buffers, and the message that holds both.

An input of `plain` begins with the number of buffers, modulo 4, and for each of them one byte:
twice its length, and one if it can be written to. The rest is the stream; buffers are zeros.
"""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np  # noqa: F401 - loading it takes memory, which is not the fault of an input

from aionif.process import message
from aionif.process.plain_reader import BudgetError, PlainError, decode, most_buffers
from aionif.process.remote_errors import rebuild
from tests.fuzz.bounds import MOST, bounded

__all__ = ("ALLOWED", "copied", "look_at", "read_message", "read_plain")

ALLOWED = (PlainError, BudgetError, ImportError)


def copied(buffer: Any) -> bytes | bytearray:
    """Return a buffer as the reading side has it."""
    view = memoryview(buffer)
    return (bytes if view.readonly else bytearray)(view)


def look_at(value: Any) -> None:
    """Do what is done with a value that says that something was raised."""
    if isinstance(value, tuple) and len(value) == 4:
        str(rebuild(value[1], value[3], "", {}))


def read_plain(data: bytes) -> None:
    count = data[0] % 4 if data else 0
    heads, stream = data[1 : 1 + count], data[1 + count :]
    buffers = [(bytearray if head & 1 else bytes)(head >> 1) for head in heads]
    bounded(lambda: look_at(decode(stream, buffers, MOST)), len(stream), ALLOWED)


def read_message(data: bytes) -> None:
    """Read a message as it lies in memory, and in a file: both ways have to agree."""
    bounded(lambda: _split(data), len(data), (*ALLOWED, ValueError, struct.error))


def _split(data: bytes) -> None:
    failed: Exception | None = None
    try:
        stream, buffers = message.split(data, most_buffers(MOST))
    except (ValueError, struct.error) as error:
        failed = error
    file: Any = io.BufferedReader(io.BytesIO(data))
    try:
        again, others = message.split_file(file, len(data), most_buffers(MOST))
    except (ValueError, struct.error):
        assert failed is not None, "a message in memory that is none in a file"
        return
    assert failed is None, "a message in a file that is none in memory"
    assert (again, others) == (bytes(stream), buffers)
    look_at(decode(again, others, MOST))
