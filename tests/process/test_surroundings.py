"""Workers are in the program as it is when their executor is opened."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aionif import NifExecutor, NifPolicy, Sandbox
from tests import remote
from tests.support import DEADLINE, run_on

if TYPE_CHECKING:
    from collections.abc import Iterator

MANY = 5_000


def ask(function: Any, *arguments: Any, policy: NifPolicy | None = None) -> Any:
    """Return the result of one call by workers of a new executor."""

    async def main() -> Any:
        async with NifExecutor(isolation="process", max_workers=1, policy=policy) as executor:
            return await executor.execute_nif(function, *arguments)

    return run_on("asyncio", main)


@pytest.fixture(autouse=True)
def _zygote() -> None:
    """One has been started before anything is changed."""
    ask(abs, -1)


@contextmanager
def path_with(*entries: Any) -> Iterator[None]:
    before = list(sys.path)
    sys.path[:0] = entries
    try:
        yield
    finally:
        sys.path[:] = before


def test_the_current_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert ask(os.getcwd) == str(tmp_path)
    sub = tmp_path / "removed"
    sub.mkdir()
    monkeypatch.chdir(sub)
    sub.rmdir()
    assert ask(abs, -2) == 2


def test_it_is_that_of_the_opening_and_not_of_the_first_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)

    async def main() -> Any:
        executor = NifExecutor(isolation="process", max_workers=1)
        (tmp_path / "one").mkdir()
        os.chdir(tmp_path / "one")
        async with executor:
            os.chdir("/")
            return await executor.execute_nif(os.getcwd)

    assert run_on("asyncio", main) == str(tmp_path / "one")


def test_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SAID_LATER", "yes")
    monkeypatch.setenv("LC_SAID_LATER", "yes")
    assert ask(os.getenv, "SAID_LATER") == "yes"
    monkeypatch.delenv("SAID_LATER")
    monkeypatch.delenv("LC_SAID_LATER")
    assert ask(os.getenv, "SAID_LATER") is None
    assert ask(os.getenv, "LC_SAID_LATER") is None


def test_a_sealed_worker_has_the_harmless_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    policy = NifPolicy(sandbox=Sandbox.compute())
    monkeypatch.setenv("LC_SAID_LATER", "yes")
    monkeypatch.setenv("TOKEN_SAID_LATER", "yes")
    assert ask(os.getenv, "LC_SAID_LATER", policy=policy) == "yes"
    assert ask(os.getenv, "TOKEN_SAID_LATER", policy=policy) is None


def test_the_arguments(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["program", "--big", Path("file")])
    assert ask(remote.arguments) == ["program", "--big", "file"]
    assert ask(remote.arguments, policy=NifPolicy(sandbox=Sandbox.compute())) == ["program"]


def test_where_modules_are_found(tmp_path: Path) -> None:
    tmp_path.joinpath("found_there.py").write_text("ANSWER = 42\n")
    for odd in (Path("/nowhere"), b"/nowhere", None):
        with path_with(str(tmp_path), odd):
            assert ask(remote.attribute, "found_there", "ANSWER") == 42
    many = [f"/nowhere/{number:0100}" for number in range(MANY)]
    with path_with(*many, str(tmp_path)):
        assert ask(remote.attribute, "found_there", "ANSWER") == 42


def test_stdout(tmp_path: Path) -> None:
    """Also where it was another file when the zygote was started."""
    kept = os.dup(1)
    file = os.open(tmp_path / "out", os.O_WRONLY | os.O_CREAT)
    try:
        os.dup2(file, 1)
        ask(print, "said by a worker")
    finally:
        os.dup2(kept, 1)
        os.close(kept)
        os.close(file)
    assert (tmp_path / "out").read_text() == "said by a worker\n"


OPTIONS: list[tuple[str, ...]] = [
    (),
    ("-O",),
    ("-OO", "-B", "-s"),
    ("-I",),
    ("-E", "-q"),
    ("-P",),
    ("-b",),
    ("-X", "dev"),
    ("-X", "utf8", "-X", "int_max_str_digits=5000"),
    ("-W", "error::UserWarning", "-W", "ignore::DeprecationWarning"),
]


@pytest.mark.parametrize("options", OPTIONS, ids=" ".join)
def test_the_interpreters_options(options: tuple[str, ...]) -> None:
    assert_alike(options, {})


@pytest.mark.parametrize(
    "variable", ["PYTHONHASHSEED=7", "PYTHONOPTIMIZE=1", "PYTHONDEVMODE=1", "PYTHONWARNINGS=error"]
)
def test_and_those_of_the_environment(variable: str) -> None:
    assert_alike((), dict([variable.split("=")]))


SEEN = """
def seen(seeded):
    import sys
    digits = getattr(sys, "get_int_max_str_digits", int)()
    options = {name: value for name, value in sys._xoptions.items() if name != "dev"}
    return list(sys.flags), sorted(sys.warnoptions), options, digits, seeded and hash("text")
"""
PROGRAM = """
import asyncio, os, sys
import aionif
async def main():
    seeded = "PYTHONHASHSEED" in os.environ and not sys.flags.ignore_environment
    exec(SEEN, here := {})
    async with aionif.NifExecutor(isolation="process") as executor:
        call = f"exec({SEEN!r}, names := {{}}) or names['seen']({seeded})"
        there = await executor.execute_nif(eval, call)
    print("alike" if there == here["seen"](seeded) else (there, here["seen"](seeded)))
asyncio.run(main())
"""


def assert_alike(options: tuple[str, ...], variables: dict[str, str]) -> None:
    done = subprocess.run(
        [sys.executable, *options, "-c", f"SEEN = {SEEN!r}{PROGRAM}"],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
        env=os.environ | variables,
        cwd="/",
    )
    assert done.stdout == "alike\n", done.stdout + done.stderr
