"""Starting real server programs, asking them, and stopping them with nothing left behind."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from tests import support

if TYPE_CHECKING:
    from collections.abc import Iterator

APPS = Path(__file__).with_name("apps")

ENDS = (
    ("fine", "4"),
    ("crash", "NifSignal"),
    ("fine", "4"),
    ("slow", "NifTimeout"),
    ("crash", "NifSignal"),
    ("slow", "NifTimeout"),
    ("fine", "4"),
)
"""What is asked for in turn, and how it ends."""


# ---- processes ----


def environment() -> dict[str, str]:
    """Return this one's, in which the applications are found."""
    return {**os.environ, "PYTHONPATH": str(APPS), "PYTHONUNBUFFERED": "1"}


def start(*command: str | Path, output: Any, **more: Any) -> subprocess.Popen[bytes]:
    """Start a program by this interpreter, its output going to a file."""
    return subprocess.Popen(
        [sys.executable, *command],
        stdin=subprocess.DEVNULL,
        stdout=output,
        stderr=subprocess.STDOUT,
        env=environment(),
        preexec_fn=support.no_core_dump,  # noqa: PLW1509 - as subprocess.run does here
        **more,
    )


def _parents() -> dict[int, tuple[int, int]]:
    """Return each process's parent, and the time at which it was started."""
    found = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent, *fields = entry.read_text().rpartition(")")[2].split()
            if state != "Z":
                found[int(entry.parent.name)] = (int(parent), int(fields[17]))
    return found


def family(process: int) -> set[tuple[int, int]]:
    """Return what lives below `process`, itself included: (process, time of its start)."""
    parents = _parents()
    members = {process}
    while more := {
        one for one, (parent, _) in parents.items() if parent in members and one not in members
    }:
        members |= more
    return {(one, parents[one][1]) for one in members if one in parents}


def living(members: set[tuple[int, int]]) -> set[int]:
    """Return those of a family that live yet."""
    parents = _parents()
    return {one for one, began in members if one in parents and parents[one][1] == began}


def stop(process: subprocess.Popen[bytes], *, with_signal: int = signal.SIGTERM) -> int:
    """Ask it to stop; return its exit status once all that it had started is gone."""
    members = family(process.pid)
    process.send_signal(with_signal)
    status = process.wait(support.DEADLINE)
    support.wait_until(lambda: not living(members), support.SETTLING)
    return status


def end(process: subprocess.Popen[bytes]) -> None:
    """Let a test that has failed leave nothing behind."""
    for one in living(family(process.pid)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, signal.SIGKILL)
    process.wait(support.DEADLINE)


# ---- requests ----


class Client(http.client.HTTPConnection):
    """One connection to a server that listens at a path."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=support.DEADLINE)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ask(self, tier: str, what: str) -> dict[str, Any]:
        """Return what the application answered."""
        self.request("GET", f"/{tier}/{what}")
        with self.getresponse() as response:
            text = response.read()
            assert response.status == http.HTTPStatus.OK, text
        answer: dict[str, Any] = json.loads(text)
        return answer


class Server:
    """A server program that runs, and what it has printed."""

    def __init__(self, process: subprocess.Popen[bytes], path: Path, output: Path) -> None:
        self.process = process
        self._path = path
        self._output = output

    def said(self) -> str:
        return self._output.read_text(encoding="utf-8", errors="replace")

    def connect(self) -> Client:
        return Client(self._path)

    def crash_and_go_on(self, tier: str) -> int:
        """Ask for each kind of end, on one connection if it is kept; return who answered it all."""
        with self.connect() as client:
            answers = [client.ask(tier, what) for what, _ in ENDS]
        assert [answer["ended"] for answer in answers] == [ended for _, ended in ENDS], self.said()
        [process] = {answer["pid"] for answer in answers}
        return int(process)

    def stop(self, with_signal: int = signal.SIGTERM) -> int:
        """Stop it as its manager would; return its exit status. Nothing may be left behind."""
        status = stop(self.process, with_signal=with_signal)
        assert "Traceback" not in self.said(), self.said()
        return status

    def stop_during(self, tier: str, what: str) -> tuple[int, dict[str, Any] | None]:
        """Stop it while a call runs; return its status and what was answered, if anything was."""
        with self.connect() as client:
            client.ask(tier, "fine")  # until its worker has loaded the application
            members = family(self.process.pid)
            client.request("GET", f"/{tier}/{what}")
            time.sleep(0.5)  # a server that reads it later, refuses it or answers it as well
            self.process.send_signal(signal.SIGTERM)
            try:
                with client.getresponse() as response:
                    text = response.read()
                    answer = json.loads(text) if response.status == http.HTTPStatus.OK else None
            except (http.client.HTTPException, OSError):
                answer = None
        status = self.process.wait(support.DEADLINE)
        support.wait_until(lambda: not living(members), support.SETTLING)
        return status, answer

    def _wait(self) -> None:
        limit = time.monotonic() + support.DEADLINE
        while True:
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < limit, self.said()
            with contextlib.suppress(OSError), self.connect() as client:
                client.connect()
                return
            time.sleep(0.02)


@contextlib.contextmanager
def serving(*command: str) -> Iterator[Server]:
    """Run `command`, in which {path} stands for where to listen, until it accepts connections."""
    with tempfile.TemporaryDirectory(
        prefix="host"
    ) as directory:  # short: socket paths have a limit
        path, output = Path(directory, "s"), Path(directory, "output")
        words = [word.format(path=path) for word in command]
        with output.open("wb") as file:
            process = start(*words, output=file, cwd=directory)
        server = Server(process, path, output)
        try:
            server._wait()
            yield server
        finally:
            end(process)
