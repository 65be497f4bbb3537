"""Python callables that tests run in worker processes; it costs little to import there."""

from __future__ import annotations

import builtins
import contextvars
import ctypes
import importlib
import mmap
import os
import signal
import sqlite3
import sys
import threading
import time
import zlib
from pathlib import Path
from typing import Any, NamedTuple

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


def share_memory(amount: int) -> int:
    memory = mmap.mmap(-1, amount)
    for at in range(0, amount, mmap.PAGESIZE):
        memory[at] = 1
    return len(memory)


def use_cpu(seconds: float) -> int:
    """Return which process did."""
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return os.getpid()


def spin_on() -> int:
    """Leave a thread behind that takes a CPU for itself; return its process."""
    threading.Thread(target=spin, daemon=True).start()
    return os.getpid()


def open_files() -> int:
    return len([Path("/dev/null").open(encoding="ascii") for _ in range(200)])


def fail(text: str) -> None:
    raise ValueError(text)


def fail_strangely() -> None:
    raise StrangeError(1, 2)


def fail_with(value: object) -> None:
    raise ValueError(value)


def fail_with_a_note(note: str) -> None:
    error = RuntimeError("noted")
    error.add_note(note)
    raise error


def raise_named(name: str) -> None:
    raise getattr(builtins, name)


class Point(NamedTuple):
    x: int


class Word(str):
    __slots__ = ()


def make_unplain(name: str) -> object:
    """Return what is nearly plain data."""
    import numpy as np

    circle: list[object] = []
    circle.append(circle)
    return {
        "a_point": Point(1),
        "an_enum": [signal.SIGINT],
        "a_subclass": {Word("word"): 1},
        "a_numpy_object": np.array([1, "two", None], dtype=object),
        "a_circle": circle,
    }[name]


def echo(value: Any) -> Any:
    return value


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


def filled(size: int) -> bytes:
    return bytes([size & 0xFF]) * size


def overwritten(array: Any, value: int) -> Any:
    array[:] = value
    return array


def sleep_and_fill(seconds: float, size: int) -> bytes:
    time.sleep(seconds)
    return filled(size)


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


def arguments() -> list[str]:
    return sys.argv


def attribute(module: str, name: str) -> object:
    return getattr(importlib.import_module(module), name)


def read_file(path: str) -> bytes:
    return Path(path).read_bytes()


def import_by_name(*names: str) -> list[str]:
    return [importlib.import_module(name).__name__ for name in names]


def say(text: str) -> None:
    print(text, flush=True)


def write_to(path: str, size: int) -> None:
    Path(path).write_bytes(bytes(size))


# ---- in hostile workers ----


def lend(at_once: bool) -> bytes:
    """Say that a large result was written, though none was; at_once: not waiting for its turn."""
    side: Any = sys.modules["aionif.process.child_python"]
    real = side._send

    def lie(core: Any, *_reply: Any) -> int:
        side._send = real
        if not at_once:
            core.lib.aionif_child_room(1, 1 << 40)
        core.lib.aionif_child_lend()
        return int(side.ELSEWHERE)

    side._send = lie
    return b""


def reply_memory() -> bytes:
    """Return what lies where the next large result would be written."""
    core: Any = sys.modules["aionif._core"]
    place = core.lib.aionif_child_room(1, 1 << 40)
    return bytes(core.ffi.buffer(core.ffi.cast("char *", place), 1 << 16))


def be_impatient(seconds: float) -> None:
    side: Any = sys.modules["aionif.process.child_python"]
    side._PATIENCE = seconds
