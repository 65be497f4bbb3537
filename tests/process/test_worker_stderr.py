"""Stderr of workers: nobody waits for who reads it, and what is lost is said."""

from __future__ import annotations

import ctypes
import os
import pty
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from aionif import NifCrash, NifExecutor, NifPolicy, Sandbox
from aionif.telemetry.metrics import NifCollector
from tests.support import _IMPORT_AND_CALL, DEADLINE, run_on
from tests.support.workers import workers_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

MIB = 1 << 20
LINE = b"x" * 99 + b"\n"
PYTHON = Sandbox.python()


def start(function: Callable[..., None], stderr: Any, *arguments: str) -> subprocess.Popen[bytes]:
    place = (str(Path(__file__).parents[2]), function.__module__, function.__qualname__)
    command = [sys.executable, "-c", _IMPORT_AND_CALL, *place, *arguments]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr)


def speak(lines: int) -> int:
    """Write so many lines, in a worker."""
    for _ in range(lines):
        os.write(2, LINE)
    return os.getpid()


def crash_after(text: bytes) -> None:
    os.write(2, text)
    ctypes.string_at(16)


def in_executor(function: Callable[[NifExecutor], Any], **settings: Any) -> Any:
    async def main() -> Any:
        async with NifExecutor(isolation="process", **settings) as executor:
            return await function(executor)

    return run_on("asyncio", main)


# ---- a reader that does not read ----


@pytest.fixture(params=["pipe", "terminal"])
def unread(request: pytest.FixtureRequest) -> Iterator[tuple[int, int]]:
    """Both ends of something that nobody reads."""
    ours, theirs = os.pipe() if request.param == "pipe" else pty.openpty()
    yield ours, theirs
    for end in (ours, theirs):
        os.close(end)


def test_a_stderr_that_nobody_reads_stops_no_call(unread: tuple[int, int]) -> None:
    child = start(speak_and_go_on, unread[1])
    out, _ = child.communicate(timeout=DEADLINE)
    assert (child.returncode, out) == (0, b"all well\n")


def speak_and_go_on() -> None:
    async def main(executor: NifExecutor) -> None:
        for _ in range(4):
            await executor.execute_nif(speak, 5000, timeout=20)
        async with NifExecutor(isolation="process", max_workers=1) as another:
            assert await another.execute_nif(pow, 2, 5, timeout=20) == 32
        with anyio.fail_after(20):
            while not executor.statistics().stderr_dropped:
                await executor.execute_nif(pow, 2, 5)
                await anyio.sleep(0.05)
        before = executor.statistics().stderr_dropped
        [family] = [found for found in NifCollector().collect() if "stderr" in found.name]
        assert 0 < before <= family.samples[0].value <= executor.statistics().stderr_dropped

    in_executor(main, max_workers=1)
    print("all well")


def test_a_reader_that_pauses_loses_nothing_of_a_megabyte() -> None:
    child = start(speak_once, subprocess.PIPE, "9000")
    assert child.stdout is not None
    assert child.stderr is not None
    assert child.stdout.readline() == b"spoken\n", "though nothing has been read"
    time.sleep(0.5)
    assert child.stderr.read() == LINE * 9000
    assert child.wait(DEADLINE) == 0
    child.stdout.close()
    child.stderr.close()


def test_what_a_late_reader_has_lost_is_said() -> None:
    child = start(speak_once, subprocess.PIPE, "40000")
    assert child.stdout is not None
    assert child.stderr is not None
    assert child.stdout.readline() == b"spoken\n"
    text = child.stderr.read()
    child.wait(DEADLINE)
    child.stdout.close()
    child.stderr.close()
    words = re.findall(rb"\naionif: (\d+) bytes of workers' stderr were dropped", text)
    assert words
    rest = re.sub(rb"\n?aionif: .* dropped.*\n", b"", text)
    said = sum(map(int, words))
    assert abs(len(rest) + said - 40000 * len(LINE)) <= len(words), "but for newlines around words"


def speak_once(lines: str) -> None:
    async def main(executor: NifExecutor) -> None:
        await executor.execute_nif(speak, int(lines), timeout=40)

    in_executor(main, max_workers=1)
    print("spoken", flush=True)


def test_what_workers_write_last_is_not_lost_with_the_program() -> None:
    child = start(speak_once, subprocess.PIPE, "3")
    out, text = child.communicate(timeout=DEADLINE)
    assert (out, text) == (b"spoken\n", LINE * 3)


# ---- whose it is ----


def heard_of(function: Callable[..., None], *arguments: str) -> tuple[str, str]:
    """Call it in a program of its own; return what that printed, and what reached its stderr."""
    child = start(function, subprocess.PIPE, *arguments)
    out, text = child.communicate(timeout=DEADLINE)
    assert child.returncode == 0, text
    return out.decode(), text.decode(errors="surrogateescape")


def test_an_unsealed_worker_writes_byte_by_byte() -> None:
    _, text = heard_of(speak_raw)
    assert text == "\x1b[31mred\x1b[0m \udcff no newline"


def speak_raw() -> None:
    async def main(executor: NifExecutor) -> None:
        await executor.execute_nif(os.write, 2, b"\x1b[31mred\x1b[0m \xff no newline")

    in_executor(main, max_workers=1)


FORGED = b"first\n\x1b[2J\xff[worker 1] forged\r\xe2\x80\xaeend"


def test_what_a_sealed_worker_writes_is_in_its_report_alone() -> None:
    shown, text = heard_of(speak_sealed, "report")
    assert r"  | \x1b[2J" in shown
    assert "forged" not in text


def test_a_sealed_worker_may_be_heard_in_escaped_lines_with_its_id() -> None:
    shown, text = heard_of(speak_sealed, "pass")
    pid = shown.splitlines()[0]
    lines = text.splitlines()
    assert f"[worker {pid}] first" in lines
    assert (
        f"[worker {pid}] \\x1b[2J\N{REPLACEMENT CHARACTER}[worker 1] forged\\r\\u202eend" in lines
    )


def speak_sealed(way: str) -> None:
    sandbox = PYTHON.allow_stderr() if way == "pass" else PYTHON

    async def main(executor: NifExecutor) -> None:
        await executor.execute_nif(os.getpid)
        print(*workers_of(executor))
        with pytest.raises(NifCrash) as caught:
            await executor.execute_nif(crash_after, FORGED)
        assert caught.value.report.stderr == FORGED.decode(errors="replace")
        print(caught.value.report.render())

    in_executor(main, max_workers=1, policy=NifPolicy(sandbox=sandbox), preload=(__name__,))


def test_the_report_says_what_it_does_not_show() -> None:
    async def main(executor: NifExecutor) -> str:
        with pytest.raises(NifCrash) as caught:
            await executor.execute_nif(crash_after, LINE * 1000 + b"last words\n")
        return caught.value.report.stderr or ""

    policy = NifPolicy(sandbox=PYTHON)
    text = in_executor(main, max_workers=1, policy=policy, preload=(__name__,))
    first, _, rest = text.partition("\n")
    assert first == f"({len(LINE) * 1000 + 11 - len(rest)} bytes came before this)"
    assert rest.endswith("x\nlast words\n")


# ---- floods ----


@pytest.mark.parametrize("sandbox", [None, PYTHON], ids=["unsealed", "sealed"])
def test_a_flood_keeps_nobody_else_waiting(sandbox: Sandbox | None) -> None:
    """The workers of another executor are started and heard of meanwhile."""
    child = start(flood_beside, subprocess.DEVNULL, "sealed" if sandbox else "")
    out, _ = child.communicate(timeout=DEADLINE)
    assert (child.returncode, out) == (0, b"all well\n")


def flood_beside(sealed: str) -> None:
    policy = NifPolicy(sandbox=PYTHON if sealed else None)

    async def main(executor: NifExecutor) -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(drown, executor)
            group.start_soon(drown, executor)
            await anyio.sleep(0.2)
            for _ in range(3):
                async with NifExecutor(isolation="process", max_workers=1) as another:
                    with pytest.raises(NifCrash):
                        await another.execute_nif(crash_after, b"", timeout=20)
            group.cancel_scope.cancel()

    in_executor(main, max_workers=2, policy=policy, preload=(__name__,))
    print("all well")


async def drown(executor: NifExecutor) -> None:
    await executor.execute_nif(speak, 1 << 30)


def test_what_becomes_of_stderr_is_a_choice() -> None:
    assert PYTHON.stderr == "report"
    assert repr(PYTHON.allow_stderr()) == "Sandbox.python().allow_stderr()"
    with pytest.raises(ValueError, match="stderr"):
        Sandbox(profile="compute", stderr="terminal")  # type: ignore[arg-type]
