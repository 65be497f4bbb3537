"""Control groups for sealed workers, where this process may make some.

All workers of a zygote have a group, and in it each worker its own, by which the kernel holds it to
its memory and processes, and by which all of it ends: what it has started, too. The zygote makes
those of workers (process/child_group.py), and removes all when it ends; a zygote that is killed
leaves them to this file.

This process is not moved: it stays where its service manager has put it.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress
from itertools import count
from pathlib import Path

from aionif.errors import NifArgumentError
from aionif.system.cgroup import group_of

__all__ = ("VARIABLE", "close_group", "delegated", "end_group", "open_group")

VARIABLE = "AIONIF_CGROUP"
_CONTROLLERS = ("memory", "pids")
_PREFIX = "aionif-"
_MOMENT = 0.001  # seconds
_PATIENCE = 1.0  # seconds for processes that were killed to be gone

_numbers = count()


def open_group() -> Path | None:
    """Make a group for a zygote's workers; None: there is no place for one.

    Raises:
        NifArgumentError: AIONIF_CGROUP names no group in which others can be made.
    """
    base = delegated()
    if base is None:
        return None
    _sweep(base)
    group = base / f"{_PREFIX}{os.getpid()}-{next(_numbers)}"
    try:
        _enable(base)
        group.mkdir()
        _enable(group)
    except OSError:
        return None
    return group


def end_group(group: Path) -> bool:
    """End all that is in a group; False: it can't be removed until the last of that has ended."""
    with suppress(OSError):
        (group / "cgroup.kill").write_text("1", encoding="ascii")
    return _remove(group)


def close_group(group: Path) -> None:
    """End all that is in a group, and remove it, at the end of this process: that waits for it."""
    end = time.monotonic() + _PATIENCE
    while not end_group(group) and time.monotonic() < end:
        time.sleep(_MOMENT)


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
    if not path.is_absolute() or not (path / "cgroup.procs").exists():
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
    """Remove what programs that were killed have left, and their zygotes with them."""
    with suppress(OSError):
        for group in base.glob(f"{_PREFIX}*-*"):
            owner = group.name.removeprefix(_PREFIX).partition("-")[0]
            if owner.isdigit() and not Path(f"/proc/{owner}").exists():
                _remove(group)


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
