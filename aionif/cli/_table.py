"""A table that is printed row by row, as things happen."""

from __future__ import annotations

import os
import shutil
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aionif.cli._calls import Row

__all__ = ("Table", "format_seconds")

_FALLBACK_WIDTH = 120  # columns, where stdout is not a terminal
_NARROWEST, _WIDEST = 96, 160
_ERROR_WIDTH = len("NifStackOverflow")
_TIME_HEAD = "time to know"
_BOLD, _DIM, _RED, _CYAN = "1", "2", "31;1", "36"


def format_seconds(seconds: float) -> str:
    """Return a duration with a unit that suits it: `87 us`, `12.3 ms`, `1.24 s`."""
    if seconds < 1e-3:  # noqa: PLR2004 - a millisecond
        return f"{seconds * 1e6:.0f} us"
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


class Table:
    """Prints to stdout; in colour on a terminal, unless NO_COLOR is set.

    call_width: characters of the longest name in the first column.
    """

    def __init__(self, call_width: int) -> None:
        self._colours = (
            sys.stdout.isatty()
            and not os.environ.get("NO_COLOR")
            and os.environ.get("TERM") != "dumb"
        )
        columns = shutil.get_terminal_size((_FALLBACK_WIDTH, 0)).columns
        width = min(max(columns, _NARROWEST), _WIDEST)
        self._call_width = call_width
        self._what_width = width - call_width - _ERROR_WIDTH - len(_TIME_HEAD) - 8

    def head(self) -> None:
        """Print the names of the columns."""
        self._cells("call", "what happened", "exception", _TIME_HEAD, _DIM)

    def section(self, title: str) -> None:
        """Print a heading."""
        self.line(f"\n{self._painted(title, _BOLD)}")

    def row(self, row: Row) -> None:
        """Print one row; one that did not come out as it should is marked, and says so below."""
        seconds = "" if row.seconds is None else format_seconds(row.seconds)
        self._cells(row.call, row.what, row.error or "", seconds, _CYAN)
        if row.problem:
            self.line(self._painted(f"  ! {row.call}: expected {row.problem}", _RED))

    def line(self, text: str = "") -> None:
        """Print a line as it is; nothing more once the reader has gone, as `head` does."""
        try:
            print(text, flush=True)
        except BrokenPipeError:
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, sys.stdout.fileno())
            os.close(nowhere)

    def _cells(self, call: str, what: str, error: str, seconds: str, error_colour: str) -> None:
        what = " ".join(what.split())
        if len(what) > self._what_width:
            what = f"{what[: self._what_width - 3]}..."
        error = self._painted(f"{error:{_ERROR_WIDTH}}", error_colour)
        head = f"  {call:{self._call_width}}  {what:{self._what_width}}"
        line = f"{head}  {error}  {seconds:>{len(_TIME_HEAD)}}"
        self.line(line.rstrip())

    def _painted(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colours else text
