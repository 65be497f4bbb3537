"""Callables for workers, in a module that is quickly imported."""

from __future__ import annotations

import os
import signal
from array import array
from typing import Any, NoReturn

__all__ = ("echo", "large", "nested", "shout", "stop")


def echo(value: Any) -> Any:
    """Return what was given."""
    return value


def large(size: int) -> array[int]:
    """Return an array of so many bytes."""
    return array("B", bytes(size))


def nested(items: int) -> list[list[int]]:
    """Return what has many objects for its bytes."""
    return [[n] for n in range(items)]


def shout() -> NoReturn:
    """Write to stderr without a pause."""
    line = b"x" * 4095 + b"\n"
    while True:
        os.write(2, line)


def stop() -> None:
    """Stop the own process, where that is allowed."""
    os.kill(os.getpid(), signal.SIGSTOP)
