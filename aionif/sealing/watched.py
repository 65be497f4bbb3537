"""A child process whose system calls this process is asked about, and always lets go on.

seccomp's user notification, with the answer CONTINUE. Other ways: ptrace needs a permission that
containers often withhold, and stops the workload twice per call. RET_LOG writes to the audit log,
which takes privileges to read. RET_TRAP would have to make each call again from its own handler.

What is read behind a pointer may have been changed by another thread before the kernel looks at it.
That matters to a guard, and this is none: it only takes notes.
"""

from __future__ import annotations

import fcntl
import os
import pickle
import select
import socket
import struct
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Self

from aionif.core.native import lib
from aionif.errors import NifRejected, NifTimeout
from aionif.filters.bpf import ALLOW, NOTIFY, Call, Clause, Test, compile_filter
from aionif.filters.syscalls import number_of
from aionif.sealing.seal import pack_seal
from aionif.system.processor import HERE

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("Notice", "Watched", "be_watched")

# linux/seccomp.h
_RECEIVE, _SEND, _CONTINUE = 0xC0502100, 0xC0182101, 1
_NOTICE = struct.Struct("=QIIiIQ6Q")  # id, pid, flags, struct seccomp_data
_ANSWER = struct.Struct("=QqiI")

_HERE = -100  # AT_FDCWD
_LONGEST_PATH = 4096
_PAGE = 4096

_PROGRAM = """
import pickle, sys
sys.path[:] = pickle.load(sys.stdin.buffer)
from aionif.sealing.watched import be_watched
be_watched(int(sys.argv[1]))
"""


class Notice(NamedTuple):
    """One system call of the child, or of a process or thread that it started."""

    pid: int
    call: Call

    def text(self, address: int) -> str | None:
        """Return the string at an address of the caller's; None if it can't be read."""
        data = self.memory(address, _LONGEST_PATH)
        return os.fsdecode(data.split(b"\0")[0]) if b"\0" in data else None

    def memory(self, address: int, size: int) -> bytes:
        """Return what the caller has at an address, as far as it can be read."""
        found = b""
        place = Path(f"/proc/{self.pid}/mem")
        with suppress(OSError, ValueError, OverflowError), place.open("rb", buffering=0) as memory:
            memory.seek(address)
            # In two pieces: the page after the first may not be there.
            found = memory.read(min(size, _PAGE - address % _PAGE))
            found += memory.read(size - len(found))
        return found

    def path(self, directory: int | None, address: int) -> str | None:
        """Return the absolute path that the caller means; None if it can't be told."""
        text = self.text(address)
        if not text:
            return None
        here = directory is None or directory & 0xFFFFFFFF == _HERE & 0xFFFFFFFF
        base = "cwd" if here else f"fd/{(directory or 0) & 0xFFFFFFFF}"
        try:
            start = Path(f"/proc/{self.pid}/{base}").readlink()
        except OSError:
            start = Path("/")
        return os.path.normpath(start / text)


class Watched:
    """A child that calls `workload`, a pickled function and its arguments, under observation.

    Iterating gives its system calls, each before the kernel acts on it. `error` says afterwards
    what the function raised, or how the process ended; None if it returned.

    Raises:
        NifRejected: system calls can't be watched here.
        NifTimeout: it took longer than `timeout` seconds, counted from the construction.
    """

    def __init__(self, workload: bytes, timeout: float) -> None:
        if not Path("/proc/self/mem").exists():
            raise NifRejected(
                reason="system calls can't be watched here: what they are passed is read from "
                "/proc, which is not mounted",
                remedy="Mount /proc.",
            )
        self.error: str | None = "its process did not start"
        self._timeout = timeout
        self._deadline = time.monotonic() + timeout
        self._socket, theirs = socket.socketpair()
        with theirs:
            self._child = subprocess.Popen(  # noqa: S603 - this interpreter, a program of ours
                [sys.executable, "-c", _PROGRAM, str(theirs.fileno())],
                stdin=subprocess.PIPE,
                pass_fds=[theirs.fileno()],
            )
        self._listener = -1
        self._is_over = False
        self._workload = workload

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._listener >= 0:
            os.close(self._listener)
        self._socket.close()
        self._child.kill()
        self._child.communicate()

    def __iter__(self) -> Iterator[Notice]:
        self._begin()
        while not self._is_over:
            for ready, happened in self._wait(self._listener, self._socket.fileno()):
                if ready == self._socket.fileno():
                    self._hear()
                elif happened & select.POLLIN:
                    yield from self._next()
                else:  # whoever had the filter is gone
                    self._is_over = True

    def _begin(self) -> None:
        stdin: Any = self._child.stdin
        with suppress(BrokenPipeError), stdin:  # the socket's end says so too
            stdin.write(pickle.dumps(sys.path) + self._workload)
        self._wait(self._socket.fileno())
        message, listeners, _, _ = socket.recv_fds(self._socket, 1 << 16, 1)
        if listeners:
            [self._listener] = listeners
            self.error = "its process ended"
            return
        self._is_over = True
        self.error = message[1:].decode() or "its process ended before it began"
        if message[:1] == b"X":
            raise NifRejected(
                reason=f"system calls can't be watched here: {self.error}",
                remedy="Run it where seccomp's user notification is allowed, and not yet in use.",
            )

    def _wait(self, *descriptors: int) -> list[tuple[int, int]]:
        poll = select.poll()
        for descriptor in descriptors:
            poll.register(descriptor, select.POLLIN)
        left = self._deadline - time.monotonic()
        ready = poll.poll(max(left, 0) * 1000)
        if not ready:
            raise NifTimeout(timeout=self._timeout)
        return ready

    def _hear(self) -> None:
        """The function has ended; what the process does on its way out is not the function's."""
        text = self._socket.recv(1 << 16)
        self._is_over = True
        self.error = text[1:].decode(errors="replace") or None if text else "its process ended"

    def _next(self) -> Iterator[Notice]:
        buffer = bytearray(_NOTICE.size)
        try:
            fcntl.ioctl(self._listener, _RECEIVE, buffer)
        except FileNotFoundError:
            return  # killed in the meantime
        key, pid, _, number, _, _, *arguments = _NOTICE.unpack(buffer)
        yield Notice(pid, Call(number, tuple(arguments)))
        with suppress(FileNotFoundError):
            fcntl.ioctl(self._listener, _SEND, _ANSWER.pack(key, 0, 0, _CONTINUE))


# ---- in the child ----


def be_watched(descriptor: int) -> None:
    """Call what comes on stdin, with every system call told to the other end of a socket."""
    with socket.socket(fileno=descriptor) as parent:
        try:
            function, arguments = pickle.load(sys.stdin.buffer)  # noqa: S301 - from our parent
        except Exception as problem:  # noqa: BLE001 - whatever its module raises when imported
            parent.send(b"E" + _describe(problem))
            return
        error = _listen(descriptor)
        if error:
            parent.send(b"X" + os.strerror(error).encode())
            return
        result = b"R"
        try:
            function(*arguments)
        except BaseException as problem:  # noqa: BLE001 - SystemExit too
            result += _describe(problem)
        parent.sendmsg([result])


def _describe(problem: BaseException) -> bytes:
    return f"{type(problem).__name__}: {problem}".encode(errors="replace")[:4096]


def _listen(descriptor: int) -> int:
    own = Clause(ALLOW, (Test(0, 0xFFFFFFFF, descriptor),))
    table = {number_of("sendmsg"): (own, Clause(NOTIFY))}
    code = compile_filter(HERE.name, table, NOTIFY)
    return int(lib.aionif_seal_listen(pack_seal(code), descriptor))
