"""Python callables that tests run in worker processes; it costs little to import there."""

from __future__ import annotations

import contextvars
import ctypes
import importlib
import os
import signal
import socket
import sqlite3
import sys
import threading
import zlib
from pathlib import Path

variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable", default="unset")
state: list[int] = []


class StrangeError(Exception):
    """Pickles, but can't be read back."""

    def __init__(self, one: int, other: int) -> None:
        super().__init__(one)
        self.other = other


def spin() -> None:
    while True:
        pass


def hold_the_gil() -> None:
    ctypes.PyDLL(None).pause()


def take_memory(amount: int) -> int:
    return len(b"x" * amount)


def open_files() -> int:
    return len([Path("/dev/null").open(encoding="ascii") for _ in range(200)])


def fail(text: str) -> None:
    raise ValueError(text)


def fail_strangely() -> None:
    raise StrangeError(1, 2)


def crash(text: str) -> None:
    sys.stderr.write(text)
    sys.stderr.flush()
    ctypes.string_at(0)


def overflow(library: str) -> None:
    """Overflow the stack of the thread that it runs in."""
    ctypes.CDLL(library).gallery_overflow_recursion()


def leave(status: int) -> None:
    sys.exit(status)


def make_lambda() -> object:
    return lambda: 1


def repeat(text: bytes, times: int) -> bytes:
    return text * times


def read_variable() -> str:
    return variable.get()


def remember(number: int) -> list[int]:
    state.append(number)
    return state


def process_id() -> int:
    return os.getpid()


def set_of(*members: int) -> set[int]:
    return set(members)


def note(path: str, number: int) -> int:
    """Write a line, whole or not at all."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, f"{number}\n".encode())
    os.close(descriptor)
    return number


# ---- in sealed workers ----


def ask_in_a_thread() -> None:
    """Make a system call that no policy of the tests allows, where no call can be ended for it."""
    thread = threading.Thread(target=os.getpgid, args=(0,))
    thread.start()
    thread.join()


def ask_deafly() -> None:
    """The same with SIGSYS blocked: no handler learns of it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGSYS])
    os.getpgid(0)


def use_sqlite(rows: int) -> int:
    with sqlite3.connect(":memory:") as database:
        database.execute("create table t (x)")
        database.executemany("insert into t values (?)", ((i,) for i in range(rows)))
        total: int = database.execute("select sum(x) from t").fetchone()[0]
        return total


def compress(size: int) -> int:
    return len(zlib.decompress(zlib.compress(bytes(size))))


def import_by_name(*names: str) -> list[str]:
    return [importlib.import_module(name).__name__ for name in names]


def say(text: str) -> None:
    print(text, flush=True)


def write_to(path: str, size: int) -> None:
    Path(path).write_bytes(bytes(size))


# ---- in hostile workers ----


def send_instead(*counts: int) -> bytes:
    """Reply by one message for each count, with so many ends of a pipe in place of memory."""
    reading, _ = os.pipe()
    send = socket.send_fds

    def lie(to: socket.socket, data: list[bytes], _memory: list[int]) -> None:
        for count in counts:
            send(to, data, [reading] * count)

    socket.send_fds = lie  # type: ignore[assignment]
    return bytes(4 << 20)
