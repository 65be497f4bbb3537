"""Symbolisation of what cannot be looked up: bad frames, damaged files, tools that fail."""

from __future__ import annotations

import os
import random
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import structlog
from structlog.testing import capture_logs

from aionif.crash import confining, elf
from aionif.crash import symbols as symbols_module
from aionif.crash.symbols import build_id, symbolise
from aionif.errors import Frame, Inlined
from tests.support.symbols import BUILD_ID, build, symbolise_one, symbols_of

if TYPE_CHECKING:
    from collections.abc import Iterator

SOURCE = """\
int outer(int x) { return x * 2; }
int __internal_fetch(void) { return 1; }
int fetch(void) __attribute__((alias("__internal_fetch")));
int weak_fetch_with_a_longer_name(void) __attribute__((weak, alias("__internal_fetch")));
"""


@pytest.fixture(autouse=True)
def _configured() -> Iterator[None]:
    """Events go through structlog only where the program has configured it."""
    structlog.configure()
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("library"), "probe.c", SOURCE)


@pytest.fixture(scope="module")
def symbols(library: Path) -> dict[str, tuple[int, int]]:
    """Address and size of each function."""
    return symbols_of(library)


@pytest.fixture
def frame(library: Path, symbols: dict[str, tuple[int, int]]) -> Frame:
    offset, _ = symbols["outer"]
    return Frame(address=1, module=str(library), build_id=BUILD_ID, offset=offset)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


# --- frames and files ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "weird",
    [
        Frame(address=0),
        Frame(address=1, offset=1),
        Frame(address=1, module="/no/such/file.so", offset=1),
        Frame(address=1, module="/proc/self/exe (deleted)", offset=1),
        Frame(address=1, module="linux-vdso.so.1", offset=0x800),
        Frame(address=1, module="", offset=1),
        Frame(address=1, module="nul\0", offset=1),
        Frame(address=1, module="lone\udc80", offset=1),
        Frame(address=1, module="/", offset=1),
        Frame(address=1, module="/dev/zero", offset=1),
        Frame(address=1, module=sys.executable),
        Frame(address=1, module=sys.executable, offset=-5),
        Frame(address=1, module=sys.executable, offset=0, is_return_address=True),
        Frame(address=1, module=sys.executable, offset=1 << 64),
        Frame(address=1, module=sys.executable, offset=(1 << 64) - 1),
        Frame(address=1, module=sys.executable, offset=1, build_id="not hex"),
        Frame(address=1, module=sys.executable, offset=1, build_id=""),
        Frame(address=1, module="known.so", offset=1, symbol="f", file="f.c", line=1),
    ],
)
def test_a_frame_that_cannot_be_looked_up_stays_as_it_is(weird: Frame) -> None:
    assert symbolise_one(weird) == weird


def test_no_frames() -> None:
    assert symbolise([]) == ()


@pytest.mark.parametrize("content", [b"", b"\x7fELF", b"not ELF at all\n" * 100])
def test_a_file_that_is_not_elf(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "file.so"
    path.write_bytes(content)
    assert build_id(str(path)) is None
    frame = Frame(address=1, module=str(path), offset=1)
    with capture_logs() as logs:
        assert symbolise_one(frame) == frame
    assert {entry["event"] for entry in logs} <= {"symbolise_failed"}


def test_a_fifo_in_place_of_a_module(tmp_path: Path) -> None:
    path = tmp_path / "fifo.so"
    os.mkfifo(path)
    assert build_id(str(path)) is None
    frame = Frame(address=1, module=str(path), offset=1)
    assert symbolise_one(frame) == frame


def test_damaged_elf_files_raise_nothing_and_leak_nothing(
    frame: Frame, library: Path, tmp_path: Path
) -> None:
    whole = library.read_bytes()
    path = tmp_path / "damaged.so"
    dice = random.Random(7)
    descriptors = open_descriptors()
    for _ in range(300):
        content = bytearray(whole)
        # The program headers stand at the start of a file and the section headers at its end.
        for part in (range(800), range(len(whole)), range(len(whole) - 2000, len(whole))):
            content[dice.choice(part)] = dice.randrange(256)
        path.write_bytes(content[: dice.choice((None, dice.randrange(len(whole))))])
        build_id(str(path))
        elf.symbols_at(str(path), [frame.offset or 0, 0, (1 << 64) - 1])
    assert open_descriptors() == descriptors


def test_build_id(library: Path) -> None:
    assert build_id(str(library)) == BUILD_ID


def test_of_several_names_at_one_address_the_plain_one_is_given(
    library: Path, symbols: dict[str, tuple[int, int]]
) -> None:
    start, size = symbols["fetch"]
    assert elf.symbols_at(str(library), [start]) == {start: elf.Symbol("fetch", start, size)}
    assert start + size not in elf.symbols_at(str(library), [start + size - 1, start + size])


# --- tools that fail ----------------------------------------------------------------------------


@pytest.fixture
def scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let tools be scripts: sealed, a shell could start nothing."""
    monkeypatch.setattr(confining, "confine", confining.as_it_is)


def fake_tool(directory: Path, name: str, script: str) -> None:
    path = directory / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.usefixtures("scripts")
@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("echo broken >&2; exit 3", "exit status 3"),
        ("cat; echo nonsense", "unexpected line"),
        ("echo nonsense", "unexpected line"),
        ("true", "0 answers for 1 addresses"),
        ("kill -SEGV $$", "SIGSEGV"),
        ("exec sleep 60", "timed out"),
    ],
)
def test_a_failing_tool_is_logged_and_names_are_still_found(
    frame: Frame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    script: str,
    reason: str,
) -> None:
    fake_tool(tmp_path, "addr2line", script)
    monkeypatch.setattr(symbols_module, "_TOOLS", symbols_module._TOOLS[:1])
    if "sleep" in script:
        monkeypatch.setattr(symbols_module, "_TOOL_SECONDS", 0.5)
    path = os.environ["PATH"]
    monkeypatch.setenv("PATH", f"{tmp_path}:{path}")
    with capture_logs() as logs:
        assert symbolise_one(frame) == replace(frame, symbol="outer", symbol_offset=0)
    (entry,) = logs
    assert entry["event"] == "symbolise_failed"
    assert (entry["tool"], entry["module"]) == ("addr2line", frame.module)
    assert reason in entry["reason"]
    assert ("broken" in entry["stderr"]) == ("broken" in script)
    if shutil.which("addr2line", path=path) is not None:
        monkeypatch.setenv("PATH", path)
        assert symbolise_one(frame).file is not None, "a failure must not be kept"


@pytest.mark.usefixtures("scripts")
def test_a_tool_has_limits_by_the_time_it_is_told_what_to_look_up(
    frame: Frame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(symbols_module, "_TOOLS", symbols_module._TOOLS[:1])
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    warned: list[str] = []
    monkeypatch.setattr(symbols_module, "warn", lambda _event, **of: warned.append(of["reason"]))
    fake_tool(tmp_path, "addr2line", "read address; exit $(ulimit -t)")
    symbolise_one(frame)
    fake_tool(tmp_path, "addr2line", "read address; exit $(($(ulimit -v) / 1048576))")
    symbolise_one(frame)
    assert ["exit status 10" in warned[0], "exit status 8" in warned[1]] == [True, True], warned


@pytest.mark.usefixtures("scripts")
def test_the_other_tool_is_asked_when_one_fails(
    frame: Frame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_tool(tmp_path, "addr2line", "exit 1")
    fake_tool(tmp_path, "llvm-symbolizer", "cat; echo outer; echo /src/probe.c:12")
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with capture_logs() as logs:
        found = symbolise_one(frame)
    assert (found.file, found.line) == ("/src/probe.c", 12)
    assert [entry["tool"] for entry in logs] == ["addr2line"]


@pytest.mark.usefixtures("scripts")
def test_a_tool_gets_neither_preloads_nor_debuginfod(
    frame: Frame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = 'cat; echo f; echo "$DEBUGINFOD_URLS$LD_PRELOAD$OTHER:1"'
    fake_tool(tmp_path, "addr2line", report)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv("DEBUGINFOD_URLS", "https://debuginfod.invalid/")
    monkeypatch.setenv("LD_PRELOAD", "")
    monkeypatch.setenv("OTHER", "kept")
    assert symbolise_one(frame).file == "kept"


# --- cost ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("tool", symbols_module._TOOLS, ids=lambda tool: tool[0])
def test_one_run_for_all_frames_of_a_module_and_none_for_known_ones(
    frame: Frame,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tool: tuple[str, tuple[str, ...]],
) -> None:
    if shutil.which(tool[0]) is None:
        pytest.skip(f"{tool[0]} is not installed")
    monkeypatch.setattr(symbols_module, "_TOOLS", (tool,))
    runs = []
    original = symbols_module._run

    def recording(
        command: list[str], addresses: list[int], deadline: float, descriptors: tuple[int, ...]
    ) -> dict[int, list[Inlined]]:
        [found] = [part for part in command if Path(part).name == tool[0]]
        runs.append(Path(found).name)
        return original(command, addresses, deadline, descriptors)

    monkeypatch.setattr(symbols_module, "_run", recording)
    copies = [shutil.copy(str(frame.module), tmp_path / name) for name in ("a.so", "b.so")]
    frames = [
        replace(frame, module=str(copy), offset=(frame.offset or 0) + step)
        for copy in copies
        for step in (0, 1, 0)
    ]
    first = symbolise(frames)
    assert runs == [tool[0]] * 2
    assert all(found.line == 1 for found in first)
    assert symbolise(frames) == first
    assert len(runs) == 2
    os.utime(copies[0], (0, 0))
    assert symbolise(frames) == first
    assert len(runs) == 3


def test_the_cache_is_bounded(frame: Frame, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symbols_module, "_TOOLS", ())
    monkeypatch.setattr(symbols_module, "_CACHE_SIZE", 10)
    symbolise([replace(frame, offset=offset) for offset in range(50)])
    assert len(symbols_module._cache) == 10
