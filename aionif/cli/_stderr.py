"""Keeping the process's stderr out of a table.

Native code that dies has much to say: assert's message, Rust's panic with a backtrace, what malloc
thinks of the heap. It writes to descriptor 2 itself, so redirecting `sys.stderr` would not do.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

__all__ = ("kept_stderr",)

_STDERR = 2


@contextlib.contextmanager
def kept_stderr() -> Iterator[Callable[[], str]]:
    """Send descriptor 2 to a file for a while; yield a function that reads what is there so far."""
    with tempfile.TemporaryFile() as file:
        sys.stderr.flush()
        saved = os.dup(_STDERR)
        os.dup2(file.fileno(), _STDERR)

        def read() -> str:
            sys.stderr.flush()
            size = os.fstat(file.fileno()).st_size
            return os.pread(file.fileno(), size, 0).decode(errors="replace")

        try:
            yield read
        finally:
            sys.stderr.flush()
            os.dup2(saved, _STDERR)
            os.close(saved)
