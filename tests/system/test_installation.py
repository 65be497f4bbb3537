"""What an installation that can't work says: what is missing, and what to do about it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import aionif
from tests.support import DEADLINE

CHECKOUT = Path(__file__).parents[2]
PACKAGE = Path(aionif.__file__).parent


def problem_of_importing(place: Path) -> str:
    """Return the last line of an interpreter that finds the package there first."""
    program = f"import sys; sys.path.insert(0, {str(place)!r}); import aionif"
    child = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True, text=True, check=False, timeout=DEADLINE,
    )  # fmt: skip
    assert child.returncode == 1, child.stdout
    return child.stderr.splitlines()[-1]


def test_a_checkout_that_was_not_built(tmp_path: Path) -> None:
    ignored = shutil.ignore_patterns("_core*", "_cxx*", "__pycache__")
    shutil.copytree(PACKAGE, tmp_path / "aionif", ignore=ignored)
    said = problem_of_importing(tmp_path)
    assert f"compiled core is not in {tmp_path / 'aionif'}" in said
    assert "pip install ." in said


def test_an_archive(tmp_path: Path) -> None:
    archive = tmp_path / "program.pyz"
    with zipfile.ZipFile(archive, "w") as file:
        for path in PACKAGE.rglob("*"):
            if "__pycache__" not in path.parts:
                file.write(path, path.relative_to(PACKAGE.parent))
    said = problem_of_importing(archive)
    assert f"archive {archive}: no extension module can be loaded" in said
    assert "pip install ." in said


def test_a_core_that_can_not_be_loaded(tmp_path: Path) -> None:
    shutil.copytree(PACKAGE, tmp_path / "aionif", ignore=shutil.ignore_patterns("__pycache__"))
    (core,) = (tmp_path / "aionif").glob("_core*.so")
    core.write_bytes(b"of another machine")
    said = problem_of_importing(tmp_path)
    assert "can't be loaded: " in said
    assert "file too short" in said


@pytest.mark.parametrize("compiler", ["", "no-such-compiler"])
def test_no_compiler(tmp_path: Path, compiler: str) -> None:
    cmake, make = shutil.which("cmake", path=Path(sys.executable).parent), shutil.which("make")
    if cmake is None or make is None:
        pytest.skip("CMake, or make, is not installed here")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("make", "sh", "uname"):
        (programs / name).symlink_to(shutil.which(name) or "")
    found = {**os.environ, "PATH": str(programs), "CC": compiler, "CXX": compiler}
    for name in ("CC", "CXX") if not compiler else ():
        del found[name]
    build = subprocess.run(
        [cmake, "-S", CHECKOUT, "-B", tmp_path / "build", "-DAIONIF_PYTHON=OFF"],
        capture_output=True, text=True, check=False, timeout=DEADLINE, env=found,
    )  # fmt: skip
    said = " ".join(build.stderr.split())
    assert build.returncode == 1
    assert f'found none (CC is "{compiler}"). On Debian and Ubuntu: apt-get install gcc' in said
