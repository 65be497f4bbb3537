"""What a zygote makes ready for its workers, once: namespaces, and the files that they will see.

Each part is tried by itself. What can't be had is told by the seal of every worker, which knows
what its policy requires. Nothing of the package is imported here, as in `child`.
"""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from typing import Any

__all__ = ("Template",)

_NOBODY = 65534
_MOST_LINKS = 40  # that are followed for one path, as the kernel does


class Template:
    """Made ready as the parent says: see sealing/template.py."""

    def __init__(self, core: Any, wanted: dict[str, Any]) -> None:
        self._ffi, self._lib = core.ffi, core.lib
        self._parts = int(wanted.get("parts", 0))
        self._paths = [(str(path), bool(writable)) for path, writable in wanted.get("paths", ())]
        self._forks = bool(wanted.get("forks"))
        self._placed: list[tuple[str, bool]] = []  # in the new root
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
        if self._parts & lib.AIONIF_SEAL_PID and not self._forks:
            self._guard, self.first = self._new_processes()

    def before_worker(self) -> int:
        """Return what keeps the next worker's own namespace of process ids; -1: it shares one."""
        if not (self._forks and self._parts & self._lib.AIONIF_SEAL_PID):
            return -1
        return self._new_processes()[0]

    def before_other(self) -> None:
        """A child to come is no worker: what the last worker's processes were in may have ended."""
        if self._forks:
            self._lib.aionif_template_outside()

    def parent_of_workers(self) -> int:
        """Return the id by which a worker knows its parent."""
        return 0 if self._lib.aionif_template_has(self._lib.AIONIF_SEAL_PID) else os.getpid()

    def kept(self) -> list[int]:
        """Return the descriptors that a worker needs to be sealed."""
        root = self._lib.aionif_template_descriptor()
        return [root] if root >= 0 else []

    def _new_processes(self) -> tuple[int, int]:
        first = self._ffi.new("int32_t *")
        guard = self._lib.aionif_template_processes(first)
        if guard < 0:
            self._miss(self._lib.AIONIF_SEAL_PID, self._ffi.errno, "no namespace of process ids")
        return guard, first[0]

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
