"""Learn mode: run a workload once with nothing denied, and say what policy it needs.

Each system call is held against the policy's own filter, by the interpreter of `filters/bpf.py`.
What the policy would deny is turned into weakenings that allow it: first paths, which bring some
system calls with them; then those that stand for an intention, such as to have sockets; and only
for what is left the system call as such.

A policy that was learnt covers what this one run did. It is where one starts; read it.
"""

from __future__ import annotations

import os
import pickle
import struct
from collections import Counter
from dataclasses import dataclass, replace
from errno import errorcode
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aionif.errors import NifArgumentError
from aionif.filters.bpf import ALLOW, Call, bind, evaluate
from aionif.filters.places import roots
from aionif.filters.profiles import FSTAT, program_of
from aionif.filters.syscalls import name_of, number_of
from aionif.sandbox import Sandbox
from aionif.sealing.watched import Watched
from aionif.system.processor import HERE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from aionif.filters.bpf import Instruction
    from aionif.sandbox import Weakening
    from aionif.sealing.watched import Notice

__all__ = ("Lesson", "learn_sandbox")

_WRITES = 0o3 | 0o100 | 0o1000  # ACCMODE, CREAT, TRUNC
_ERRNO, _DATA = 0x00050000, 0xFFFF
_MANY = 4  # files in one directory that are better allowed together
_EXAMPLES = 64  # calls of one name that are kept

# The system calls that tell an intention.
_INTENTIONS: dict[Weakening, frozenset[str]] = {
    "threads": frozenset({"clone"}),
    "fork": frozenset({"clone", "fork", "vfork"}),
    "network": frozenset({"socket", "connect", "bind"}),
    "jit": frozenset({"mmap", "mprotect"}),
}

# Where the paths of system calls are: (the directory's descriptor or None, the path).
_PATHS: dict[str, tuple[tuple[int | None, int], ...]] = {
    **dict.fromkeys(("open", "creat", "execve", "truncate"), ((None, 0),)),
    **dict.fromkeys(("mkdir", "rmdir", "unlink"), ((None, 0),)),
    **dict.fromkeys(("openat", "execveat", "mkdirat", "unlinkat"), ((0, 1),)),
    **dict.fromkeys(("rename", "link"), ((None, 0), (None, 1))),
    **dict.fromkeys(("renameat", "renameat2", "linkat"), ((0, 1), (2, 3))),
    "symlink": ((None, 1),),
    "symlinkat": ((1, 2),),
}
_PROGRAMS = frozenset({"execve", "execveat"})
_STARTS = frozenset({"clone", "fork", "vfork"})  # few programs can do without these
_FLAGS = {"open": 1, "openat": 2}  # where they are


@dataclass(frozen=True, slots=True)
class Lesson:
    """What a workload needs; its `str()` is Python code, with comments.

    sandbox: the policy that was asked about, with the weakenings that this run took.
    denied: how often each system call would have ended the call. answered: those that would have
        failed with an errno, as "ioctl ENOTTY", which most programs can do without.
    error: what the workload raised, or how its process ended; None if it returned.
    """

    sandbox: Sandbox
    denied: dict[str, int]
    answered: dict[str, int]
    error: str | None

    def __str__(self) -> str:
        lines = [repr(self.sandbox)]
        for title, counts in (("was denied", self.denied), ("would fail", self.answered)):
            text = ", ".join(f"{name} ({count})" for name, count in sorted(counts.items()))
            lines += [f"# {title}: {text}"] if text else []
        lines += [f"# the workload did not return: {self.error}"] if self.error else []
        return "\n".join(lines)


def learn_sandbox(
    function: Callable[..., Any],
    *arguments: Any,
    sandbox: Sandbox | None = None,
    timeout: float = 60.0,
) -> Lesson:
    """Call `function(*arguments)` in a child process and return the policy that it needs.

    What is loaded or imported inside the call counts. What the function's own module imports does
    not: a worker has imported it before it is sealed.

    function, arguments: picklable; a function of a module that the child can import.
    sandbox: where to start from; `Sandbox.compute()` if left out.
    timeout: seconds for all of it.

    Raises:
        NifArgumentError: the function or an argument can't be pickled.
        NifRejected: this kernel or container does not let system calls be watched.
        NifTimeout: the workload took too long; it was killed.
    """
    try:
        workload = pickle.dumps((function, arguments))
    except Exception as problem:
        raise NifArgumentError(
            argument=0,
            value=function,
            problem=f"can't be sent to the child ({problem})",
            remedy="Use a function of a module, and plain data.",
        ) from problem
    pupil = _Pupil(sandbox or Sandbox.compute())
    with Watched(workload, timeout) as watched:
        for notice in watched:
            pupil.take(notice)
        return pupil.lesson(watched.error)


class _Pupil:
    def __init__(self, start: Sandbox) -> None:
        self.start = start
        self.read: set[str] = set()
        self.write: set[str] = set()
        self.execute: set[str] = set()
        self.denied: Counter[str] = Counter()
        self._failed: Counter[tuple[str, str]] = Counter()
        self._refused: dict[str, list[tuple[int, Call]]] = {}
        self._program = _program_of(start)

    def take(self, notice: Notice) -> None:
        """Note what a call needs that the policy does not give."""
        name = name_of(notice.call.number) or str(notice.call.number)
        call = notice.call
        if name == "clone3":  # the C library falls back on clone with the same flags
            name = "clone"
            [flags] = struct.unpack("=Q", notice.memory(call.arguments[0], 8) or bytes(8))
            call = Call(number_of("clone"), (flags,))
        outcome = _decide(self._program, notice.pid, call)
        if name in _PATHS:
            self._take_paths(name, notice, outcome)
        elif outcome != ALLOW:
            examples = self._refused.setdefault(name, [])
            if len(examples) < _EXAMPLES:
                examples.append((notice.pid, call))
            if outcome & ~_DATA == _ERRNO and name not in _STARTS:
                self._failed[name, errorcode.get(outcome & _DATA, "")] += 1
            else:
                self.denied[name] += 1

    def _take_paths(self, name: str, notice: Notice, outcome: int) -> None:
        arguments = notice.call.arguments
        for directory, at in _PATHS[name]:
            base = None if directory is None else arguments[directory]
            path = notice.path(base, arguments[at])
            if path is None:
                continue
            if name in _PROGRAMS:
                places, given = self.execute, self.start.execute
            elif name in _FLAGS and not arguments[_FLAGS[name]] & _WRITES:
                places, given = self.read, (*self.start.readable, *self.start.write)
            else:
                places, given, path = self.write, self.start.write, _parent(path)
            if not _is_below(path, given) and Path(path).exists():
                self.denied[name] += outcome != ALLOW
                places.add(path)

    def lesson(self, error: str | None) -> Lesson:
        """Return what was learnt."""
        read = self.read or self.execute  # a program that loads no library is still read itself
        made = self.start.allow_read(*_gathered(read)).allow_write(*roots(self.write))
        made = made.allow_exec(*sorted(self.execute))
        for weakening, names in _INTENTIONS.items():
            wider = replace(made, grants=made.grants | {weakening})
            if any(self._is_refused(name, made) > self._is_refused(name, wider) for name in names):
                made = wider
        missing = [name for name in self.denied if self._is_refused(name, made)]
        made = made.allow_syscalls(*missing)
        answered = {
            f"{name} {error}": count
            for (name, error), count in self._failed.items()
            if self._is_refused(name, made)
        }
        return Lesson(made, dict(+self.denied), answered, error)

    def _is_refused(self, name: str, policy: Sandbox) -> int:
        """Return how many of the calls that were kept as examples a policy would not allow."""
        program = _program_of(policy)
        examples = self._refused.get(name, ())
        return sum(_decide(program, pid, call) != ALLOW for pid, call in examples)


def _program_of(sandbox: Sandbox) -> list[Instruction]:
    return program_of(HERE.name, sandbox.granted, sandbox.syscalls, sandbox.denied)


def _decide(program: list[Instruction], pid: int, call: Call) -> int:
    outcome = evaluate(bind(program, pid), call)
    return ALLOW if outcome == FSTAT else outcome  # it is answered all the same


def _parent(path: str) -> str:
    """Return the directory whose entry is made, changed or removed."""
    return path if path.startswith("/dev/") else os.path.dirname(path)  # noqa: PTH120


def _is_below(path: str, places: Iterable[str]) -> bool:
    return any(path == place or path.startswith(place.rstrip("/") + "/") for place in places)


def _gathered(files: Iterable[str]) -> tuple[str, ...]:
    """Return files as they are, or their directory where it has many of them."""
    crowded = {
        directory
        for directory, count in Counter(_parent(file) for file in files).items()
        if count >= _MANY and directory != "/"
    }
    return roots({_parent(file) if _parent(file) in crowded else file for file in files})
