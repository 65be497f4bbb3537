"""What workers write to stderr, and who reads it: the listener, a process beside the zygote.

It is not the zygote itself, as workers to come have that one's memory: what one of them has
written is not for another. The listener is told of workers by the zygote, with the descriptor of
each; it tells the parent how they ended, with the last that they wrote.

A worker is read in turn with all others, and after a burst no faster than 8 MiB a second: it
waits for some milliseconds, never for the program's stderr (child_outlet).

What an unsealed worker writes is passed on byte by byte. What a sealed one writes is kept for its
reports alone, or where its policy asks for it passed on in whole lines, each with the worker's id
before it and with everything escaped that a terminal would obey.

Nothing of the package is imported here, as in `child`.
"""

from __future__ import annotations

import importlib.util
import os
import select
import signal
import socket
import struct
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Listener", "Speaker", "start")

RAW, REPORT, PASS = b"raw", b"report", b"pass"  # the first line of a setup
OVER = b"over"  # what the zygote says of a worker that has ended
WORD = struct.Struct("<Qii8s")  # what it says: see child_zygote
NEWS = struct.Struct("<QiiiI")  # struct news of csrc/processes/news.c
TOLD = struct.Struct("<Q")  # to the zygote: the parent knows of the end of this one
ENDED, LOST = 2, 5
TAIL = 4096 - NEWS.size  # bytes of stderr that go with the news of a worker's end
CHUNK = 65536
_MOST = (1 << 31) - 1
_BETWEEN = 1.0  # seconds between two words to the parent about stderr that was lost
_BURST = 1 << 20  # bytes of one worker that are read as they come
_RATE = 8 << 20  # bytes a second of one worker after that
_LAST = 1 << 20  # bytes that are read of one that has died
_LINE = 4096  # bytes; a longer line of a sealed worker is cut into several


def start(
    outlet_type: Any, said: bytes, close_all_but: Callable[[list[int]], None], news: int
) -> tuple[int, socket.socket]:
    """Fork the listener, with what is to be passed on; return its id, and our end of its socket."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the writer
            close_all_but([theirs.fileno(), news])
            _take_name()
            poll = select.poll()
            outlet = outlet_type(poll, close_all_but)
            outlet.put(said)
            listener = Listener(theirs, socket.socket(fileno=news), poll, outlet)
            listener.serve()
            listener.close()
        finally:
            os._exit(0)
    theirs.close()
    return pid, ours


def _take_name() -> None:
    """Be told from workers, which have the zygote's name."""
    with suppress(OSError):
        file = os.open("/proc/self/comm", os.O_WRONLY)
        try:
            os.write(file, b"aionif-stderr")
        finally:
            os.close(file)


class Listener:
    """It reads what workers write until the zygote has ended."""

    def __init__(self, words: Any, news: Any, poll: Any, outlet: Any) -> None:
        self.words = words
        self.news = news
        self.poll = poll
        self.outlet = outlet
        self.poll.register(words, select.POLLIN)
        self.speakers: dict[int, Speaker] = {}  # by serial
        self.by_descriptor: dict[int, Speaker] = {}  # those that are not at their end
        self.resting: dict[int, float] = {}  # until when such a one is not read
        self.told = -_BETWEEN

    def serve(self) -> None:
        while True:
            for descriptor, _ in self.poll.poll(self.wake_rested()):
                if descriptor == self.words.fileno():
                    if not self.take_word():
                        return
                elif descriptor == self.outlet.feed:
                    self.outlet.flush()
                elif descriptor in self.by_descriptor:
                    self.hear(descriptor)

    def close(self) -> None:
        """Have what they said written."""
        self.news.close()  # by its end the parent knows
        for speaker in self.speakers.values():
            speaker.drain()
        self.outlet.close()

    def take_word(self) -> bool:
        """Hear of a worker's start, or of its end; False: the zygote has ended."""
        try:
            data, descriptors, _, _ = socket.recv_fds(self.words, 64, 1, socket.MSG_CMSG_CLOEXEC)
        except OSError:
            return False
        if not data:
            return False
        serial, pid, status, word = WORD.unpack(data)
        word = word.rstrip(b"\0")
        if descriptors:
            self.meet(serial, Speaker(descriptors[0], pid, word, self.outlet))
        elif word == OVER:
            self.bury(serial, pid, status)
        return True

    def meet(self, serial: int, speaker: Speaker) -> None:
        """Read what this worker writes, from now on."""
        os.set_blocking(speaker.descriptor, False)
        self.speakers[serial] = self.by_descriptor[speaker.descriptor] = speaker
        self.poll.register(speaker.descriptor, select.POLLIN)

    def hear(self, descriptor: int) -> None:
        """Take some of what a worker has written."""
        speaker = self.by_descriptor[descriptor]
        if not speaker.read():
            self.poll.unregister(descriptor)
            del self.by_descriptor[descriptor]
        elif until := speaker.rest(time.monotonic()):
            self.poll.unregister(descriptor)
            self.resting[descriptor] = until

    def wake_rested(self) -> int | None:
        """Read again from those that may write on; return the milliseconds until there is more."""
        now = time.monotonic()
        self.tell_losses(now)
        for descriptor, until in list(self.resting.items()):
            if until <= now:
                del self.resting[descriptor]
                self.poll.register(descriptor, select.POLLIN)
        due = [*self.resting.values(), *([self.told + _BETWEEN] if self.outlet.lost else [])]
        return int((min(due) - now) * 1000) + 1 if due else None

    def tell_losses(self, now: float) -> None:
        """Tell the parent, now and then, how much could not be passed on."""
        if self.outlet.lost and now >= self.told + _BETWEEN:
            self.told = now
            lost, self.outlet.lost = min(self.outlet.lost, _MOST), 0
            self.tell(NEWS.pack(0, LOST, lost, 0, 0))

    def tell(self, news: bytes) -> None:
        with suppress(OSError):  # the parent has ended, and the zygote will
            self.news.send(news)

    def bury(self, serial: int, pid: int, status: int) -> None:
        """Read what is left, tell the parent, then the zygote."""
        speaker = self.speakers.pop(serial)
        speaker.drain()
        self.resting.pop(speaker.descriptor, None)
        self.by_descriptor.pop(speaker.descriptor, None)
        with suppress(KeyError):  # its stderr had ended before, or rests
            self.poll.unregister(speaker.descriptor)
        os.close(speaker.descriptor)
        tail = speaker.tail(TAIL)
        self.tell(NEWS.pack(serial, ENDED, pid, status, len(tail)) + tail)
        with suppress(OSError):  # the zygote has ended
            self.words.send(TOLD.pack(serial))


class Speaker:
    """The stderr of one worker."""

    def __init__(self, descriptor: int, pid: int, way: bytes, outlet: Any) -> None:
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
