"""Tools that look into libraries are sealed: forged debug information opens nothing else."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aionif.crash import confining
from aionif.crash import symbols as symbols_module
from aionif.sealing import confine
from aionif.sealing.confine import confined
from tests.support.sealing import landlocked
from tests.support.symbols import C_SOURCE, build, frame_at, run, symbolise_one, symbols_of

if TYPE_CHECKING:
    from aionif.errors import Frame


def split(directory: Path, link: str, debug: Path) -> Frame:
    """Return a frame in a library whose debug information is in another file, named by a link."""
    library = build(directory, "probe.c", C_SOURCE)
    offset, _ = symbols_of(library)["at_mark"]
    debug.parent.mkdir(exist_ok=True)
    run("objcopy", "--only-keep-debug", library, debug)
    name = link.encode() + b"\0"
    name += bytes(-len(name) % 4)
    section = directory / "link"
    section.write_bytes(name + struct.pack("<I", zlib.crc32(debug.read_bytes())))
    run("objcopy", "--strip-debug", "--add-section", f".gnu_debuglink={section}", library)
    return frame_at(library, offset)


def test_it_is_what_reports_use() -> None:
    assert confining.confine is confined


@landlocked
@pytest.mark.usefixtures("tool")
def test_a_link_to_a_file_elsewhere_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    frame = split(here, "../elsewhere/secret", tmp_path / "elsewhere/secret")
    found = symbolise_one(frame)
    assert (found.symbol, found.file) == ("outer", None)
    symbols_module._cache.clear()
    monkeypatch.setattr(confining, "confine", confining.as_it_is)
    if symbolise_one(frame).file is None:
        pytest.skip("this tool would not follow it anyway")


@pytest.mark.usefixtures("tool")
@pytest.mark.parametrize("place", ["probe.so.debug", "probe.debug", ".debug/probe.so.debug"])
def test_debug_information_beside_a_library_is_found(tmp_path: Path, place: str) -> None:
    found = symbolise_one(split(tmp_path, Path(place).name, tmp_path / place))
    assert found.file == str(tmp_path / "probe.c")
    assert [call.function for call in found.inlined] == ["inner", "middle"]


def test_debug_information_of_packages_is_among_what_may_be_read() -> None:
    text = confine._seal("/usr/bin/addr2line", "/opt/lib/x.so")
    for path in (b"/usr/lib\0", b"/opt/lib/x.so\0", b"/opt/lib/.debug\0"):
        assert path in text  # /usr/lib/debug is below /usr/lib


ACTS = {
    "open": "open('/etc/passwd')",
    "write": "open('{place}/new', 'w')",
    "connect": "import socket; socket.socket()",
    "fork": "import os; os.fork()",
    "execute": "import os; os.execv('/bin/sh', ['sh', '-c', 'true'])",
    "signal": "import os; os.kill(os.getppid(), 0)",
}


@landlocked
@pytest.mark.parametrize("act", ACTS)
def test_a_tool_that_is_taken_over_can_do_nothing_else(act: str, tmp_path: Path) -> None:
    """An interpreter in its place, which does what it is told."""
    module = tmp_path / "module.so"
    module.write_text("the module")
    program = (
        f"import sys; print(open({str(module)!r}).read(), flush=True); {ACTS[act]}; print('done')"
    )
    python = str(Path(sys.executable).resolve())
    with confined(python, str(module)) as means:
        ended = subprocess.run(
            [*means.prefix, python, "-I", "-S", "-c", program.format(place=tmp_path)],
            pass_fds=means.descriptors,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert ended.stdout == "the module\n", ended.stderr
    assert ended.returncode != 0


def test_without_landlock_and_filters_tools_run_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(confine, "_LAUNCHER", tmp_path / "not-there")
    with confined("/usr/bin/addr2line", "/opt/lib/x.so") as means:
        assert means == ((), ())


def test_the_launcher_starts_nothing_without_its_seal() -> None:
    place = str(confine._LAUNCHER)
    assert os.access(place, os.X_OK)
    with Path("/dev/null").open() as nothing:
        seal = nothing.fileno()
        for arguments in ([], [str(seal), "/bin/true"], ["99", "/bin/true"]):
            ended = subprocess.run([place, *arguments], pass_fds=[seal], check=False, stderr=-3)
            assert ended.returncode == 125
