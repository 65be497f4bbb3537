"""A control group that the kernel kills as a whole: found, said, and logged once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from aionif.calls import pools
from aionif.system.cgroup import killed_together
from aionif.telemetry import attach, detach
from tests.support.workers import with_executor

if TYPE_CHECKING:
    from pathlib import Path

    from aionif import NifExecutor, NifLibrary


@pytest.fixture
def system(tmp_path: Path) -> Path:
    """A process in the group /a/b of cgroups that are mounted in a container, from /a on."""
    top = tmp_path / "fs" / "cgroup"
    (top / "b").mkdir(parents=True)
    (tmp_path / "cgroup").write_text("4:memory:/elsewhere\n0::/a/b\n")
    (tmp_path / "mountinfo").write_text(
        "21 1 0:20 / /proc rw - proc proc rw\n"
        f"30 1 0:26 /a {top} ro,nosuid shared:4 - cgroup2 cgroup rw\n"
    )
    return tmp_path


@pytest.mark.parametrize("name", ["b", "."])
def test_its_group_or_one_above(system: Path, name: str) -> None:
    assert killed_together(system) is None
    for value, found in (("0\n", None), ("1\n", system / "fs" / "cgroup" / name)):
        (system / "fs" / "cgroup" / name / "memory.oom.group").write_text(value)
        assert killed_together(system) == found


def test_what_is_above_the_mount_is_not_looked_at(system: Path) -> None:
    (system / "fs" / "memory.oom.group").write_text("1")
    assert killed_together(system) is None


def test_where_it_can_not_be_told(system: Path) -> None:
    (system / "cgroup").write_text("4:memory:/elsewhere\n")
    assert killed_together(system) is None
    assert killed_together(system / "nowhere") is None


def test_it_is_said_and_logged_once(
    probe: NifLibrary, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pools, "killed_together", lambda: tmp_path)
    events: list[str] = []

    def handler(event: str, fields: dict[str, Any]) -> None:
        if event == "process_exposed":
            events.append(fields["reason"])

    async def main(executor: NifExecutor) -> tuple[str, ...]:
        await executor.execute_nif(probe.nothing)
        return executor.statistics().exposed

    attach(handler)
    try:
        found = [with_executor(main, max_workers=1) for _ in range(2)]
    finally:
        detach(handler)
    words = f"where memory runs out this process is killed with its workers ({tmp_path})"
    assert found == [(words,)] * 2
    assert events == [words]
