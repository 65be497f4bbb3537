"""A zygote that can't be started: who waits is told what it said last, and the next call tries."""

from __future__ import annotations

import errno
import re
import stat
import sys
from typing import TYPE_CHECKING

import anyio
import pytest

from aionif import NifExecutor, NifRejected, load
from aionif.process import zygote
from tests.support import run_child, run_on
from tests.support.scarce import refuse

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

LIBC = "int abs(int);"


def lines_of(function: Callable[..., None], *arguments: str, **environment: str) -> list[str]:
    child = run_child(function, *arguments, **environment)
    assert child.returncode == 0, (child.stdout, child.stderr)
    assert "Traceback" not in child.stderr, child.stderr
    return child.stdout.splitlines()


@pytest.mark.parametrize(
    ("program", "says"),
    [
        ("", "sys.executable is not set"),
        ("/nowhere/python", "/nowhere/python, can't be run: No such file or directory"),
        ("/etc/passwd", "/etc/passwd, can't be run: Permission denied"),
        ("exit 4", "did not come to serve: it ended with status 4"),
        ("echo first >&2; echo last words >&2; exit 1", "did not come to serve: last words"),
        ("kill -9 $$", "did not come to serve: it was killed by SIGKILL"),
        ("exec sleep 1000", "did not come to serve: it was not ready within 0.5 s"),
        ('exec "$REAL" -c "raise SystemExit(\'no luck\')"', "did not come to serve: no luck"),
    ],
)
def test_an_interpreter_that_does_not_serve(program: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / "python"
    if program and not program.startswith("/"):
        path.write_text(f"#!/bin/sh\n{program.replace('$REAL', sys.executable)}\n")
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        program = str(path)
    first, second, last = lines_of(start_with, program)
    assert re.search(re.escape(says), first), first
    assert says in second or "was lost" in second, second
    assert last == "1", "it is tried again"


def start_with(program: str) -> None:
    zygote._SECONDS = 0.5
    real = sys.executable
    absolute = load("libc.so.6", LIBC).abs

    async def main() -> None:
        async with NifExecutor(isolation="process", max_workers=2) as executor:
            sys.executable = program
            for _ in range(2):
                try:
                    with anyio.fail_after(20):
                        print(await executor.execute_nif(absolute, -1))
                except NifRejected as error:
                    print(error.reason)
            sys.executable = real
            zygote._SECONDS = 60
            for attempt in range(3):
                try:
                    print(await executor.execute_nif(absolute, -1))
                    break
                except NifRejected:  # by what was under way
                    assert attempt < 2

    run_on("asyncio", main)


@pytest.mark.parametrize(
    ("name", "error"),
    [("memfd_create", "EPERM"), ("memfd_create", "ENOSYS"), ("eventfd2", "EPERM")],
)
def test_a_system_call_that_is_refused(name: str, error: str) -> None:
    lines = lines_of(start_without_call, name, error)
    assert len(lines) == 2
    assert all("is refused here" in line for line in lines), lines


def start_without_call(name: str, error: str) -> None:
    absolute = load("libc.so.6", LIBC).abs

    async def main() -> None:
        refuse(getattr(errno, error), name)
        async with NifExecutor(isolation="process", max_workers=2) as executor:
            for _ in range(2):
                try:
                    with anyio.fail_after(20):
                        await executor.execute_nif(absolute, -1)
                except NifRejected as refused:
                    print(refused.reason)

    run_on("asyncio", main)


def test_a_frozen_program_is_not_started_again() -> None:
    (said,) = lines_of(freeze)
    assert "the program is frozen" in said


def freeze() -> None:
    sys.frozen = True  # type: ignore[attr-defined] # as PyInstaller and others do

    async def main() -> None:
        async with NifExecutor(isolation="process") as executor:
            with pytest.raises(NifRejected) as refused:
                await executor.execute_nif(abs, -1)
            print(refused.value.reason)

    run_on("asyncio", main)
