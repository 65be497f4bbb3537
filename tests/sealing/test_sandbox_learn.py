"""Learn mode: what a workload does becomes the policy that lets it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from aionif import NifArgumentError, NifLimits, NifRejected, NifTimeout, Sandbox, learn_sandbox
from tests import children
from tests.children import workloads
from tests.support import DEADLINE

if TYPE_CHECKING:
    from collections.abc import Callable

    from aionif import Lesson


def learn(function: Callable[..., object], *arguments: object, **options: Sandbox) -> Lesson:
    return learn_sandbox(function, *arguments, timeout=DEADLINE, **options)


def test_what_computes_needs_nothing() -> None:
    lesson = learn(workloads.compute)
    assert lesson.sandbox == Sandbox.compute()
    assert (lesson.denied, lesson.error) == ({}, None)


def test_what_a_workload_did_becomes_a_policy(tmp_path: Path) -> None:
    source, target = tmp_path / "in" / "file", tmp_path / "out"
    source.parent.mkdir()
    target.mkdir()
    source.write_text("text")
    lesson = learn(workloads.everything, str(source), str(target))
    assert lesson.error is None
    assert lesson.sandbox == (
        Sandbox.compute()
        .allow_read(source)
        .allow_write(target)
        .allow_syscalls("getpgid")
        .allow_network()
        .allow_threads()
    )
    assert lesson.denied["socket"] == 1
    assert lesson.answered == {"ioctl ENOTTY": lesson.answered["ioctl ENOTTY"]}
    assert eval(str(lesson), {"Sandbox": Sandbox, "NifLimits": NifLimits}) == lesson.sandbox


@pytest.mark.parametrize("name", ["everything", "program"])
def test_a_policy_that_was_learnt_is_enough(name: str, tmp_path: Path) -> None:
    source, target = tmp_path / "file", tmp_path / "out"
    target.mkdir()
    source.write_text("text")
    arguments = [str(source), str(target)]
    lesson = learn(getattr(workloads, name), *arguments)
    ending = children.run("sealed.py", "workload", lesson.sandbox, name, *arguments)
    assert (ending.status, ending.lines) == (0, ["worked"]), ending.errors
    assert lesson.denied, "it would not have worked without"


def test_many_files_of_a_directory_become_the_directory(tmp_path: Path) -> None:
    for index in range(5):
        (tmp_path / str(index)).write_text("")
    assert learn(workloads.read_all, str(tmp_path)).sandbox.read == (str(tmp_path),)


def test_what_a_profile_allows_is_not_repeated() -> None:
    lesson = learn(workloads.python, sandbox=Sandbox.python())
    assert lesson.sandbox == Sandbox.python()


@pytest.mark.parametrize(
    ("name", "error"),
    [
        ("fail", "KeyError: 3"),
        ("leave", "SystemExit: 3"),
        ("abort", "its process ended"),
    ],
)
def test_a_workload_that_does_not_return_teaches_all_the_same(name: str, error: str) -> None:
    lesson = learn(getattr(workloads, name))
    assert lesson.error == error
    assert lesson.sandbox == Sandbox.compute().allow_syscalls("getpgid")
    assert f"# the workload did not return: {error}" in str(lesson)


def test_a_workload_that_hangs_is_killed() -> None:
    with pytest.raises(NifTimeout):
        learn_sandbox(workloads.hang, timeout=2)


def test_what_cannot_be_sent() -> None:
    with pytest.raises(NifArgumentError, match="can't be sent"):
        learn(lambda: None)


def test_a_module_that_cannot_be_imported_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIONIF_TEST_NO_WORKLOADS", "1")
    lesson = learn(workloads.compute)
    assert lesson.error == "ImportError: not in this child"


def test_where_watching_is_refused() -> None:
    ending = children.run("sealed.py", "learn_twice")
    assert ending.lines == ["refused NifRejected True"], ending.errors
    assert issubclass(NifRejected, Exception)


def own_children() -> set[str]:
    """Return the ids of child processes: earlier tests may have left the zygote."""
    tasks = Path("/proc/self/task").iterdir()
    return {child for task in tasks for child in (task / "children").read_text().split()}


def test_no_child_is_left() -> None:
    before = own_children()
    learn(workloads.compute)
    assert own_children() <= before


# ---- the command ----


def command(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from aionif.cli import main; raise SystemExit(main())", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=cwd,
        timeout=DEADLINE,
    )


WORKLOAD = """
import os
def reads(path): open(path).close()
def fails(): raise KeyError(3)
"""


def test_the_command(tmp_path: Path) -> None:
    (tmp_path / "workload.py").write_text(WORKLOAD)
    done = command("sandbox", "learn", "workload:reads", "/etc/passwd", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "Sandbox.compute().allow_read('/etc/passwd')"
    done = command("sandbox", "learn", "--profile", "python", "workload:fails", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout.splitlines() == [
        "Sandbox.python()",
        "# the workload did not return: KeyError: 3",
    ]


@pytest.mark.parametrize(
    ("function", "text"),
    [
        ("workload:nothing", "no attribute 'nothing'"),
        ("no_such_module:f", "No module named"),
        ("workload", "no attribute ''"),
    ],
)
def test_a_command_that_names_nothing(tmp_path: Path, function: str, text: str) -> None:
    (tmp_path / "workload.py").write_text(WORKLOAD)
    done = command("sandbox", "learn", function, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert text in done.stderr
