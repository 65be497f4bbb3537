"""The zygotes of this process: who starts workers, and what is said where nobody can.

There is one for all workers without a sandbox, and one for each kind of sandbox: what workers of
a sandbox have in common from their start (namespaces, the files that they see) their zygote has
made once. Each is started at the first use, and stays until the end of this process.

Nobody waits for its start: orders reach it when it comes to read them. So a start that fails is
noticed later, by the core; calls that wait then end, and `problem` tells them why, from what the
interpreter wrote. The next call tries again.
"""

from __future__ import annotations

import atexit
import errno
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from aionif.core.native import lib
from aionif.errors import NifArgumentError, NifRejected
from aionif.process.groups import ControlGroup, open_group
from aionif.process.zygote_start import start
from aionif.system.shortage import explain

__all__ = ("NO_TEMPLATE", "Zygote", "lack", "numbered", "of")

_SECONDS = 60.0  # for its start: an interpreter takes some hundredths of one
_MOMENT = 0.2  # seconds, for the exit of one that has closed its socket
_LOST, _STILLBORN, _SPENT = 1, 2, 3  # of aionif_zygote_lost
_NOT_EXECUTABLE = (
    errno.ENOENT,
    errno.EACCES,
    errno.ENOEXEC,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
)
NO_TEMPLATE = "{}"
_TEXT = 1 << 16  # bytes that are read of what it wrote meanwhile
_NANOSECONDS = 1_000_000_000


class Zygote:
    """One that is started when it is wanted, and again when it was lost.

    number: what the core knows it by. template: what it makes ready for its workers; see
    `sealing/template.py`.
    """

    def __init__(self, number: int, template: str) -> None:
        self.number = number
        self.template = template
        self.pid: int | None = None
        # Processes that end with the last of their workers, and the groups of those.
        self._spent: list[tuple[int, ControlGroup | None]] = []
        self._ended: list[ControlGroup] = []  # groups of zygotes that have ended, to be removed
        self._lock = threading.Lock()
        self._group: ControlGroup | None = None  # of control, of its workers
        self._program = ""
        self._status: int | None = None  # of one that has ended, as `waitpid` has it
        self._words = -1  # the file that is its stderr until it serves
        self._hung = False  # it had to be killed
        self._refusal: tuple[str, str] | None = None  # why the last attempt came to nothing
        self._failure: tuple[str, str] | None = None  # the same, of one that was started

    def ensure(self) -> None:
        """Start it unless there is one.

        Raises:
            NifRejected: it can't be started.
            NifArgumentError: AIONIF_CGROUP is wrong.
        """
        if lib.aionif_zygote_lost(self.number):
            with self._lock:
                if lib.aionif_zygote_lost(self.number):
                    self._start()

    def revive(self) -> None:
        """Start one where calls wait for it. If it can't be, they are told (`problem`)."""
        with suppress(NifRejected, NifArgumentError):
            self.ensure()

    def problem(self) -> tuple[str, str]:
        """Return why there is none, and a remedy."""
        with self._lock:
            if self._refusal is not None:
                return self._refusal
            self._note_failure()
            return self._failure or ("the process that starts workers was lost", "Call again.")

    def is_visible(self) -> bool:
        """Whether /proc tells of it, and so of the workers that it will have."""
        return Path(f"/proc/{self.pid}/statm").exists()

    def last_words(self) -> str:
        """Return all that one wrote which did not come to serve: it has not reached our stderr."""
        with self._lock:
            return self._said()

    def close_groups_left(self) -> None:
        """Remove the control groups of zygotes that have ended and not done so."""
        with self._lock:
            if lib.aionif_zygote_lost(self.number) in {_LOST, _STILLBORN}:
                self._leave_group()
            self._bury_spent()
            for group in self._ended:
                group.close()

    def forget(self) -> None:
        """In the child of a fork: it is its parent's."""
        self._leave_group()
        for group in (*self._ended, *(group for _, group in self._spent if group is not None)):
            group.forget()
        self.pid = None
        self._spent.clear()
        self._ended.clear()
        self._lock = threading.Lock()

    def _note_failure(self) -> None:
        """Keep why one failed to start: another may be under way when somebody asks."""
        state = lib.aionif_zygote_lost(self.number)
        if state == _STILLBORN:
            self._reap()
            lines = self._said().splitlines()
            said = lines[-1] if lines else self._ending()
            self._failure = (
                f"the process that starts workers, {self._program}, did not come to serve: {said}",
                "Set sys.executable to a Python interpreter that works.",
            )
        elif state:
            self._failure = None

    def _said(self) -> str:
        if self._words < 0:
            return ""
        return os.pread(self._words, _TEXT, 0).decode(errors="replace").strip()

    def _ending(self) -> str:
        status = self._status
        if self._hung:
            return f"it was not ready within {_SECONDS:g} s"
        if status is None:
            return "it ended without a word"
        if os.WIFSIGNALED(status):
            return f"it was killed by {signal.Signals(os.WTERMSIG(status)).name}"
        return f"it ended with status {os.waitstatus_to_exitcode(status)}"

    def _start(self) -> None:
        self._refusal = None
        self._note_failure()
        try:
            if lib.aionif_zygote_lost(self.number) == _SPENT and self.pid is not None:
                self._spent.append((self.pid, self._group))
                self.pid = self._group = None
            self._reap()
            self._leave_group()
            self._bury_spent()
            self._begin()
        except NifArgumentError as error:
            what = f"{error.argument}={error.value!r} {error.problem}"
            self._refusal = f"no worker process can be started: {what}", error.remedy
            raise
        except OSError as error:
            what = error.strerror or ""
            if what == os.strerror(error.errno or 0):  # it was not told below
                what = "a system call for the start of worker processes"
            reason, remedy = explain(error.errno or 0, what)
            if error.errno in _NOT_EXECUTABLE and error.filename is not None:
                reason = f"sys.executable, {sys.executable}, can't be run: {error.strerror}"
                remedy = "Set sys.executable to a Python interpreter."
            self._refusal = f"no worker process can be started: {reason}", remedy
        if self._refusal is not None:
            reason, remedy = self._refusal
            raise NifRejected(reason=reason, remedy=remedy)

    def _begin(self) -> None:
        self._refusal = _reason_not_to()
        if self._refusal is not None:
            return
        why = ""
        if self.template != NO_TEMPLATE:
            self._group, why = open_group()
        started = start(self.template, self._group.path if self._group else None, why)
        if self._words >= 0:
            os.close(self._words)
        self.pid, self._words = started.pid, started.words
        self._status, self._hung, self._program = None, False, sys.executable
        connection = started.connection.detach()
        within = int(_SECONDS * _NANOSECONDS)
        if not lib.aionif_zygote_use(self.number, connection, _open_handle(started.pid), within):
            raise OSError(errno.ENOMEM, "memory")

    def _leave_group(self) -> None:
        """The workers in it are those of a zygote that has ended."""
        if self._group is not None:
            self._ended.append(self._group)
            self._group = None

    def bury_spent(self) -> None:
        """Wait for those that have ended after they were replaced."""
        with self._lock:
            self._bury_spent()

    def _bury_spent(self) -> None:
        """Those that have not ended have workers with calls to finish."""
        for each in list(self._spent):
            pid, group = each
            if _has_ended(pid):
                self._spent.remove(each)
                if group is not None:
                    self._ended.append(group)
        self._ended = [group for group in self._ended if not group.end()]

    def _reap(self) -> None:
        """Wait for one that is lost. It may hang, so it gets a moment, and is killed."""
        if self.pid is None:
            return
        status = None
        with suppress(ChildProcessError):  # someone else has waited for it
            end = time.monotonic() + _MOMENT
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            while not pid and time.monotonic() < end:
                time.sleep(_MOMENT / 100)
                pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._hung = not pid
            if not pid:  # not yet waited for, so the id is still its
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
        self.pid, self._status = None, status


def _reason_not_to() -> tuple[str, str] | None:
    """Return why no interpreter may be started, and a remedy; None: it may."""
    if hasattr(sys.modules.get("__mp_main__"), "__aionif_runs_main__"):  # see child_python
        return (
            "a worker process runs the program's main module, to find what is defined in it",
            'Begin what the program does with: if __name__ == "__main__".',
        )
    if getattr(sys, "frozen", False):
        return (
            f"the program is frozen, so sys.executable, {sys.executable}, would start it once more",
            'Set sys.executable to a Python interpreter, or use isolation="thread".',
        )
    if not sys.executable:
        return (
            "sys.executable is not set, so no worker process can be started",
            "Set sys.executable to a Python interpreter.",
        )
    return None


def _open_handle(pid: int) -> int:
    """Return a descriptor of a process; -1 where the system gives none."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return -1


def _has_ended(pid: int) -> bool:
    try:
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    except ChildProcessError:  # someone else has waited for it
        return True


_zygotes: dict[str, Zygote] = {}  # by their templates
_guard = threading.Lock()


def of(template: str = NO_TEMPLATE) -> Zygote:
    """Return the zygote of workers that start from this template; by default from none."""
    with _guard:
        zygote = _zygotes.get(template)
        if zygote is None:
            zygote = _zygotes[template] = Zygote(len(_zygotes), template)
        return zygote


def numbered(number: int) -> Zygote:
    """Return the zygote that the core knows by this number."""
    return next(zygote for zygote in list(_zygotes.values()) if zygote.number == number)


def lack(error: int, what: str, number: int) -> tuple[str, str]:
    """Return in words what the core lacks for a worker of this zygote's, and a remedy."""
    return numbered(number).problem() if error == errno.ENOTCONN else explain(error, what)


def _at_exit() -> None:
    """Remove what zygotes have left that were killed; the others do so themselves."""
    for zygote in _zygotes.values():
        zygote.close_groups_left()


atexit.register(_at_exit)


def _after_fork_in_child() -> None:
    global _guard  # noqa: PLW0603 - somebody may have held it
    _guard = threading.Lock()
    for zygote in _zygotes.values():
        zygote.forget()


os.register_at_fork(after_in_child=_after_fork_in_child)
