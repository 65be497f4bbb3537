"""Sealed processes: everything forbidden is denied, what is allowed works, limits hold."""

from __future__ import annotations

import hashlib
import os
import shutil
from pathlib import Path
from signal import Signals
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import pytest

from aionif import NifArgumentError, NifLimits, seal_process
from aionif.sandbox import Sandbox
from aionif.sealing.seal import compile_seal
from tests import children
from tests.children import forbidden
from tests.support.sealing import AS_ROOT, MIB, USERS, landlocked

if TYPE_CHECKING:
    from collections.abc import Iterator


def run(scene: str, *arguments: object) -> children.Ending:
    return children.run("sealed.py", scene, *arguments)


# ---- what is forbidden ----


@landlocked
@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("profile", ["compute", "python"])
def test_what_is_forbidden_is_denied_and_the_process_goes_on(profile: str, user: str) -> None:
    ending = run("attempts", profile, user)
    tried = [attempt for attempt in forbidden.attempts() if attempt.expected(profile)]
    assert len(tried) > 90
    results = dict(zip([attempt.title for attempt in tried], ending.lines, strict=False))
    assert results == {attempt.title: attempt.expected(profile) for attempt in tried}
    assert ending.lines[-1] == "alive 3", ending.errors
    assert ending.status == 0
    assert len([line for line in ending.lines if line.startswith("denied")]) > 60


@pytest.mark.parametrize("act", ["socket", "getpgid", "kill"])
def test_outside_a_native_call_a_denial_is_fatal(act: str) -> None:
    ending = run("outside", act)
    assert (ending.status, ending.lines) == (-Signals.SIGSYS, ["sealed"])


# ---- what is allowed ----


@landlocked
def test_what_is_open_may_be_looked_at_and_no_path() -> None:
    ending = run("looking")
    assert ending.lines == [
        "12345",
        "done",
        "done",
        "EFAULT",
        "EBADF",
        "EFAULT",
        "12345",
        "1",
        "refused",
    ]
    assert ending.status == 0


@pytest.fixture
def everyones() -> Iterator[Path]:
    """A directory that other users can read; pytest's own are closed to them."""
    with TemporaryDirectory() as name:
        place = Path(name)
        place.chmod(0o755)
        yield place


@pytest.mark.parametrize("user", USERS)
def test_computing_goes_on(user: str) -> None:
    ending = run("computing", user)
    assert ending.status == 0, ending.errors
    assert ending.lines == [
        "zlib 5",
        "sqlite 1000 499500",
        "malloc 64",
        "native malloc True",
        f"sha256 {hashlib.sha256(b'x' * MIB).hexdigest()[:8]}",
        "random 8 True",
        "helpers 32512 -1",
        'clock True {"pid": true}',
    ]


@pytest.mark.parametrize(
    ("policy", "printed"),
    [
        ("compute", "can't start new thread"),
        ("allowed", "in a thread"),
        ("python", "in a thread"),
    ],
)
def test_threads(policy: str, printed: str) -> None:
    assert run("threads", policy).lines == [printed]


@landlocked
@pytest.mark.parametrize("user", USERS)
def test_python_reads_and_imports_and_does_not_write(everyones: Path, user: str) -> None:
    (everyones / "readable").write_text("some text")
    ending = run("python", everyones, user)
    assert ending.status == 0, ending.errors
    assert ending.lines[:4] == ["some text", "EACCES w", "EACCES r", "asyncio"]
    assert ending.lines[4:] in ([], ["imported (0.0, 0.0, 0.0) _lsprof"])
    assert (everyones / "readable").read_text() == "some text"


@landlocked
def test_writing_stays_where_it_is_allowed(tmp_path: Path) -> None:
    inside = tmp_path / "inside"
    inside.mkdir()
    for file in (inside / "kept", tmp_path / "untouched"):
        file.write_text("text")
    ending = run("writing", inside)
    assert ending.status == 0, ending.errors
    assert ending.lines == [
        "write done",
        "rename done",
        "truncate done",
        "remove done",
        "write elsewhere EACCES",
        "rename out EACCES",
        "truncate elsewhere EACCES",
        "read elsewhere EACCES",
    ]
    assert (tmp_path / "untouched").read_text() == "text"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["inside", "untouched"]


@landlocked
@pytest.mark.skipif(shutil.which("sh") is None, reason="there is no shell")
def test_programs_run_and_are_confined() -> None:
    ending = run("programs")
    assert ending.status == 0, ending.errors
    assert ending.lines == ["7", "1", "126"]
    assert "cat: /etc/passwd: Permission denied" in ending.errors
    assert "ls: Permission denied" in ending.errors


def test_a_network_that_is_allowed() -> None:
    assert run("network").lines == ["hello", "EAFNOSUPPORT"]


def test_system_calls_and_memory_that_are_allowed() -> None:
    assert run("executable").lines == ["done", "done"]


def test_what_is_denied_on_top_of_a_profile() -> None:
    assert run("denying").lines == ["denied uname", "denied getdents64"]


# ---- limits ----


@pytest.mark.parametrize(
    ("name", "value", "act", "status", "lines"),
    [
        ("address_space", 400 * MIB, "memory", 0, ["sealed", "MemoryError"]),
        ("open_files", 20, "descriptors", 0, ["sealed", "EMFILE"]),
        ("file_size", 4096, "file", -Signals.SIGXFSZ, ["sealed", "4096"]),
    ],
)
def test_limits(name: str, value: int, act: str, status: int, lines: list[str]) -> None:
    for user in USERS[-1:]:
        ending = run("limit", name, value, act, user)
        assert (ending.status, ending.lines) == (status, lines), ending.errors


# ---- what is missing ----

LANDLOCK = "landlock_create_ruleset,landlock_add_rule,landlock_restrict_self"


@pytest.mark.parametrize("user", USERS)
def test_without_landlock_computing_is_sealed_and_files_are_refused(user: str) -> None:
    ending = run("lacking", LANDLOCK, "ENOSYS", "Sandbox.compute()", user)
    assert ending.lines == [
        "applied privileges, secrecy, filter",
        "missing files, tcp, scope",
        "note files, tcp, scope: this kernel has no Landlock for us (ENOSYS)",
    ]
    assert ending.errors.count("nif_sandbox_incomplete") == 1
    ending = run("lacking", LANDLOCK, "EPERM", "Sandbox.python()", user)
    [line] = ending.lines
    assert line.startswith("refused its sandbox can't be enforced here: files")
    assert line.endswith("no Landlock for us (EPERM)")
    ending = run("lacking", LANDLOCK, "EPERM", "Sandbox.python(mode='best_effort')", user)
    assert ending.lines[1] == "missing files, tcp, scope"


@pytest.mark.parametrize("user", USERS)
def test_without_namespaces(user: str) -> None:
    wish = "Sandbox.compute().with_namespaces('user', 'net')"
    ending = run("lacking", "unshare", "EPERM", wish, user)
    assert ending.lines[1:] == [
        "missing user namespace, network namespace",
        "note user namespace: no user namespace could be entered (EPERM)",
        "note network namespace: no network namespace could be entered (EPERM)",
    ]
    demand = "Sandbox.compute().with_namespaces('net', required=True)"
    [line] = run("lacking", "unshare", "ENOSYS", demand, user).lines
    assert line == (
        "refused its sandbox can't be enforced here: network namespace: "
        "no network namespace could be entered (ENOSYS)"
    )


@pytest.mark.parametrize("policy", ["compute(mode='best_effort')", "compute()"])
def test_without_filters(policy: str) -> None:
    ending = run("lacking", "seccomp", "EINVAL", f"Sandbox.{policy}", USERS[0])
    if "best_effort" in policy:
        assert "missing filter" in ending.lines
    else:
        assert ending.lines == [
            "refused its sandbox can't be enforced here: filter: the filter was refused (EINVAL)"
        ]


@pytest.mark.skipif(not AS_ROOT, reason="it is root that is not bound")
def test_a_limit_that_does_not_bind_root() -> None:
    policy = "Sandbox.compute(limits=NifLimits(processes=3)).allow_fork()"
    [line] = run("lacking", "", "", policy, "root").lines
    assert line.endswith("limits: processes does not bind root")
    assert run("lacking", "", "", policy, "nobody").lines[0].startswith("applied")
    nothing_starts = "Sandbox.compute(limits=NifLimits(processes=3))"
    assert run("lacking", "", "", nothing_starts, "root").lines[0].startswith("applied")


@pytest.mark.parametrize("name", ["resident_memory", "cpu_time", "result_size"])
def test_a_limit_that_a_parent_keeps(name: str) -> None:
    with pytest.raises(NifArgumentError, match="parent of a worker"):
        seal_process(Sandbox.compute(limits=NifLimits(**{name: 10 * MIB})))


@landlocked
def test_a_path_that_does_not_exist_is_said_and_does_no_harm() -> None:
    ending = run("lacking", "", "", "Sandbox.compute().allow_read('/no/such')", USERS[0])
    assert ending.lines[1:] == ["missing ", "note files: /no/such is not allowed (ENOENT)"]


@landlocked
def test_a_process_with_threads_is_sealed_by_half() -> None:
    ending = run("with_threads")
    assert ending.lines == [
        "True True True",
        "privileges, files, tcp, scope: of 2 threads only the one that seals can be confined",
        "denied getpgid",
    ]


@landlocked
@pytest.mark.parametrize("user", USERS)
def test_what_the_kernel_says_of_a_sealed_process(user: str) -> None:
    ending = run("privileges", "Sandbox.compute()", user)
    assert ending.status == 0, ending.errors
    assert ending.lines[:4] == [
        f"CapPrm: {0:016x}",
        f"CapEff: {0:016x}",
        "NoNewPrivs: 1",
        "Seccomp: 2",
    ]
    uid = {"root": 0, "nobody": 65534}.get(user, os.getuid())
    assert ending.lines[4:] == [f"core 0 True uid {uid}", "missing"]


@landlocked
@pytest.mark.parametrize("user", USERS)
def test_namespaces_where_there_are_any(user: str) -> None:
    policy = "Sandbox.compute().with_namespaces('user','net','ipc').allow_read('/proc')"
    ending = run("privileges", policy, user)
    uid = {"root": 0, "nobody": 65534}.get(user, os.getuid())
    assert f"core 0 True uid {uid}" in ending.lines, "ids are mapped to themselves"
    *_, changed, missing = ending.lines
    if missing == "missing":
        assert changed == "changed True True True"
    else:  # a container without user namespaces
        assert missing == "missing user namespace network namespace ipc namespace"


# ---- seals as data ----


def test_a_seal_that_is_not_sound_is_refused() -> None:
    ending = run("unsound")
    assert ending.lines == ["False 0 the seal was made by another version of aionif (EINVAL)"] * 5
    assert ending.status == 0


def test_a_seal_is_the_same_in_every_process() -> None:
    assert compile_seal(Sandbox.python()) == compile_seal(Sandbox.python())
