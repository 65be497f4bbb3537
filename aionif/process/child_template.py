"""What a zygote makes ready for its workers, once: namespaces, and the files that they will see.

Each part is tried by itself. What can't be had is told by the seal of every worker, which knows
what its policy requires. Nothing of the package is imported here, as in `child`.
"""

from __future__ import annotations

import errno
import os
import signal
import stat
import struct
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("Template",)

_NOBODY = 65534
_STARTED = struct.Struct("<ii")  # process id, errno
_NO_PROCESSES = "no namespace of process ids"
_MOST_LINKS = 40  # that are followed for one path, as the kernel does


class Template:
    """Made ready as the parent says: see sealing/template.py."""

    def __init__(self, core: Any, wanted: dict[str, Any]) -> None:
        self._ffi, self._lib = core.ffi, core.lib
        self._parts = int(wanted.get("parts", 0))
        self._paths = [(str(path), bool(writable)) for path, writable in wanted.get("paths", ())]
        self._forks = bool(wanted.get("forks"))
        self._placed: list[tuple[str, bool]] = []  # in the new root
        self._is_apart = False  # each worker has a namespace of process ids to itself
        self._guard = -1  # the namespace of process ids ends with it
        self.first = 0  # the process that it ends with, too; 0: there is none

    def enter(self) -> None:
        """Have all that workers share."""
        lib = self._lib
        wanted = self._parts & ~(lib.AIONIF_SEAL_PID | lib.AIONIF_SEAL_IDENTITY)
        if wanted:
            lib.aionif_template_enter(wanted)
        if lib.aionif_template_has(lib.AIONIF_SEAL_MOUNT):
            self._make_root()
        if self._parts & lib.AIONIF_SEAL_IDENTITY:
            self._check_nobody()
        self._is_apart = self._forks and self._can_be_apart()
        if not self._forks and self._parts & lib.AIONIF_SEAL_PID:
            theirs, self._guard = os.pipe()
            self.first = lib.aionif_template_processes(theirs)
            if self.first < 0:
                self._miss(lib.AIONIF_SEAL_PID, self._ffi.errno, _NO_PROCESSES)
            os.close(theirs)

    def _can_be_apart(self) -> bool:
        """Try by a child whether each worker can have a namespace of process ids to itself."""
        self._lib.aionif_template_adopt()
        theirs, ours = os.pipe()
        child = os.fork()
        if child == 0:
            os._exit(0 if self._lib.aionif_template_processes(theirs) > 0 else self._ffi.errno)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        os.close(theirs)
        os.close(ours)
        if status:
            self._miss(self._lib.AIONIF_SEAL_PID, status, _NO_PROCESSES)
        return not status

    def fork(self, become: Callable[[int], NoReturn]) -> tuple[int, int]:
        """Start a worker, which is told its parent's id; return its own, and what ends it.

        That is a descriptor; -1: the worker shares its namespace with others, or has none.
        """
        if self._is_apart:
            return self._fork_apart(become)
        # A process outside of the worker's namespace is 0 to it.
        parent = 0 if self._lib.aionif_template_has(self._lib.AIONIF_SEAL_PID) else os.getpid()
        pid = os.fork()
        if pid == 0:
            become(parent)
        return pid, -1

    def _fork_apart(self, become: Callable[[int], NoReturn]) -> tuple[int, int]:
        """Start a worker in a namespace of its own.

        By a child that ends at once: who has entered one can't start processes outside of it any
        more. What it leaves is ours. The worker does not end with its parent, which is that child
        for a moment, but with the descriptor.
        """
        theirs, guard = os.pipe()
        told, tell = os.pipe()
        child = os.fork()
        if child == 0:
            self._start_apart(theirs, tell, become)
        for descriptor in (theirs, tell):
            os.close(descriptor)
        said = os.read(told, _STARTED.size)
        os.close(told)
        os.waitpid(child, 0)
        pid, error = _STARTED.unpack(said) if said else (0, errno.ECHILD)
        if error:
            os.close(guard)
            raise OSError(error, os.strerror(error))
        return pid, guard

    def _start_apart(self, guard: int, tell: int, become: Callable[[int], NoReturn]) -> None:
        try:
            signal.set_wakeup_fd(-1)
            if self._lib.aionif_template_processes(guard) < 0:
                # It was to be had, and may be again. Without it the worker would outlive us.
                os.write(tell, _STARTED.pack(0, self._ffi.errno))
                return
            pid = os.fork()
            if pid == 0:
                become(-1)
            os.write(tell, _STARTED.pack(pid, 0))
        except OSError as problem:
            os.write(tell, _STARTED.pack(0, problem.errno or errno.ECHILD))
        finally:
            os._exit(0)

    def kept(self) -> list[int]:
        """Return the descriptors that a worker needs to be sealed."""
        root = self._lib.aionif_template_descriptor()
        return [root] if root >= 0 else []

    def _miss(self, part: int, error: int, text: str) -> None:
        self._lib.aionif_template_missing(part, error, text.encode(errors="replace")[:200])

    # ---- files ----

    def _make_root(self) -> None:
        root = self._lib.aionif_template_root()
        if root < 0:
            self._miss(self._lib.AIONIF_SEAL_MOUNT, self._ffi.errno, "no new root directory")
            return
        for path, writable in self._paths:
            with suppress(OSError):  # the worker's seal says which of its paths there are not
                self._place(root, path, writable=writable)
        error = self._lib.aionif_template_close_root()
        if error:
            self._miss(self._lib.AIONIF_SEAL_MOUNT, error, "the root could not be made read-only")

    def _place(self, root: int, path: str, *, writable: bool) -> None:
        """Have a file, or a directory with all below, under its own name in the new root.

        Symbolic links on the way are made anew: whoever follows them there finds the same.
        """
        at: list[str] = []
        left = [part for part in path.split("/") if part]
        links = 0
        while left:
            part = left.pop(0)
            if part == "..":
                at = at[:-1]
                continue
            at.append(part)
            here = "/".join(at)
            kind = os.lstat("/" + here).st_mode
            if stat.S_ISLNK(kind) and links < _MOST_LINKS:
                links += 1
                target = os.readlink("/" + here)  # noqa: PTH115 - pathlib is heavy
                with suppress(FileExistsError):
                    os.symlink(target, here, dir_fd=root)
                left = [each for each in target.split("/") if each not in {"", "."}] + left
                at = [] if target.startswith("/") else at[:-1]
            elif stat.S_ISDIR(kind):
                with suppress(FileExistsError):
                    os.mkdir(here, dir_fd=root)
            else:
                with suppress(FileExistsError):
                    os.close(os.open(here, os.O_CREAT | os.O_EXCL, dir_fd=root))
        place = "/".join(at)
        self._placed.append((place, writable))
        error = self._lib.aionif_template_bind(f"/{place}".encode(), place.encode(), writable)
        if error:
            raise OSError(error, os.strerror(error))

    # ---- who workers are ----

    def _check_nobody(self) -> None:
        """Keep workers root where nobody else could do what they are allowed: they would fail."""
        root = self._lib.aionif_template_descriptor()
        try:
            os.seteuid(_NOBODY)
        except OSError as problem:
            self._miss(
                self._lib.AIONIF_SEAL_IDENTITY, problem.errno or 0, "root can't become nobody"
            )
            return
        used = self._paths if root < 0 else self._placed
        try:
            closed = [
                path for path, writable in used if not _is_open(root, path, writable=writable)
            ]
        finally:
            os.seteuid(0)
        if closed:
            text = f"workers stay root, without its capabilities: nobody may not use {closed[0]}"
            self._miss(self._lib.AIONIF_SEAL_IDENTITY, 0, text)


def _is_open(root: int, path: str, *, writable: bool) -> bool:
    """Whether it can be used by who we are, or is not there at all."""
    where = None if root < 0 else root
    try:
        is_directory = stat.S_ISDIR(os.stat(path, dir_fd=where).st_mode)
    except FileNotFoundError:
        return True
    except OSError:
        return False
    how = os.R_OK | (os.W_OK if writable else 0) | (os.X_OK if is_directory else 0)
    return os.access(path, how, dir_fd=where, effective_ids=True)
