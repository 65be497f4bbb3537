"""PyInstaller: in a frozen program threads work, and worker processes are refused at once."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests import support
from tests.hosts.serving import APPS, ENDS, environment

if TYPE_CHECKING:
    from pathlib import Path

# Installed for other tests; PyInstaller would follow what aionif imports where it is there.
NOT_NEEDED = ("altair", "aiohttp", "hypothesis", "IPython", "numpy", "pytest", "rich", "trio")
BUILDING = 4 * support.DEADLINE


@pytest.fixture
def frozen(tmp_path: Path) -> Path:
    """The program, in one file."""
    left_out = [word for name in NOT_NEEDED for word in ("--exclude-module", name)]
    options = ("--onefile", "--noconfirm", "--log-level", "WARN", "--paths", str(APPS), *left_out)
    subprocess.run(
        [sys.executable, "-m", "PyInstaller", *options, APPS / "frozen.py"],
        cwd=tmp_path,
        env={**environment(), "PYINSTALLER_CONFIG_DIR": str(tmp_path / "cache")},
        check=True,
        timeout=BUILDING,
    )
    return tmp_path / "dist" / "frozen"


def test_threads_serve_a_frozen_program_and_processes_are_refused_by_name(frozen: Path) -> None:
    ended = subprocess.run(
        [frozen],
        capture_output=True,
        text=True,
        check=False,
        timeout=support.DEADLINE,
        env={"PATH": os.environ["PATH"]},
        preexec_fn=support.no_core_dump,
    )
    assert ended.returncode == 0, ended.stderr
    said = ended.stdout.splitlines()
    expected = ["started True", *(f"{what} {how}" for what, how in ENDS)]
    assert said[: len(expected)] == expected
    rest = said[len(expected) :]
    assert [line.partition(":")[0] for line in rest if "refused" in line] == ["refused"] * 3
    assert rest.count('Set sys.executable to a Python interpreter, or use isolation="thread".') == 2
    assert "the program is frozen" in rest[0]
    assert rest[-2:] == ["refused: NifRejected", "ended"]
    assert said.count("started True") == 1  # it has not started itself once more
