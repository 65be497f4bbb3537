"""The `aionif` command, always in a child: the demonstration leaves its process tainted."""

from __future__ import annotations

import dataclasses
import importlib
import importlib.util
import json
import os
import pty
import re
import subprocess
import sys
import sysconfig
import time
import zlib
from pathlib import Path
from signal import Signals
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import aionif
from aionif.cli import _specimens, main
from aionif.cli._table import format_seconds
from aionif.cli._ticker import Ticker
from aionif.testing import gallery
from tests import support

if TYPE_CHECKING:
    from collections.abc import Callable

COMMAND = Path(sysconfig.get_path("scripts"), "aionif")


def aionif_command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=support.DEADLINE,
        env=os.environ | environment,
        preexec_fn=support.no_core_dump,
    )


def called() -> set[str]:
    return {specimen.name for specimen in gallery.available() if specimen.outcome != "death"}


def test_version() -> None:
    done = aionif_command("--version")
    assert (done.returncode, done.stdout) == (0, f"aionif {aionif.__version__}\n")


def test_without_a_command_it_explains_itself() -> None:
    done = aionif_command()
    assert done.returncode == 0
    assert "demo" in done.stdout


@pytest.mark.parametrize("arguments", [("dance",), ("demo", "--backend", "curio")])
def test_what_it_does_not_know_is_refused(arguments: tuple[str, ...]) -> None:
    done = aionif_command(*arguments)
    assert done.returncode == 2
    assert "invalid choice" in done.stderr


# ---- aionif demo --json ----


def test_demo_as_json(backend: str) -> None:
    done = aionif_command("demo", "--json", "--backend", backend)
    assert (done.returncode, done.stderr) == (0, "")
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["ok"] is True
    assert document["backend"] == backend
    assert document["pid"]["before"] == document["pid"]["after"]
    calls = {call["call"]: call for call in document["calls"]}
    assert called() <= set(calls)
    for name in called():
        outcome = gallery.SPECIMENS[name].outcome
        assert calls[name]["error"] == (None if outcome == "result" else outcome), calls[name]
        assert calls[name]["problem"] == ""
        assert calls[name]["seconds"] > 0
    assert sum(document["contained"].values()) == sum(
        gallery.SPECIMENS[name].outcome != "result" for name in called()
    )
    assert document["ticks"]["count"] > 10
    assert 0 <= document["ticks"]["late"] <= document["ticks"]["count"]
    assert document["statistics"]["failed"] > 0
    assert "compare_and_crash" in document["sample_report"]
    assert "Assertion `two + two == 5' failed" in document["stderr"]


def test_those_that_leave_a_lock_held_come_last() -> None:
    document = json.loads(aionif_command("demo", "--json").stdout)
    assert [call["call"] for call in document["calls"][-2:]] == ["stdio_locked", "malloc_locked"]


# ---- aionif demo, for people ----


def test_demo_as_a_table() -> None:
    done = aionif_command("demo")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[0] == f"aionif {aionif.__version__}: native code crashes, the program goes on"
    assert re.search(r"^  call +what happened +exception +time to know$", done.stdout, re.MULTILINE)
    for name in called():
        assert any(line.split()[:1] == [name] for line in lines), name
    assert re.search(r"^  fpe +SIGFPE .* NifSignal +[\d.]+ [um]s$", done.stdout, re.MULTILINE)
    assert re.search(
        r"^  zlib uncompress +7\.9 MiB again, equal to the original", done.stdout, re.MULTILINE
    )
    assert re.search(r"\d+ of \d+ ticks were late", done.stdout)
    assert re.search(r"This is process \d+, the same process that began\.", done.stdout)
    assert "Native traceback (most recent call last):" in done.stdout
    assert "\x1b[" not in done.stdout
    assert "thread 'unnamed' panicked" not in done.stdout
    assert "Assertion `two + two == 5' failed.\n" not in done.stdout


def test_verbose_shows_what_went_to_stderr() -> None:
    done = aionif_command("demo", "--verbose")
    assert done.returncode == 0
    _, _, noise = done.stdout.partition("What was written to stderr meanwhile")
    assert "Assertion `two + two == 5' failed.\n" in noise
    assert "nif_signal function='gallery_fpe'" in noise


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_colour_is_for_terminals_that_want_it(no_color: str, *, coloured: bool) -> None:
    master, slave = pty.openpty()
    environment = os.environ | {"NO_COLOR": no_color, "TERM": "xterm"}
    with subprocess.Popen([COMMAND, "demo"], stdout=slave, env=environment) as child:
        os.close(slave)
        output = b""
        try:
            while chunk := os.read(master, 1 << 16):
                output += chunk
        except OSError:  # what a terminal says when its other side is closed
            pass
        os.close(master)
        assert child.wait(support.DEADLINE) == 0
    assert b"NifStackOverflow" in output
    assert (b"\x1b[" in output) is coloured


def test_a_reader_that_goes_away_is_no_error() -> None:
    with subprocess.Popen(
        [COMMAND, "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stderr is not None
        child.stdout.readline()
        child.stdout.close()
        assert child.stderr.read() == b""
        assert child.wait(support.DEADLINE) == 0


# ---- what is not as it should be; the functions run in a child ----


def demo() -> None:
    raise SystemExit(main(["demo"]))


def demo_that_expects_nop_to_crash() -> None:
    nop = gallery.SPECIMENS["nop"]
    gallery.SPECIMENS["nop"] = dataclasses.replace(nop, outcome="NifSignal")
    demo()


def test_an_outcome_that_was_not_expected_fails_and_is_shown() -> None:
    done = support.run_child(demo_that_expects_nop_to_crash)
    assert done.returncode == 1
    assert "  ! nop: expected a NifSignal\n" in done.stdout
    total = len(called()) + 7
    assert f"{total - 1} of {total} came out as expected" in done.stdout


@pytest.mark.parametrize(
    ("name", "changes", "expected"),
    [
        ("add", {"value": 6}, "the result 6"),
        ("fpe", {"signal": Signals.SIGBUS}, "SIGBUS"),
        ("cxx_std_exception", {"reason": "another"}, "the reason 'another'"),
        ("underscore_exit", {"value": 9}, "the status 9"),
    ],
)
def test_the_class_of_an_error_is_not_enough(
    run: Callable[..., Any], name: str, changes: dict[str, Any], expected: str
) -> None:
    specimen = dataclasses.replace(gallery.SPECIMENS[name], **changes)
    function = _specimens.functions([specimen])[name]

    async def call() -> str:
        async with aionif.NifExecutor() as executor:
            row, _ = await _specimens.call(specimen, function, executor)
            return row.problem

    assert run(call) == expected


def demo_without_libraries() -> None:
    module: Any = importlib.import_module("aionif.cli.demo")
    module.WORK = [dataclasses.replace(work, library="libnone.so.7") for work in module.WORK]
    demo()


def test_a_library_that_is_missing_is_named_with_its_package() -> None:
    done = support.run_child(demo_without_libraries)
    assert done.returncode == 0
    assert "skipped, not found: apt install zlib1g" in done.stdout
    assert "skipped, not found: apt install libsqlite3-0" in done.stdout


def demo_with_another_checksum() -> None:
    zlib.crc32 = lambda *_: 1
    demo()


def test_a_wrong_answer_of_a_library_fails() -> None:
    done = support.run_child(demo_with_another_checksum)
    assert done.returncode == 1
    assert "  ! zlib crc32: expected no error\n" in done.stdout


def demo_without_rust() -> None:
    found = gallery.library_path

    def library_path(language: gallery.Language) -> Path:
        if language.startswith("rust"):
            raise FileNotFoundError(f"the {language!r} part was not built: install rustc")
        return found(language)

    gallery.library_path = library_path
    demo()


def test_a_part_of_the_gallery_that_was_not_built_is_named() -> None:
    done = support.run_child(demo_without_rust)
    assert done.returncode == 0
    assert "Not called: the 'rust' part was not built: install rustc." in done.stdout
    assert "rust_segv" not in done.stdout


def demo_on_trio_without_trio() -> None:
    importlib.util.find_spec = lambda *_: None
    raise SystemExit(main(["demo", "--backend", "trio"]))


def test_a_backend_that_is_missing_is_named() -> None:
    done = support.run_child(demo_on_trio_without_trio)
    assert done.returncode == 2
    assert done.stderr == "trio is not installed: pip install 'aionif[trio]'\n"


# ---- its parts ----


def test_the_ticker_counts_every_period_of_a_pause(backend: str) -> None:
    ticker = Ticker(0.01)

    async def pause() -> None:
        async with anyio.create_task_group() as group:
            group.start_soon(ticker.run)
            await anyio.sleep(0.05)
            time.sleep(0.1)  # noqa: ASYNC251 - the event loop stands still
            await anyio.sleep(0.05)
            group.cancel_scope.cancel()

    support.run_on(backend, pause)
    assert ticker.late >= 8
    assert ticker.count > ticker.late
    assert ticker.largest_delay >= 0.08


@pytest.mark.parametrize(
    ("seconds", "text"), [(4.2e-5, "42 us"), (0.0123, "12.3 ms"), (1.5, "1.50 s")]
)
def test_durations_have_a_unit(seconds: float, text: str) -> None:
    assert format_seconds(seconds) == text


def print_whether_the_demo_was_imported() -> None:
    print("aionif.cli.demo" in sys.modules)


def test_the_command_is_quick_to_say_its_version() -> None:
    assert support.run_child(print_whether_the_demo_was_imported).stdout == "False\n"
