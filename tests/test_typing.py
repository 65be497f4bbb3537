"""Type checkers read the package as its users have it installed, and know what calls return."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parent / "typed" / "program.py"
DEADLINE = 300.0
"""Seconds; a checker without a cache, on a machine that is busy."""

WRONG = """
import aionif

def square(n: int) -> int:
    return n * n

async def main() -> str:
    return await aionif.execute_nif(square, 3)
"""


def check(checker: str, program: Path, directory: Path) -> subprocess.CompletedProcess[str]:
    """Run a checker in its strictest mode over one program that stands alone."""
    alone = directory / "program.py"
    alone.write_text(program.read_text(encoding="utf-8"), encoding="utf-8")
    if checker == "mypy":
        cache = f"--cache-dir={directory / 'cache'}"
        command = [sys.executable, "-m", "mypy", "--strict", cache, "program.py"]
    else:
        settings = {"typeCheckingMode": "strict", "include": ["program.py"]}
        (directory / "pyrightconfig.json").write_text(json.dumps(settings), encoding="utf-8")
        command = [sys.executable, "-m", "basedpyright", "--pythonpath", sys.executable]
    return subprocess.run(
        command, cwd=directory, capture_output=True, text=True, timeout=DEADLINE, check=False
    )


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_a_users_program_is_well_typed(checker: str, tmp_path: Path) -> None:
    result = check(checker, PROGRAM, tmp_path)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_a_wrong_use_of_a_result_is_found(checker: str, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text(WRONG, encoding="utf-8")
    result = check(checker, wrong, tmp_path)
    assert result.returncode == 1, result.stdout + result.stderr
    assert "int" in result.stdout
