"""Control groups for sealed workers, where this process may make some.

All workers of a zygote have a group, and in it each worker its own, by which the kernel holds it to
its memory and processes, and by which all of it ends: what it has started, too. The zygote makes
those of workers (process/child_group.py), and removes all when it ends; a zygote that is killed
leaves them to this file.

This process holds a lock of each group that it has made. So one whose lock is free was left by a
program that is no more, killed with its zygote: the next one with the same base ends and removes
it. Ids of processes would not tell, as programs in several namespaces of them may share a base.

This process is not moved: it stays where its service manager has put it.
"""

from __future__ import annotations

import errno
import fcntl
import os
import time
from contextlib import suppress
from itertools import count
from pathlib import Path

from aionif.errors import NifArgumentError
from aionif.system.cgroup import group_of

__all__ = ("VARIABLE", "ControlGroup", "delegated", "open_group")

VARIABLE = "AIONIF_CGROUP"
_CONTROLLERS = ("memory", "pids")
_PREFIX = "aionif-"
_MOMENT = 0.001  # seconds
_PATIENCE = 1.0  # seconds for processes that were killed to be gone

_numbers = count()


class ControlGroup:
    """A group that this process has made for the workers of a zygote.

    path: its directory.

    Raises:
        OSError: it is another's by now.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not os.path.samestat(path.stat(), os.fstat(self._lock)):
                raise FileNotFoundError(errno.ENOENT, "removed", path)
        except OSError:
            os.close(self._lock)
            raise

    def end(self) -> bool:
        """End all that is in it; False: it can't be removed before the last of that has ended."""
        with suppress(OSError):
            (self.path / "cgroup.kill").write_text("1", encoding="ascii")
        if not _remove(self.path):
            return False
        self.forget()
        return True

    def close(self) -> None:
        """End all that is in it, and remove it, at the end of this process: that waits for it."""
        end = time.monotonic() + _PATIENCE
        while not self.end() and time.monotonic() < end:
            time.sleep(_MOMENT)

    def forget(self) -> None:
        """It is another's, or nobody's."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def open_group() -> tuple[ControlGroup | None, str]:
    """Make a group for a zygote's workers; None, and why: there is none.

    Raises:
        NifArgumentError: AIONIF_CGROUP names no group in which others can be made.
    """
    base = delegated()
    if base is None:
        return None, "no control group is delegated to the program"
    _sweep(base)
    try:
        _enable(base)
        group = _make(base)
    except OSError as problem:
        text = f"no control group could be made in {base}: {problem.strerror}"
        return None, text
    _enable(group.path)
    return group, ""


def _make(base: Path) -> ControlGroup:
    for number in _numbers:
        path = base / f"{_PREFIX}{os.getpid()}-{number}"
        # There may be one of a process that had this id before, or has it in another namespace; or
        # one who removes what is left by others has come before the lock.
        with suppress(FileExistsError, FileNotFoundError, BlockingIOError):
            path.mkdir()
            return ControlGroup(path)
        if not base.exists():
            break
    raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), base)


def delegated(process: Path = Path("/proc/self")) -> Path | None:
    """Return the directory of the control group in which this process may make groups, if any.

    That which AIONIF_CGROUP names; or the nearest of its own group and the one above that systemd
    has delegated (Delegate=); or the topmost group of a container that may write to it.

    Raises:
        NifArgumentError: AIONIF_CGROUP names none.
    """
    named = os.environ.get(VARIABLE)
    if named is not None:
        return _checked(named)
    try:
        group, top = group_of(process)
    except (OSError, ValueError):
        return None
    for each in (group, group.parent):
        if each.is_relative_to(top) and _is_delegated(each):
            return each
    # The topmost group of a machine has no such file, and is not ours.
    is_container = (top / "cgroup.type").exists()
    return top if is_container and _is_writable(top) else None


def _is_delegated(group: Path) -> bool:
    for name in ("trusted.delegate", "user.delegate"):
        with suppress(OSError):
            if os.getxattr(group, name) == b"1":
                return _is_writable(group)
    return False


def _is_writable(group: Path) -> bool:
    return os.access(group, os.W_OK) and os.access(group / "cgroup.procs", os.W_OK)


def _checked(named: str) -> Path:
    path = Path(named)
    problem = None
    if not path.is_absolute() or not (path / "cgroup.controllers").exists():
        problem = "is not the directory of a control group (version 2)"
    elif not _is_writable(path):
        problem = "is a control group in which this process may not make others"
    if problem is None:
        return path
    raise NifArgumentError(
        argument=VARIABLE,
        value=named,
        problem=problem,
        remedy="Name one below /sys/fs/cgroup that is this user's, or unset it.",
    )


def _enable(group: Path) -> None:
    """Have controllers in the groups below; not where processes are in this one, by Linux' rule."""
    for controller in _CONTROLLERS:
        with suppress(OSError):
            (group / "cgroup.subtree_control").write_text(f"+{controller}", encoding="ascii")


def _sweep(base: Path) -> None:
    """End and remove what programs have left that were killed, and their zygotes with them."""
    for path in base.glob(f"{_PREFIX}*-*"):
        with suppress(OSError):  # it is not left, but locked by its program; or it is gone
            group = ControlGroup(path)
            group.end()
            group.forget()


def _remove(group: Path) -> bool:
    """Remove a group and those in it; False: there are processes in one."""
    try:
        for inner in group.iterdir():
            if inner.is_dir():
                inner.rmdir()
        group.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True
