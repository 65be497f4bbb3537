"""`aionif top`: a window for the same user alone, and what is seen through it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import socket
import stat
import struct
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import pytest

from aionif import NifExecutor, NifSignal, call_nif, load
from aionif.cli import main
from aionif.telemetry import top
from aionif.telemetry.series import FATES, Histogram
from tests.support import DEADLINE, PROBE_CDEF, gather, load_gallery, run_child, run_on

if TYPE_CHECKING:
    from pathlib import Path


COMMAND = "from aionif.cli import main; raise SystemExit(main())"


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))


def look(pid: int) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", COMMAND, "top", str(pid), "--once", "--interval", "0.3"],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
    )


def test_a_picture_of_a_running_program(backend: str, probe_path: Path) -> None:
    """A program of its own: this one has called too many functions for a screen."""
    shown = run_child(be_watched, backend, str(probe_path))
    assert (shown.returncode, shown.stderr) == (0, "")
    assert re.search(r"^process \d+", shown.stdout)
    assert re.search(r"^ *watched +[12] +[01] +[01] +[\d.]+ +\d+ +0", shown.stdout, re.MULTILINE)
    row = re.search(r"^ *watched +sleep_ms +([\d.]+) +([\d.]+) ms", shown.stdout, re.MULTILINE)
    assert row
    assert float(row[1]) > 0
    assert float(row[2]) >= 5
    assert re.search(r"watched +gallery_segv_read .*SIGSEGV \d+", shown.stdout)
    assert re.search(r"\(inline\) +gallery_segv_read .*SIGSEGV 1", shown.stdout)


def be_watched(backend: str, probe_path: str) -> None:
    logging.getLogger("aionif").setLevel(logging.CRITICAL)
    probe = load(probe_path, PROBE_CDEF)
    crash = load_gallery().gallery_segv_read

    async def program() -> None:
        with pytest.raises(NifSignal):
            call_nif(crash)
        looker = threading.Thread(target=lambda: print(look(os.getpid()).stdout))
        async with NifExecutor(name="watched", max_workers=2) as executor:
            looker.start()
            while looker.is_alive():
                await executor.execute_nif(probe.sleep_ms, 5)
                await gather(lambda: executor.execute_nif(crash))
        looker.join()

    with top.allow():
        run_on(backend, program)


def test_the_socket_is_private_and_goes_away() -> None:
    with top.allow() as window:
        assert stat.S_IMODE(window.path.stat().st_mode) == 0o600
        assert stat.S_IMODE(window.path.parent.stat().st_mode) == 0o700
        path = window.path
    assert not path.exists()
    window.close()  # harmless


def test_a_directory_that_others_may_enter_is_refused() -> None:
    directory = top.socket_path(1).parent
    directory.mkdir()
    directory.chmod(0o755)
    with pytest.raises(PermissionError, match="0700"):
        top.allow()


def test_a_directory_that_is_a_link_is_refused(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    top.socket_path(1).parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(PermissionError):
        top.allow()


@pytest.mark.parametrize("mode", [0o755, 0o770, 0o1777])
def test_a_reader_refuses_a_directory_that_others_may_enter(
    mode: int, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = top.socket_path(1).parent
    directory.mkdir()
    directory.chmod(mode)
    assert main(["top", "1", "--once"]) == 1
    said = capsys.readouterr().err
    assert str(directory) in said
    assert "0700" in said
    assert "XDG_RUNTIME_DIR" in said


def test_a_reader_refuses_the_directory_of_another_user(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever is first in /tmp could show what they like, on this user's terminal."""
    directory = top.socket_path(1).parent
    directory.mkdir(mode=0o700)
    monkeypatch.setattr(top, "socket_path", lambda _pid: directory / "1.sock")
    monkeypatch.setattr(os, "geteuid", lambda: os.getuid() + 1)
    assert main(["top", "1", "--once"]) == 1
    assert f"it is of user {os.getuid()}" in capsys.readouterr().err


@pytest.mark.parametrize("link", ["directory", "socket"])
def test_a_reader_follows_no_link(
    link: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = top.socket_path(1)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir(mode=0o700)
    serving(elsewhere / "1.sock", b"{}\n")
    if link == "directory":
        path.parent.symlink_to(elsewhere)
    else:
        path.parent.mkdir(mode=0o700)
        path.symlink_to(elsewhere / "1.sock")
    assert main(["top", "1", "--once"]) == 1
    said = capsys.readouterr().err
    assert "no link" in said or "is not a socket of this user" in said


def serving(path: Path, answer: bytes) -> None:
    """Answer whoever connects."""
    server = socket.socket(socket.AF_UNIX)
    server.bind(str(path))
    server.listen()

    def serve() -> None:
        with server:
            for _ in range(2):
                client, _ = server.accept()
                with client, contextlib.suppress(OSError):
                    client.sendall(answer)

    threading.Thread(target=serve, daemon=True).start()


SNAPSHOT: dict[str, Any] = {
    "pid": 1, "time": 1, "tainted": [], "supervisors": [],
    "executors": {"e": {"counts": {}, "restarts": {}, "functions": [], "breakers": []}},
}  # fmt: skip
FUNCTION = {
    "function": "f", "library": None, "calls": dict.fromkeys(FATES, 0), "crashes": {"99": 1},
    "duration": list(Histogram().buckets), "queue_wait": list(Histogram().buckets),
}  # fmt: skip
NODE = {
    "name": "s", "strategy": "x", "restarts": 0, "active": 0, "specs": 0,
    "children": [], "more": {},
}  # fmt: skip


def nested(levels: int) -> dict[str, Any]:
    node: dict[str, Any] = NODE
    for _ in range(levels):
        node = {**NODE, "children": [{"id": "c", "state": "running", "supervisor": node}]}
    return node


@pytest.mark.parametrize(
    "answer",
    [
        b"[]\n",
        b"{}\n",
        b"not json\n",
        b"[" * 100_000 + b"\n",
        json.dumps(SNAPSHOT | {"time": float("nan")}).encode() + b"\n",
        json.dumps(SNAPSHOT | {"pid": "1"}).encode() + b"\n",
        json.dumps(SNAPSHOT | {"executors": {"e": []}}).encode() + b"\n",
        json.dumps(SNAPSHOT | {"supervisors": [{"name": 3}]}).encode() + b"\n",
        json.dumps(SNAPSHOT | {"supervisors": [nested(100)]}).encode() + b"\n",
        b"x" * (17 << 20),
    ],
    ids=lambda answer: answer[:20],
)
def test_answers_that_are_none(answer: bytes, capsys: pytest.CaptureFixture[str]) -> None:
    path = top.socket_path(1)
    path.parent.mkdir(mode=0o700)
    serving(path, answer)
    assert main(["top", "1", "--once", "--interval", "0.1"]) == 1
    assert "aionif top: " in capsys.readouterr().err


def test_names_are_shown_and_not_obeyed(capsys: pytest.CaptureFixture[str]) -> None:
    evil = "[bold]\x1b[2J\u202ex\n"
    executor = {
        "counts": dict.fromkeys(("workers", "running", "queued", "submitted"), 1), "restarts": {},
        "functions": [FUNCTION | {"function": evil}],
        "breakers": [{"function": evil, "library": None, "open": 1}],
    }  # fmt: skip
    answer = SNAPSHOT | {"executors": {evil: executor}, "supervisors": [NODE | {"name": evil}]}
    path = top.socket_path(1)
    path.parent.mkdir(mode=0o700)
    serving(path, json.dumps(answer | {"tainted": [evil]}).encode() + b"\n")
    assert main(["top", "1", "--once", "--interval", "0.1"]) == 0
    shown = capsys.readouterr().out
    assert all(char.isprintable() or char == "\n" for char in shown)
    assert "[bold]" in shown
    assert "signal 99" in shown


def test_another_user_gets_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Stranger:
        def getsockopt(self, *_: int) -> bytes:
            return struct.pack("3i", 1, os.geteuid() + 1, 0)

    assert not top._is_same_user(Stranger())  # type: ignore[arg-type]
    with top.allow() as window:
        monkeypatch.setattr(top, "_is_same_user", lambda _client: False)
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(DEADLINE)
            client.connect(str(window.path))
            assert client.recv(1) == b""


def test_clients_that_leave_do_not_end_it() -> None:
    with top.allow() as window:
        for _ in range(3):
            with socket.socket(socket.AF_UNIX) as client:
                client.connect(str(window.path))
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(DEADLINE)
            client.connect(str(window.path))
            assert client.recv(1) == b"{"


def test_a_process_without_a_window(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["top", str(os.getpid()), "--once"]) == 1
    assert "has no window" in capsys.readouterr().err


def test_a_socket_left_by_a_dead_process_is_replaced() -> None:
    path = top.socket_path(os.getpid())
    path.parent.mkdir(mode=0o700)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    assert main(["top", str(os.getpid()), "--once"]) == 1
    with top.allow():
        assert look(os.getpid()).returncode == 0
