"""Workloads for the learn mode; each is called in a child of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
import time
import zlib
from pathlib import Path

if os.environ.get("AIONIF_TEST_NO_WORKLOADS"):
    raise ImportError("not in this child")


def compute() -> None:
    assert zlib.decompress(zlib.compress(bytes(1 << 20))) == bytes(1 << 20)


def everything(source: str, target: str) -> None:
    assert Path(source).read_text() == "text"
    made = Path(target, "made")
    made.write_text("more")
    made.unlink()
    socket.socket().close()
    thread = threading.Thread(target=time.sleep, args=[0.001])
    thread.start()
    thread.join()
    os.getpgid(0)


def program(source: str, target: str) -> None:
    del source, target
    assert subprocess.run(["/bin/true"], check=False).returncode == 0


def read_all(directory: str) -> None:
    for index in range(5):
        Path(directory, str(index)).read_text()


def python() -> None:
    import colorsys  # noqa: F401 - it is read now


def fail() -> None:
    os.getpgid(0)
    raise KeyError(3)


def leave() -> None:
    os.getpgid(0)
    raise SystemExit(3)


def abort() -> None:
    os.getpgid(0)
    os.abort()


def hang() -> None:
    time.sleep(1000)
