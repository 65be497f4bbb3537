"""The control groups of a zygote's workers, as the zygote makes them: see groups.py.

Paths are relative to the zygote's group, whose descriptor was opened before any namespace was
entered. Nothing of the package is imported here, as in `child`.
"""

from __future__ import annotations

import os
import time
from contextlib import suppress

__all__ = ("Group", "Groups")

_MOMENT = 0.001  # seconds
_PATIENCE = 1.0  # seconds for processes that were killed to be gone


class Group:
    """The group of one worker.

    problem: why it is not all that it should be; errno and text.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.entrance = -1  # for the worker: who writes to it is in the group
        self.problem: tuple[int, str] | None = None

    def enter(self) -> None:
        """Be in it, in the worker."""
        if self.entrance >= 0:
            try:
                os.write(self.entrance, b"0")
            except OSError as problem:
                self.problem = problem.errno or 0, "the worker could not enter its control group"

    def close(self) -> None:
        """Nobody else is to enter it."""
        if self.entrance >= 0:
            os.close(self.entrance)
            self.entrance = -1


class Groups:
    """The groups of all workers of this zygote."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._left: list[str] = []  # of workers that have ended

    def make(self, serial: int, memory: int, processes: int) -> Group:
        """Make the group of a worker; limits: 0 for none."""
        self._remove_left()
        group = Group(f"worker-{serial}")
        try:
            os.mkdir(group.name, dir_fd=self._top)
            group.entrance = os.open(
                f"{group.name}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC, dir_fd=self._top
            )
        except OSError as problem:
            group.problem = problem.errno or 0, "a control group could not be made"
            return group
        if not self._has(f"{group.name}/cgroup.kill"):  # Linux 5.14
            group.problem = 0, "its control group has no cgroup.kill"
        limits = {"memory.max": memory, "pids.max": processes}
        for name, limit in limits.items():
            if limit and not self._write(f"{group.name}/{name}", limit):
                group.problem = 0, f"its control group has no {name}"
        if memory:  # as one: what is left of half a worker is of no use
            self._write(f"{group.name}/memory.oom.group", 1)
            self._write(f"{group.name}/memory.swap.max", 0)
        return group

    def end(self, group: Group) -> bool:
        """End all that a worker has left; return whether the kernel has ended it for its memory."""
        self._write(f"{group.name}/cgroup.kill", 1)
        self._left.append(group.name)
        counts = self._read(f"{group.name}/memory.events").split()
        return b"oom_kill" in counts and counts[counts.index(b"oom_kill") + 1] != b"0"

    def close(self) -> None:
        """End and remove all of them; what can't be removed yet is left to the program."""
        self._write("cgroup.kill", 1)
        with suppress(OSError):
            self._left = [entry.name for entry in os.scandir(self._top) if entry.is_dir()]
        end = time.monotonic() + _PATIENCE
        while not self._remove_left() and time.monotonic() < end:
            time.sleep(_MOMENT)
        with suppress(OSError):
            os.rmdir(self._path)  # noqa: PTH106 - pathlib is heavy

    def _remove_left(self) -> bool:
        left = self._left
        self._left = []
        for name in left:
            try:
                os.rmdir(name, dir_fd=self._top)
            except FileNotFoundError:
                pass
            except OSError:  # what was killed in it has not ended yet
                self._left.append(name)
        return not self._left

    def _has(self, name: str) -> bool:
        try:
            os.stat(name, dir_fd=self._top)
        except OSError:
            return False
        return True

    def _write(self, name: str, value: int) -> bool:
        try:
            file = os.open(name, os.O_WRONLY | os.O_CLOEXEC, dir_fd=self._top)
        except OSError:
            return False
        try:
            os.write(file, b"%d" % value)
        except OSError:
            return False
        finally:
            os.close(file)
        return True

    def _read(self, name: str) -> bytes:
        try:
            file = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._top)
        except OSError:
            return b""
        try:
            return os.read(file, 4096)
        finally:
            os.close(file)
