"""All that reads in this process what a worker process has written, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.fuzz.plain import read_message, read_plain
from tests.fuzz.reply import read_reply
from tests.fuzz.report import read_lane
from tests.fuzz.stderr import read_stderr

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("CORPORA", "PYTHON")

PYTHON: dict[str, Callable[[bytes], None]] = {
    "plain": read_plain,
    "message": read_message,
    "reply": read_reply,
    "report": read_lane,
    "stderr": read_stderr,
}
"""What runs under atheris. Each takes one input, and raises what it should not have."""

CORPORA = {"report": "lane"}
"""Readers that share another one's inputs."""
