"""Symbolisation claims nothing that is not so: stripped files, other builds, replaced files."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aionif.crash import symbols
from aionif.crash.symbols import build_id
from tests.support.symbols import (
    BUILD_ID,
    C_SOURCE,
    FLAGS,
    build,
    frame_at,
    run,
    symbolise_one,
    symbols_of,
)

if TYPE_CHECKING:
    from aionif.errors import Inlined


@pytest.fixture
def stripped(c_library: Path, tmp_path: Path) -> Path:
    library = tmp_path / "stripped.so"
    run("strip", "-o", library, c_library)
    return library


@pytest.mark.usefixtures("tool")
def test_a_stripped_library_gives_its_exported_names_only(c_library: Path, stripped: Path) -> None:
    symbols = symbols_of(c_library)
    exported = symbolise_one(frame_at(stripped, symbols["outer"][0]))
    assert (exported.symbol, exported.symbol_offset, exported.file) == ("outer", 0, None)
    static = frame_at(stripped, symbols["hidden"][0])
    assert symbolise_one(static) == static, "the nearest exported name would be a wrong one"


@pytest.mark.usefixtures("tool")
def test_a_stripped_copy_does_not_spoil_the_original(c_library: Path, stripped: Path) -> None:
    offset = symbols_of(c_library)["outer"][0]
    assert build_id(str(stripped)) == build_id(str(c_library))
    assert symbolise_one(frame_at(stripped, offset)).file is None
    assert symbolise_one(frame_at(c_library, offset)).file is not None


def test_another_build_at_the_same_path_is_not_believed(tmp_path: Path) -> None:
    library = build(tmp_path, "probe.c", C_SOURCE)
    frame = frame_at(library, symbols_of(library)["outer"][0])
    assert symbolise_one(frame).symbol == "outer"
    flags = [flag.replace(BUILD_ID, "ff" * 20) for flag in FLAGS]
    build(tmp_path, "probe.c", C_SOURCE, *flags)
    assert symbolise_one(frame) == frame
    assert symbolise_one(replace(frame, build_id="FF" * 20)).symbol == "outer"
    library.unlink()
    assert symbolise_one(frame) == frame


def test_a_file_without_a_build_id_does_not_match_one(tmp_path: Path) -> None:
    library = build(tmp_path, "probe.c", C_SOURCE, *FLAGS[:-1], "-Wl,--build-id=none")
    frame = frame_at(library, symbols_of(library)["outer"][0])
    assert frame.build_id is None
    assert symbolise_one(frame).symbol == "outer"
    frame = replace(frame, build_id=BUILD_ID)
    assert symbolise_one(frame) == frame


def test_a_file_replaced_during_the_lookup_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = build(tmp_path, "probe.c", C_SOURCE)
    frame = frame_at(library, symbols_of(library)["outer"][0])
    original = symbols._ask_tools

    def replacing(
        path: str, addresses: list[int], deadline: float
    ) -> dict[int, list[Inlined]] | None:
        answer = original(path, addresses, deadline)
        copy = shutil.copy(library, tmp_path / "copy.so")
        Path(copy).replace(library)
        return answer

    monkeypatch.setattr(symbols, "_ask_tools", replacing)
    assert symbolise_one(frame) == frame
    monkeypatch.undo()
    assert symbolise_one(frame).symbol == "outer"
