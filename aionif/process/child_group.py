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

    problem: why it is not all that it should be; errno and text. ends_all: its processes can be
    ended by one write.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.entrance = -1  # for the worker: who writes to it is in the group
        self.problem: tuple[int, str] | None = None
        self.ends_all = False

    def enter(self) -> None:
        """Be in it, in the worker."""
        if self.entrance >= 0:
            try:
                os.write(self.entrance, b"0")
            except OSError as problem:
                self.problem = problem.errno or 0, "the worker could not enter its control group"
                self.ends_all = False

    def close(self) -> None:
        """Nobody else is to enter it."""
        if self.entrance >= 0:
            os.close(self.entrance)
            self.entrance = -1


class Groups:
    """The groups of all workers of this zygote.

    path: of the group that they are made in; "": there is none, and problem says why.
    """

    def __init__(self, path: str, problem: str) -> None:
        self._path = path
        self._problem = 0, problem
        self._top = -1
        self._left: list[str] = []  # of workers that have ended
        if path:
            try:
                self._top = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
            except OSError as error:
                self._problem = error.errno or 0, f"the control group {path} can't be opened"

    def make(self, serial: int, memory: int, processes: int, *, is_given: bool) -> Group:
        """Make the group of a worker; limits: 0 for none.

        is_given: of memory, and not what a sandbox has by default. Without a controller that is
        then kept by the parent alone, and nobody has asked for more.
        """
        group = Group(f"worker-{serial}")
        if self._top < 0:
            group.problem = self._problem
            return group
        self._remove_left()
        try:
            os.mkdir(group.name, dir_fd=self._top)
            group.entrance = os.open(
                f"{group.name}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC, dir_fd=self._top
            )
        except OSError as problem:
            group.problem = problem.errno or 0, "a control group could not be made"
            return group
        group.ends_all = self._has(f"{group.name}/cgroup.kill")
        if not group.ends_all:
            group.problem = 0, "its control group has no cgroup.kill, which takes Linux 5.14"
        for name, limit, is_asked in (
            ("memory.max", memory, is_given),
            ("pids.max", processes, True),
        ):
            if limit and not self._write(f"{group.name}/{name}", limit) and is_asked:
                group.problem = 0, f"its control group has no {name}"
        if memory:  # as one: what is left of half a worker is of no use
            self._write(f"{group.name}/memory.oom.group", 1)
            self._write(f"{group.name}/memory.swap.max", 0)
        return group

    def end(self, group: Group) -> bool:
        """End all that a worker has left; return whether the kernel has ended it for its memory.

        That is, for its limit: `oom` counts how often this group had no more, and `oom_kill` also
        those that were killed as the whole machine had none.
        """
        if self._top < 0:
            return False
        self._write(f"{group.name}/cgroup.kill", 1)
        self._left.append(group.name)
        words = self._read(f"{group.name}/memory.events").split()
        counts = dict(zip(words[::2], words[1::2], strict=False))
        return all(counts.get(name, b"0") != b"0" for name in (b"oom", b"oom_kill"))

    def close(self) -> None:
        """End and remove all of them; what can't be removed yet is left to the program."""
        if self._top < 0:
            return
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
