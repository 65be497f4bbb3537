"""The window that `aionif top` looks through: a Unix socket that a program opens if it wants to.

Nothing is open unless `allow()` was called. The socket has mode 0600 and lies in a directory of
mode 0700 that must be the user's own; the kernel says who connects (SO_PEERCRED), and it must be
the same user. What is read there is counts, and the names and states of supervised children: no
arguments, no results. Clients can send nothing.

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

__all__ = ("Window", "allow", "socket_path")

_PATIENCE = 2.0  # seconds that a client may take to read
_WAITING = 16  # clients; they are served one after the other


def socket_path(pid: int) -> Path:
    """Return where the socket of a process of this user is, if there is one."""
    base = os.environ.get("XDG_RUNTIME_DIR") or "/tmp"  # noqa: S108 - the directory is checked
    return Path(base, f"aionif-{os.geteuid()}", f"{pid}.sock")


def allow() -> Window:
    """Let `aionif top` of the same user look at this process, until the window is closed.

    Raises:
        OSError: the socket can't be made; PermissionError: its directory is somebody else's.
    """
    return Window()


class Window:
    """The open socket. Close it, use it as a context manager, or leave it to the process's end."""

    def __init__(self) -> None:
        self.path = socket_path(os.getpid())
        _make_directory(self.path.parent)
        self.path.unlink(missing_ok=True)  # of a dead process that had this id
        self._pid = os.getpid()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._socket.bind(str(self.path))
            self.path.chmod(0o600)
            self._socket.listen(_WAITING)
        except BaseException:
            self._socket.close()
            raise
        self._thread = threading.Thread(target=self._serve, name="aionif-top", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Close it and remove the socket. Harmless when it is closed, or in the child of a fork."""
        if os.getpid() == self._pid and self._socket.fileno() >= 0:
            self.path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread in accept()
            self._thread.join(_PATIENCE)
        self._socket.close()

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


def _make_directory(directory: Path) -> None:
    directory.mkdir(mode=0o700, exist_ok=True)
    found = directory.lstat()
    mode = stat.S_IMODE(found.st_mode)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or mode & 0o077:
        raise PermissionError(f"{directory} must be a directory of this user, with mode 0700")


def _is_same_user(client: socket.socket) -> bool:
    credentials = client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
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
