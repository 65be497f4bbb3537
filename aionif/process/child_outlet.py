"""The program's stderr, as the listener writes to it (child_stderr).

Nobody may ever wait for the program's stderr: it can be a pipe that is not read, or a terminal that
is stopped. Whether a write blocks can't be asked beforehand, and O_NONBLOCK would be set for the
program too, which has the same open file. So:

- A regular file is written to by the listener itself, at once.
- Anything else is written to by a process of its own, the writer, which is forked when the first
  worker says something. It may wait as long as it likes. The listener feeds it by a pipe that does
  not block, and keeps up to 1 MiB for it; what comes on top is dropped, counted, and said.

Rejected: opening the same file anew through /proc, with O_NONBLOCK. There may be no /proc, and the
terminal or pipe of another user, as after `su`, can't be opened.

Nothing of the package is imported here, as in `child`.
"""

from __future__ import annotations

import os
import select
import signal
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Outlet",)

CHUNK = 65536
_ROOM = 1 << 20  # bytes that wait for a slow reader
_GRACE = 5  # seconds that a reader has to take the rest, once the program has ended


class Outlet:
    """The program's stderr."""

    def __init__(self, poll: Any, close_all_but: Callable[[list[int]], None]) -> None:
        self.lost = 0  # bytes that the program has not been told of
        self.feed = -1
        self._poll = poll
        self._close_all_but = close_all_but
        self._is_file = stat.S_ISREG(os.fstat(2).st_mode)
        self._waiting = bytearray()
        self._dropped = 0  # bytes since the last word about it
        self._started = 0.0  # when the writer was

    def put(self, data: bytes) -> None:
        """Pass it on, keep it until there is room, or drop it."""
        if self._is_file:
            self._write_file(data)
            return
        if len(self._waiting) + len(data) > (_ROOM // 2 if self._dropped else _ROOM):
            self._drop(len(data))
        else:
            self._waiting += data
        self.flush()

    def flush(self) -> None:
        """Give the writer what it takes now."""
        self._feed_writer()
        if self._dropped and len(self._waiting) <= _ROOM // 2:
            self._waiting += self._word()
            self._feed_writer()
        if self.feed >= 0:
            if self._waiting:
                self._poll.register(self.feed, select.POLLOUT)
            else:
                with suppress(KeyError):
                    self._poll.unregister(self.feed)

    def close(self) -> None:
        """Give the writer the rest, once nothing more will come."""
        os.dup2(0, 1)  # who waits for the end of the program's stdout need not wait for this
        end = time.monotonic() + _GRACE
        while (self._waiting or self._dropped) and time.monotonic() < end:
            self.flush()
            if self.feed < 0:
                break
            if self._waiting:
                poll = select.poll()
                poll.register(self.feed, select.POLLOUT)
                poll.poll(100)

    def _write_file(self, data: bytes) -> None:
        try:
            while data:
                data = data[os.write(2, data) :]
        except OSError:
            self._drop(len(data))
            self._dropped = 0  # there is no place to say it

    def _drop(self, count: int) -> None:
        self._dropped += count
        self.lost += count

    def _word(self) -> bytes:
        count, self._dropped = self._dropped, 0
        start = b"" if self._waiting.endswith(b"\n") else b"\n"
        return (
            start + b"aionif: %d bytes of workers' stderr were dropped: not read in time\n" % count
        )

    def _feed_writer(self) -> None:
        if self.feed < 0 and not (self._waiting and self._start_writer()):
            return
        try:
            while self._waiting:
                del self._waiting[: os.write(self.feed, self._waiting[:CHUNK])]
        except BlockingIOError:
            pass
        except OSError:  # it has ended: nobody reads the program's stderr any more
            with suppress(KeyError):
                self._poll.unregister(self.feed)
            os.close(self.feed)
            self.feed = -1

    def _start_writer(self) -> bool:
        now = time.monotonic()
        if self._started and now - self._started < 1:
            return False
        self._started = now
        try:
            theirs, ours = os.pipe()
        except OSError:
            return False
        listener = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            os.close(theirs)
            os.close(ours)
            return False
        if pid == 0:
            _become_writer(theirs, listener, self._close_all_but)
        os.close(theirs)
        os.set_blocking(ours, False)
        self.feed = ours
        return True


def _become_writer(
    feed: int, listener: int, close_all_but: Callable[[list[int]], None]
) -> NoReturn:
    """Write what comes to the program's stderr; end with the listener, though not at once."""
    alone = 0

    def look(*_: object) -> None:
        nonlocal alone
        alone += os.getppid() != listener
        if alone > _GRACE:  # nobody reads it
            os._exit(1)

    try:
        signal.signal(signal.SIGALRM, look)
        close_all_but([feed])
        os.dup2(0, 1)
        while chunk := os.read(feed, CHUNK):
            signal.setitimer(signal.ITIMER_REAL, 1, 1)
            _write(chunk)
            signal.setitimer(signal.ITIMER_REAL, 0)
    except BaseException:  # noqa: BLE001, S110 - there is nowhere to say it
        pass
    finally:
        os._exit(0)


def _write(chunk: bytes) -> None:
    while chunk:
        try:
            chunk = chunk[os.write(2, chunk) :]
        except BlockingIOError:  # the program has its stderr so
            select.select([], [2], [])
