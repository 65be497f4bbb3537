"""What calls in worker processes print arrives, once; that of a crashed call alone is lost."""

from __future__ import annotations

import asyncio
import os
import sys
from typing import Any

import pytest

from aionif import NifError, NifExecutor, NifTimeout, load
from tests.support import run_child

CDEF = """
int puts(const char *text); int printf(const char *text); void exit(int status); int raise(int);
"""


async def _attempt(executor: NifExecutor, function: Any, *arguments: Any) -> None:
    try:
        await executor.execute_nif(function, *arguments)
    except NifError as error:
        print(type(error).__name__, file=sys.stderr)


def _say(text: str) -> None:
    print(text)


LINES: dict[str, tuple[list[tuple[str, Any]], str]] = {
    "five of puts": ([("puts", b"line")] * 5, "line\n" * 5),
    "of a Python callable": ([("say", "line")] * 3, "line\n" * 3),
    "of both": ([("say", "one"), ("puts", b"two"), ("say", "three")], "one\ntwo\nthree\n"),
    "no end of line": ([("printf", b"half")] * 2, "halfhalf"),
    "before a crash": ([("puts", b"line"), ("raise", 11), ("puts", b"next")], "line\nnext\n"),
    "before an exit": ([("puts", b"line"), ("exit", 3), ("puts", b"next")], "line\nnext\n"),
}


@pytest.mark.parametrize("kind", LINES)
@pytest.mark.parametrize("most", ["0", "1"])
def test_what_is_printed_arrives_once(kind: str, most: str) -> None:
    ended = run_child(print_lines, kind, most, PYTHONUNBUFFERED="")
    assert (ended.returncode, ended.stdout) == (0, LINES[kind][1]), ended.stderr


def print_lines(kind: str, most: str) -> None:
    libc = load("libc.so.6", CDEF)

    async def main() -> None:
        async with NifExecutor(
            isolation="process", max_workers=1, max_calls_per_worker=int(most) or None
        ) as executor:
            for name, argument in LINES[kind][0]:
                function = _say if name == "say" else getattr(libc, name)
                await _attempt(executor, function, argument)

    asyncio.run(main())


def test_what_an_initializer_prints_arrives_once_for_each_worker() -> None:
    ended = run_child(print_at_start, PYTHONUNBUFFERED="")
    first, *others = ended.stdout.splitlines()
    assert (ended.returncode, first) == (0, "begun"), ended.stderr
    # One that stands ready to take its place begins at any time.
    assert sorted(others) in (["line", "line"], ["begun", "line", "line"])


def print_at_start() -> None:
    libc = load("libc.so.6", CDEF)

    async def main() -> None:
        async with NifExecutor(
            isolation="process", max_workers=1, initializer=_say, initargs=("begun",)
        ) as executor:
            for _ in range(2):
                await executor.execute_nif(libc.puts, b"line")

    asyncio.run(main())


def test_a_stdout_that_nobody_reads_holds_up_its_call_until_its_deadline() -> None:
    ended = run_child(print_into_a_full_pipe, PYTHONUNBUFFERED="")
    assert ended.returncode == 0, ended.stderr


def print_into_a_full_pipe() -> None:
    libc = load("libc.so.6", CDEF)
    _, full = os.pipe()
    os.set_blocking(full, False)
    try:
        while True:
            os.write(full, bytes(4096))
    except BlockingIOError:
        os.set_blocking(full, True)
    os.dup2(full, 1)

    async def main() -> None:
        async with NifExecutor(isolation="process", max_workers=1) as executor:
            with pytest.raises(NifTimeout):
                await executor.execute_nif(libc.puts, b"line", timeout=0.5)
        executor = NifExecutor(isolation="process", shutdown_timeout=0.5)
        call = asyncio.create_task(_attempt(executor, libc.puts, b"line"))
        await asyncio.sleep(0.2)
        await executor.aclose()
        await call

    asyncio.run(main())
