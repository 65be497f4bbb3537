"""Starting a zygote: an interpreter by exec, so that it holds nothing of this process.

No thread's lock, no socket and no secret of the program gets there. Of the environment it has
what is harmless (`environment`). It is a process group of its own, as Ctrl-C is meant for this
process. Until it serves, its stderr is a file of ours.
"""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
import sys
from pathlib import Path

from aionif.core import native
from aionif.core.native import ffi, lib
from aionif.memory.window import reserve
from aionif.process.environment import of_zygote
from aionif.process.surroundings import interpreter_options

__all__ = ("Started", "duplicate_stdout", "start")


class Started:
    """A zygote that was started: its process, our end of its socket, the file of its words."""

    def __init__(self, pid: int, connection: socket.socket, words: int) -> None:
        self.pid = pid
        self.connection = connection
        self.words = words


def start(template: str, group: Path | None, groupless: str) -> Started:
    """Start one; it need not have come to serve yet.

    group: of control, for its workers; groupless: why there is none.

    Raises:
        OSError: the system gives no memory, descriptor or process.
    """
    window = reserve()
    try:
        words = os.memfd_create("aionif-start")
    except OSError as problem:
        raise OSError(problem.errno, "memfd_create") from None
    told, catalog, ours, theirs = -1, -1, None, None
    try:
        told = _tell(window, template, group, groupless)
        catalog = _open_catalog()
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        pid = _spawn(words, theirs.fileno(), catalog, told)
    except BaseException:
        os.close(words)
        if ours is not None:
            ours.close()
        raise
    finally:
        for descriptor in (told, catalog):
            if descriptor >= 0:
                os.close(descriptor)
        if theirs is not None:
            theirs.close()
    return Started(pid, ours, words)


def _open_catalog() -> int:
    catalog = int(lib.aionif_catalog_open())
    if catalog < 0:
        raise OSError(ffi.errno, "memory for the catalog of functions")
    return catalog


def _tell(window: int, template: str, group: Path | None, groupless: str) -> int:
    """Return a file of what it is told: on a command line there is not room for all templates."""
    told = {
        "core": native.CORE_FILE,
        "window": window,
        "size": int(lib.aionif_window_size()),
        "template": json.loads(template),
        "group": ("" if group is None else str(group), groupless),
    }
    descriptor = os.memfd_create("aionif-told")
    with open(descriptor, "wb", closefd=False) as file:
        file.write(json.dumps(told).encode())
    os.lseek(descriptor, 0, os.SEEK_SET)
    return descriptor


def _spawn(words: int, connection: int, catalog: int, told: int) -> int:
    # Above the numbers they are moved to: one must not overwrite the other.
    high: list[int] = []
    try:
        nothing = _open_nothing(high)
        # Where the program was started without a stderr, that number is some file of it.
        stderr = nothing if sys.__stderr__ is None else 2
        given = (nothing, words, connection, catalog, stderr, told)
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
            [sys.executable, *interpreter_options(), str(Path(__file__).with_name("child.py"))],
            of_zygote(),
            file_actions=actions,
            setpgroup=0,
            setsigmask=(),
        )
    finally:
        for descriptor in high:
            os.close(descriptor)


def duplicate_stdout() -> int:
    """Return a descriptor of the stdout that the program has now, or of nothing.

    Raises:
        OSError: the system gives no descriptor.
    """
    # Where the program was started without one, that number is some file of it.
    if sys.__stdout__ is not None:
        try:
            return fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, 3)
        except OSError as problem:  # closed meanwhile, or there are too many
            if problem.errno != errno.EBADF:
                raise
    return _open_nothing([])


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
