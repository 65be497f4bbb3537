"""What workers write to stderr, on its way through the zygote; `child` loads it by its path.

Nobody may ever wait for the program's stderr: it can be a pipe that is not read, or a terminal that
is stopped, and the zygote starts the workers of all executors. Whether a write blocks can't be
asked beforehand, and O_NONBLOCK would be set for the program too, which has the same open file. So:

- A regular file is written to by the zygote itself, at once.
- Anything else is written to by a process of its own, the writer, which is forked when the first
  worker says something. It may wait as long as it likes. The zygote feeds it by a pipe that does
  not block, and keeps up to 1 MiB for it; what comes on top is dropped, counted, and said.
- A worker is read in turn with all others, and after a burst no faster than 8 MiB a second: it
  waits for some milliseconds, never for the program's stderr.

What an unsealed worker writes is passed on byte by byte. What a sealed one writes is kept for its
reports alone, or where its policy asks for it passed on in whole lines, each with the worker's id
before it and with everything escaped that a terminal would obey.

Rejected: opening the same file anew through /proc, with O_NONBLOCK. There may be no /proc, and the
terminal or pipe of another user, as after `su`, can't be opened.

Nothing of the package is imported here, as in `child`.
"""

from __future__ import annotations

import importlib.util
import os
import select
import signal
import stat
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Outlet", "Speaker")

RAW, REPORT, PASS = b"raw", b"report", b"pass"  # the first line of a setup
CHUNK = 65536
_ROOM = 1 << 20  # bytes that wait for a slow reader
_BURST = 1 << 20  # bytes of one worker that are read as they come
_RATE = 8 << 20  # bytes a second of one worker after that
_LAST = 1 << 20  # bytes that are read of one that has died
_LINE = 4096  # bytes; a longer line of a sealed worker is cut into several
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
        zygote = os.getpid()
        try:
            pid = os.fork()
        except OSError:
            os.close(theirs)
            os.close(ours)
            return False
        if pid == 0:
            _become_writer(theirs, zygote, self._close_all_but)
        os.close(theirs)
        os.set_blocking(ours, False)
        self.feed = ours
        return True


def _become_writer(feed: int, zygote: int, close_all_but: Callable[[list[int]], None]) -> NoReturn:
    """Write what comes to the program's stderr; end with the zygote, though not at once."""
    alone = 0

    def look(*_: object) -> None:
        nonlocal alone
        alone += os.getppid() != zygote
        if alone > _GRACE:  # nobody reads it
            os._exit(1)

    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
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


class Speaker:
    """The stderr of one worker."""

    def __init__(self, descriptor: int, pid: int, way: bytes, outlet: Outlet) -> None:
        self.descriptor = descriptor
        self._label = b"[worker %d] " % pid
        self._way = way
        self._outlet = outlet
        self._tail = b""
        self._total = 0
        self._line = b""
        self._credit = float(_BURST)
        self._counted = time.monotonic()

    def read(self) -> bool:
        """Take some of what there is; False: no more will come."""
        try:
            chunk = os.read(self.descriptor, CHUNK)
        except BlockingIOError:
            return True
        self._total += len(chunk)
        self._credit -= len(chunk)
        self._tail = (self._tail + chunk)[-CHUNK:]
        if self._way == RAW:
            self._outlet.put(chunk)
        elif self._way == PASS:
            self._pass_on(chunk)
        return bool(chunk)

    def rest(self, now: float) -> float:
        """Return until when it is not to be read: it has used up what it may write at once."""
        self._credit = min(self._credit + (now - self._counted) * _RATE, _BURST)
        self._counted = now
        return now - self._credit / _RATE if self._credit < 0 else 0.0

    def drain(self) -> None:
        """Read what it wrote before it died. Its own children may go on writing."""
        poll = select.poll()
        poll.register(self.descriptor, select.POLLIN)
        end = self._total + _LAST
        while self._total < end and poll.poll(0) and self.read():
            pass
        if self._line:
            self._pass_on(b"\n")

    def tail(self, room: int) -> bytes:
        """Return the end of what it wrote; what is missing before it is said."""
        if self._total <= room:
            return self._tail[-room:]
        word = b"(%d bytes came before this)\n"
        kept = self._tail[len(word) + 20 - room :]
        return word % (self._total - len(kept)) + kept

    def _pass_on(self, chunk: bytes) -> None:
        *lines, self._line = (self._line + chunk).split(b"\n")
        while len(self._line) > _LINE:
            lines.append(self._line[:_LINE])
            self._line = self._line[_LINE:]
        shown = [_printable(line.decode("utf-8", "replace"), "\t").encode() for line in lines]
        self._outlet.put(b"".join(self._label + line + b"\n" for line in shown))


def _printable(text: str, keep: str) -> str:
    global _escape  # noqa: PLW0603 - loaded once, where somebody asks for it
    if _escape is None:
        place = os.path.join(os.path.dirname(__file__), "..", "system", "escape.py")  # noqa: PTH118, PTH120
        spec = importlib.util.spec_from_file_location("aionif.system.escape", place)
        _escape = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
        spec.loader.exec_module(_escape)  # type: ignore[union-attr]
    return str(_escape.printable(text, keep))


_escape: Any = None
