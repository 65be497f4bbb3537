"""Starting the zygote: one for the process, at the first use of the process tier, until the end.

It is started by exec, so it holds nothing of this process: no thread's lock, no socket, no secret.
Of the environment it has what is harmless (`environment`). It is a process group of its own, as
Ctrl-C is meant for this process.

Nobody waits for its start: orders reach it when it comes to read them. So a start that fails is
noticed later, by the core; calls that wait then end, and `problem` tells them why, from what the
interpreter wrote. Until it serves, its stderr is a file of ours. The next call tries again.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import socket
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

from aionif.core import native
from aionif.core.native import ffi, lib
from aionif.errors import NifRejected
from aionif.memory.window import reserve
from aionif.process.environment import of_zygote
from aionif.system.shortage import explain

__all__ = ("ensure", "is_visible", "lack", "last_words", "problem", "revive")

_SECONDS = 60.0  # for its start: an interpreter takes some hundredths of one
_MOMENT = 0.2  # seconds, for the exit of one that has closed its socket
_STILLBORN = 2  # of aionif_zygote_lost
_NOT_EXECUTABLE = (
    errno.ENOENT,
    errno.EACCES,
    errno.ENOEXEC,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
)
_TEXT = 1 << 16  # bytes that are read of what it wrote meanwhile
_NANOSECONDS = 1_000_000_000


class _Zygote:
    """The one of this process."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.pid: int | None = None
        self.program = ""
        self.status: int | None = None  # of one that has ended, as `waitpid` has it
        self.words = -1  # the file that is its stderr until it serves
        self.hung = False  # it had to be killed
        self.refusal: tuple[str, str] | None = None  # why the last attempt came to nothing
        self.failure: tuple[str, str] | None = None  # the same, of one that was started


_zygote = _Zygote()


def ensure() -> None:
    """Start the zygote unless there is one.

    Raises:
        NifRejected: it can't be started.
    """
    if lib.aionif_zygote_lost():
        with _zygote.lock:
            if lib.aionif_zygote_lost():
                _start()


def revive() -> None:
    """Start one where calls wait for it. If it can't be, they are told (`problem`)."""
    with suppress(NifRejected):
        ensure()


def problem() -> tuple[str, str]:
    """Return why there is no zygote, and a remedy."""
    with _zygote.lock:
        if _zygote.refusal is not None:
            return _zygote.refusal
        _note_failure()
        return _zygote.failure or ("the process that starts workers was lost", "Call again.")


def _note_failure() -> None:
    """Keep why one failed to start: another may be under way when somebody asks."""
    state = lib.aionif_zygote_lost()
    if state == _STILLBORN:
        _reap()
        lines = _words().splitlines()
        said = lines[-1] if lines else _ending()
        _zygote.failure = (
            f"the process that starts workers, {_zygote.program}, did not come to serve: {said}",
            "Set sys.executable to a Python interpreter that works.",
        )
    elif state:
        _zygote.failure = None


def is_visible() -> bool:
    """Whether /proc tells of it, and so of the workers that it will have."""
    return Path(f"/proc/{_zygote.pid}/statm").exists()


def lack(error: int, what: str) -> tuple[str, str]:
    """Return in words what the core lacks for a worker, and a remedy."""
    return problem() if error == errno.ENOTCONN else explain(error, what)


def last_words() -> str:
    """Return all that one wrote which did not come to serve: it has not reached our stderr."""
    with _zygote.lock:
        return _words()


def _words() -> str:
    if _zygote.words < 0:
        return ""
    return os.pread(_zygote.words, _TEXT, 0).decode(errors="replace").strip()


def _ending() -> str:
    status = _zygote.status
    if _zygote.hung:
        return f"it was not ready within {_SECONDS:g} s"
    if status is None:
        return "it ended without a word"
    if os.WIFSIGNALED(status):
        return f"it was killed by {signal.Signals(os.WTERMSIG(status)).name}"
    return f"it ended with status {os.waitstatus_to_exitcode(status)}"


def _start() -> None:
    _zygote.refusal = None
    _note_failure()
    try:
        _reap()
        _begin()
    except OSError as error:
        what = error.strerror or ""
        if what == os.strerror(error.errno or 0):  # it was not told below
            what = "a system call for the start of worker processes"
        reason, remedy = explain(error.errno or 0, what)
        if error.errno in _NOT_EXECUTABLE and error.filename is not None:
            reason = f"sys.executable, {sys.executable}, can't be run: {error.strerror}"
            remedy = "Set sys.executable to a Python interpreter."
        _zygote.refusal = f"no worker process can be started: {reason}", remedy
    if _zygote.refusal is not None:
        reason, remedy = _zygote.refusal
        raise NifRejected(reason=reason, remedy=remedy)


def _begin() -> None:
    if not sys.executable:
        _zygote.refusal = (
            "sys.executable is not set, so no worker process can be started",
            "Set sys.executable to a Python interpreter.",
        )
        return
    window = reserve()
    if _zygote.words >= 0:
        os.close(_zygote.words)
        _zygote.words = -1
    try:
        _zygote.words = os.memfd_create("aionif-start")
    except OSError as problem:
        raise OSError(problem.errno, "memfd_create") from None
    catalog = lib.aionif_catalog_open()
    if catalog < 0:
        raise OSError(ffi.errno, "memory for the catalog of functions")
    ours, theirs = None, None
    try:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        _zygote.pid = _spawn(window, theirs.fileno(), catalog)
        _zygote.status, _zygote.hung, _zygote.program = None, False, sys.executable
        lib.aionif_zygote_use(ours.detach(), int(_SECONDS * _NANOSECONDS))
    finally:
        os.close(catalog)
        for end in (ours, theirs):
            if end is not None:
                end.close()


def _spawn(window: int, connection: int, catalog: int) -> int:
    # Above the numbers they are moved to: one must not overwrite the other.
    high: list[int] = []
    try:
        nothing = _open_nothing(high)
        # Where the program was started without a stderr, that number is some file of it.
        stderr = nothing if sys.__stderr__ is None else 2
        given = (nothing, _zygote.words, connection, catalog, stderr)
        high.extend(map(_high_duplicate, given))  # one by one: what fails leaves those before it
        nothing, words, *others = high[1:]
        actions = [(os.POSIX_SPAWN_DUP2, nothing, 0), (os.POSIX_SPAWN_DUP2, words, 2)]
        if sys.__stdout__ is None:  # else the next file that it opens would become its stdout
            actions.append((os.POSIX_SPAWN_DUP2, nothing, 1))
        actions += [
            (os.POSIX_SPAWN_DUP2, descriptor, number) for number, descriptor in enumerate(others, 3)
        ]
        return os.posix_spawn(
            sys.executable,
            _arguments(window),
            of_zygote(),
            file_actions=actions,
            setpgroup=0,
            setsigmask=(),
        )
    finally:
        for descriptor in high:
            os.close(descriptor)


def _arguments(window: int) -> list[str]:
    return [
        sys.executable,
        "-I",
        str(Path(__file__).with_name("child.py")),
        native.CORE_FILE,
        str(window),
        str(lib.aionif_window_size()),
        json.dumps(sys.path),
    ]


def _open_nothing(opened: list[int]) -> int:
    """Return a file that is empty, and stays so, even where there is no /dev; note it."""
    try:
        descriptor = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        descriptor = os.memfd_create("aionif-nothing", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW)
    opened.append(descriptor)
    return descriptor


def _high_duplicate(descriptor: int) -> int:
    """Return a duplicate with a number above those that the zygote's descriptors get."""
    try:
        return fcntl.fcntl(descriptor, fcntl.F_DUPFD_CLOEXEC, 10)
    except OSError as problem:  # which is called invalid where the limit is as low as that
        is_limit = problem.errno == errno.EINVAL
        raise OSError(errno.EMFILE if is_limit else problem.errno, "fcntl") from None


def _reap() -> None:
    """Wait for one that is lost. It may hang, so it gets a moment, and is killed."""
    if _zygote.pid is None:
        return
    status = None
    with suppress(ChildProcessError):  # someone else has waited for it
        end = time.monotonic() + _MOMENT
        pid, status = os.waitpid(_zygote.pid, os.WNOHANG)
        while not pid and time.monotonic() < end:
            time.sleep(_MOMENT / 100)
            pid, status = os.waitpid(_zygote.pid, os.WNOHANG)
        _zygote.hung = not pid
        if not pid:  # not yet waited for, so the id is still its
            os.kill(_zygote.pid, signal.SIGKILL)
            os.waitpid(_zygote.pid, 0)
    _zygote.pid, _zygote.status = None, status


def _after_fork_in_child() -> None:
    _zygote.pid = None
    _zygote.lock = threading.Lock()


os.register_at_fork(after_in_child=_after_fork_in_child)
