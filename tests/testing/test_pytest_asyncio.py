"""The fixtures of aionif.testing, and aionif itself, in tests that pytest-asyncio runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support import DEADLINE

SERVICE = Path(__file__).parent / "service"
PLUGINS = ("-p", "pytest_asyncio", "-p", "aionif.testing", "-p", "no:cacheprovider")
SCOPE = "asyncio_default_fixture_loop_scope=function"


def run_under(mode: str, file: str, directory: Path) -> tuple[int, str]:
    """Run one file of tests as a user would who has no other settings."""
    copy = directory / f"test_{file}.py"
    copy.write_text((SERVICE / f"{file}.py").read_text(encoding="utf-8"), encoding="utf-8")
    command = [sys.executable, "-P", "-m", "pytest", "-q", *PLUGINS, "-W", "error"]
    result = subprocess.run(
        [*command, "-o", SCOPE, f"--asyncio-mode={mode}", copy.name],
        cwd=directory,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )
    return result.returncode, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("mode", "file"), [("strict", "strict"), ("auto", "strict"), ("auto", "auto")]
)
def test_a_users_tests_pass(mode: str, file: str, tmp_path: Path) -> None:
    status, output = run_under(mode, file, tmp_path)
    assert status == 0, output
    assert "skipped" not in output, output


def test_an_executor_that_a_test_left_open_fails_it(tmp_path: Path) -> None:
    status, output = run_under("auto", "forgetful", tmp_path)
    assert status == 1, output
    assert "an executor was left open" in output
