"""The zygote: it forks workers as the parent orders, and tells how each of them ended.

It has one thread, and reads nothing that a worker or a caller wrote: what is in its memory is in
that of every worker to come. Of what a worker writes to stderr it passes the descriptor on, to a
process of its own, the listener (child_stderr), which also tells the parent of the worker's end,
with the last that it wrote. Should the listener be killed, another takes its place: each worker
is kept on record until its end was told.

It ends with the parent, and its workers end with it. Nothing of the package is imported here, as
in `child`.
"""

from __future__ import annotations

import errno
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

__all__ = ("Zygote",)

ORDER = struct.Struct("<Qi4x")  # struct order of csrc/processes/zygote.c
DESCRIPTORS = 6  # that come with the order of a worker
NEWS = struct.Struct("<QiiiI")  # struct news of csrc/processes/news.c
STARTED, NOT_STARTED, READY = 1, 3, 4
WORD = struct.Struct("<Qii8s")  # to the listener: serial, process id, status, and the word itself
OVER = b"over"  # the second and last word about a worker; the first is what becomes of its stderr
TOLD = struct.Struct("<Q")  # from the listener: the parent knows of the end of this one
CHUNK = 65536
_MOMENT = 0.001  # seconds
_FIRST_LINE = 64  # bytes of a setup at the most, no more of which is used here
OUT_OF_MEMORY = 1 << 16  # in the status of a worker that its control group's limit has ended


class _Worker:
    """A worker as its zygote knows it: until its end was told."""

    def __init__(self, serial: int, way: bytes, stderr: int) -> None:
        self.serial = serial
        self.way = way  # what becomes of what it writes
        self.stderr = stderr  # for another listener; not read here
        self.guard = -1  # of its namespace of process ids, if it has one of its own
        self.group: Any = None  # its control group
        self.pid = 0
        self.status: int | None = None  # once it has ended


class Zygote:
    """It hears of deaths by SIGCHLD: handles of processes are refused in some containers."""

    def __init__(
        self,
        orders: int,
        template: Any,
        start_listener: Callable[[], tuple[int, socket.socket]],
        become_worker: Callable[..., object],
        groups: Any,
    ) -> None:
        self.groups = groups  # of control
        self.template = template
        self.become_worker = become_worker
        self.start_listener = start_listener
        self.socket = socket.socket(fileno=orders)
        self.poll = select.poll()
        self.poll.register(orders, select.POLLIN)
        self.deaths, wake = os.pipe()
        for descriptor in (self.deaths, wake):
            os.set_blocking(descriptor, False)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self.poll.register(self.deaths, select.POLLIN)
        # The socket tells of the parent's end, too, unless a fork of the parent has it still.
        self.parent = _open_handle(os.getppid())
        if self.parent is not None:
            self.poll.register(self.parent, select.POLLIN)
        self.workers: dict[int, _Worker] = {}  # by serial
        self.listener_pid, self.listener = start_listener()
        self.poll.register(self.listener, select.POLLIN)
        template.enter()

    def serve(self) -> None:
        """Obey until there is no parent, or no way to start another worker.

        What is ready when one turn begins may be another file by the end of it: a listener that
        took the place, and the number, of one that has died. So nothing here waits for what it
        reads.
        """
        self.socket.send(NEWS.pack(0, READY, 0, 0, 0))
        while True:
            for descriptor, _ in self.poll.poll():
                if descriptor == self.parent:
                    return
                if descriptor == self.deaths and not self.bury_all():
                    return
                if descriptor == self.listener.fileno():
                    self.hear_listener()
                elif descriptor == self.socket.fileno() and not self.obey():
                    return

    def close(self) -> None:
        """Nothing is left to serve: end the workers."""
        self.socket.close()
        self.listener.close()
        for worker in self.workers.values():
            if worker.status is None:
                with suppress(OSError):
                    os.kill(worker.pid, signal.SIGKILL)
        self.groups.close()

    def obey(self) -> bool:
        """Take one order. False: the parent has gone."""
        try:
            data, descriptors, flags, _ = socket.recv_fds(
                self.socket, 64, DESCRIPTORS, socket.MSG_CMSG_CLOEXEC | socket.MSG_DONTWAIT
            )
        except BlockingIOError:
            return True
        except OSError:
            return False
        if not data:
            return False
        serial, number = ORDER.unpack(data)
        if number:
            self.signal(serial, number)
            return True
        try:
            if not flags & socket.MSG_CTRUNC:  # there was room for them
                self.fork(serial, descriptors)
            error = errno.EMFILE if flags & socket.MSG_CTRUNC else 0
        except OSError as problem:
            error = problem.errno or errno.EAGAIN
        if error:
            text = f"the zygote could not fork: {os.strerror(error)}\n".encode()
            self.socket.send(NEWS.pack(serial, NOT_STARTED, error, 1 << 8, len(text)) + text)
        for descriptor in descriptors:
            os.close(descriptor)
        return True

    def signal(self, serial: int, number: int) -> None:
        """Signal a worker; while it has not been waited for, its id is still its."""
        worker = self.workers.get(serial)
        if worker is not None and worker.status is None:
            os.kill(worker.pid, number)

    def fork(self, serial: int, descriptors: list[int]) -> None:
        """Start a worker, and have its stderr heard."""
        line = os.pread(descriptors[3], _FIRST_LINE, 0).partition(b"\n")[0]
        way, *limits = line.split()
        ours, theirs = os.pipe()
        worker = _Worker(serial, way, ours)
        kept = self.template.kept()
        memory, processes, is_given = map(int, limits)
        worker.group = self.groups.make(serial, memory, processes, is_given=bool(is_given))
        try:
            worker.pid, worker.guard = self.template.fork(
                lambda parent: self.become_worker(parent, theirs, descriptors, kept, worker.group)
            )
        except OSError:
            os.close(ours)
            self.groups.end(worker.group)
            raise
        finally:
            os.close(theirs)
            worker.group.close()
        self.workers[serial] = worker
        self.tell_start(serial, worker.pid)
        self.introduce(worker)

    def tell_start(self, serial: int, pid: int) -> None:
        """Tell the parent the worker's id, with a handle of it if there is one."""
        news = NEWS.pack(serial, STARTED, pid, 0, 0)
        handle = _open_handle(pid)
        if handle is None:
            self.socket.send(news)
            return
        try:
            socket.send_fds(self.socket, [news], [handle])
        except OSError:  # too many are on their way
            self.socket.send(news)
        finally:
            os.close(handle)

    def bury_all(self) -> bool:
        """Wait for all that have died; False: with one of them all others end."""
        with suppress(BlockingIOError):
            while os.read(self.deaths, CHUNK):
                pass
        by_pid = {worker.pid: worker for worker in self.workers.values() if worker.status is None}
        with suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                worker = by_pid.get(found[0])
                if worker is not None:
                    worker.status = found[1]
                    _close_guard(worker)
                    if self.groups.end(worker.group):
                        worker.status |= OUT_OF_MEMORY
                    self.say(worker, OVER)
                elif found[0] == self.listener_pid:
                    self.replace_listener()
                elif found[0] == self.template.first:
                    return False
        return True

    # ---- the listener ----

    def introduce(self, worker: _Worker) -> None:
        """Have a worker's stderr heard."""
        self.say(worker, worker.way, [worker.stderr])

    def say(self, worker: _Worker, word: bytes, descriptors: list[int] | None = None) -> None:
        """Say something of a worker; while that has to wait, hear what the listener says."""
        message = WORD.pack(worker.serial, worker.pid, worker.status or 0, word)
        turn = select.poll()
        turn.register(self.listener, select.POLLIN | select.POLLOUT)
        while True:
            try:
                socket.send_fds(self.listener, [message], descriptors or [], socket.MSG_DONTWAIT)
            except BlockingIOError:
                turn.poll()
                self.hear_listener()
            except OSError as problem:
                if problem.errno != errno.ETOOMANYREFS:
                    return  # it has ended, and another will be told
                time.sleep(_MOMENT)  # so many descriptors are on their way that it has to wait
            else:
                return

    def hear_listener(self) -> None:
        """Forget whose end was told."""
        try:
            told = self.listener.recv(TOLD.size, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        except OSError:
            told = b""
        if not told:
            with suppress(KeyError):
                self.poll.unregister(self.listener)
            return
        worker = self.workers.pop(TOLD.unpack(told)[0])
        os.close(worker.stderr)

    def replace_listener(self) -> None:
        """Have another one; what it had read and not passed on is lost."""
        with suppress(KeyError):
            self.poll.unregister(self.listener)
        self.listener.close()
        self.listener_pid, self.listener = self.start_listener()
        self.poll.register(self.listener, select.POLLIN)
        for worker in list(self.workers.values()):
            self.introduce(worker)
            if worker.status is not None:
                self.say(worker, OVER)


def _close_guard(worker: _Worker) -> None:
    """End what a worker has left behind."""
    if worker.guard >= 0:
        os.close(worker.guard)
        worker.guard = -1


def _open_handle(pid: int) -> int | None:
    """Return a descriptor of a process; None where the system gives none."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None
