"""pytest-xdist: a user's tests crash in its processes, and each process goes on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests import support
from tests.hosts.serving import APPS, end, family, living, start

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

PYTEST = ("-m", "pytest", "-n", "2", "--dist", "load", "-p", "no:cacheprovider", "-W", "error")


def test_tests_crash_and_no_process_of_theirs_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, output = tmp_path / "seen", tmp_path / "output"
    seen.mkdir()
    monkeypatch.setenv("SEEN", str(seen))
    with output.open("wb") as file:
        program = start(*PYTEST, APPS / "users_tests.py", output=file, cwd=tmp_path)
    members: set[tuple[int, int]] = set()

    def is_over() -> bool:
        members.update(family(program.pid))
        return program.poll() is not None

    try:
        support.wait_until(is_over, 2 * support.DEADLINE)
    finally:
        end(program)
    assert program.returncode == 0, output.read_text()
    support.wait_until(lambda: not living(members), support.SETTLING)
    assert "24 passed" in output.read_text()
    passed = [path.name.split() for path in seen.iterdir()]
    assert len(passed) == 24
    assert len({process for process, *_ in passed}) == 2
