"""The window that `aionif top` looks through: a Unix socket that a program opens if it wants to.

Nothing is open unless `allow()` was called. The socket has mode 0600 and lies in a directory of
mode 0700 that must be the user's own; the kernel says who connects (SO_PEERCRED), and it must be
the same user. The directory is opened once, following no link, and what was checked is what is
used: by then its name may stand for another one. Whoever looks checks the same things. What is read
there is counts, and the names and states of supervised children: no arguments, no results. Clients
can send nothing.

A thread of its own answers, on any event loop or none; it sleeps until someone asks. An answer
takes the core's lock once for each pool and function, for a fraction of a microsecond.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import stat
import struct
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from aionif.core.taints import taints_now
from aionif.telemetry import registry, sources
from aionif.telemetry.series import FATES, Tally

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ("Window", "allow", "connect", "socket_path")

_PATIENCE = 2.0  # seconds that a client may take to read
_WAITING = 16  # clients; they are served one after the other


def socket_path(pid: int) -> Path:
    """Return where the socket of a process of this user is, if there is one."""
    base = os.environ.get("XDG_RUNTIME_DIR") or "/tmp"  # noqa: S108 - the directory is checked
    return Path(base, f"aionif-{os.geteuid()}", f"{pid}.sock")


def allow() -> Window:
    """Let `aionif top` of the same user look at this process, until the window is closed.

    Raises:
        OSError: the socket can't be made; PermissionError: its directory is not this user's alone.
    """
    return Window()


class Window:
    """The open socket. Close it, use it as a context manager, or leave it to the process's end."""

    def __init__(self) -> None:
        self.path = socket_path(os.getpid())
        with contextlib.suppress(FileExistsError):
            self.path.parent.mkdir(mode=0o700)
        self._pid = os.getpid()
        self._directory = _open_directory(self.path.parent)
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._remove()  # of a dead process that had this id
            self._socket.bind(_address(self._directory, self.path))
            os.chmod(self.path.name, 0o600, dir_fd=self._directory)
            self._socket.listen(_WAITING)
        except BaseException:
            self._socket.close()
            os.close(self._directory)
            raise
        self._thread = threading.Thread(target=self._serve, name="aionif-top", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close it and remove the socket. Harmless when it is closed, or in the child of a fork."""
        if os.getpid() == self._pid and self._socket.fileno() >= 0:
            self._remove()
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept()
            self._thread.join(_PATIENCE)
        if self._socket.fileno() >= 0:
            os.close(self._directory)
        self._socket.close()

    def _remove(self) -> None:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path.name, dir_fd=self._directory)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def _serve(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            with client, contextlib.suppress(OSError):
                if _is_same_user(client):
                    client.settimeout(_PATIENCE)
                    client.sendall(json.dumps(_snapshot()).encode() + b"\n")


def connect(pid: int, patience: float) -> socket.socket:
    """Return a connection to the window of a process of this user.

    patience: seconds that each step may take.

    Raises:
        FileNotFoundError, ConnectionRefusedError: it has none.
        PermissionError: what is there is not this user's alone.
    """
    path = socket_path(pid)
    directory = _open_directory(path.parent)
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        found = os.stat(path.name, dir_fd=directory, follow_symlinks=False)
        is_ours = stat.S_ISSOCK(found.st_mode) and found.st_uid == os.geteuid()
        _require(path, is_ours, "is not a socket of this user")
        connection.settimeout(patience)
        connection.connect(_address(directory, path))
        _require(path, _is_same_user(connection), "is served by another user")
    except BaseException:
        connection.close()
        raise
    finally:
        os.close(directory)
    return connection


def _require(path: Path, is_so: bool, otherwise: str) -> None:  # noqa: FBT001 - what is required
    if not is_so:
        raise PermissionError(f"{path} {otherwise}: remove it")


def _open_directory(directory: Path) -> int:
    """Return a descriptor of a directory that is this user's alone, reached by no link."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    remedy = "remove it, or set XDG_RUNTIME_DIR to a directory of your own"
    try:
        descriptor = os.open(directory, flags)
    except (NotADirectoryError, PermissionError) as problem:  # a link is the first
        raise PermissionError(
            f"{directory} must be a directory of this user, with mode 0700, and no link: {remedy}"
        ) from problem
    found = os.fstat(descriptor)
    if found.st_uid != os.geteuid() or stat.S_IMODE(found.st_mode) & 0o077:
        os.close(descriptor)
        raise PermissionError(
            f"{directory} must be of this user, with mode 0700; it is of user {found.st_uid}, "
            f"with mode {stat.S_IMODE(found.st_mode):04o}: {remedy}"
        )
    return descriptor


def _address(directory: int, path: Path) -> str:
    """Return an address of the socket in the directory that was opened, whatever it is called."""
    here = Path(f"/proc/self/fd/{directory}")
    return str(here / path.name) if here.exists() else str(path)


def _is_same_user(peer: socket.socket) -> bool:
    credentials = peer.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
    _, uid, _ = struct.unpack("3i", credentials)
    return bool(uid == os.geteuid())


def _snapshot() -> dict[str, Any]:
    executors = {
        name: {
            "counts": totals.counts,
            "restarts": totals.restarts,
            "functions": [
                {"function": function, "library": library, **_of_function(tally)}
                for (function, library), tally in totals.functions.items()
            ],
            "breakers": [
                {"function": function, "library": library, **counts}
                for (function, library), counts in totals.breakers.items()
            ],
        }
        for name, totals in registry.totals().items()
    }
    return {
        "pid": os.getpid(),
        "time": time.monotonic(),
        "tainted": taints_now(),
        "executors": executors,
        "supervisors": sources.supervision_tree(),
    }


def _of_function(tally: Tally) -> dict[str, Any]:
    return {
        "calls": dict(zip(FATES, tally.fates, strict=True)),
        "crashes": dict(tally.crashes),
        "duration": tally.run,
        "queue_wait": tally.queue,
    }
