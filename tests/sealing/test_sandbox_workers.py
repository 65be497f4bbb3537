"""Sealed worker processes: what they must not do is denied and named, and the next one is ready."""

from __future__ import annotations

import ctypes
import importlib
import json
import logging
import os
import signal
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import aionif
from aionif import (
    NifArgumentError,
    NifClosed,
    NifExecutor,
    NifLimitExceeded,
    NifLimits,
    NifPanic,
    NifPolicy,
    NifSignal,
    NifStackOverflow,
    NifSyscallDenied,
    Sandbox,
)
from aionif.limits import SEALED_LIMITS
from tests import children, remote
from tests.children import forbidden
from tests.support import DEADLINE, assert_nothing_leaks, gather, load_gallery
from tests.support.sealing import COMPUTE, MIB, PYTHON, USERS, landlocked, with_sealed
from tests.support.workers import workers_of

if TYPE_CHECKING:
    from aionif import NifLibrary

POLICIES = pytest.mark.parametrize("policy", [COMPUTE, PYTHON], ids=["compute", "python"])

libc = ctypes.CDLL(None)


# ---- what is forbidden ----


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("profile", ["compute", "python"])
def test_what_is_forbidden_is_denied_in_workers(profile: str, user: str) -> None:
    ending = children.run(
        "sealed_workers.py", user, "attempts", profile, deadline=5 * DEADLINE
    )  # each attempt costs a worker
    tried = [attempt for attempt in forbidden.attempts() if attempt.expected(profile)]
    # Where it has a root directory of its own, what it may not read is not there.
    outcomes = [line.replace("ENOENT", "EACCES") for line in ending.lines]
    results = dict(zip([attempt.title for attempt in tried], outcomes, strict=False))
    assert results == {attempt.title: attempt.expected(profile) for attempt in tried}
    assert ending.lines[-1] == "alive 3", ending.errors
    assert ending.status == 0
    assert len([line for line in ending.lines if line.startswith("denied")]) > 60


@POLICIES
def test_a_denial_costs_one_call_and_the_next_worker_is_ready(policy: NifPolicy, run: Any) -> None:
    async def main() -> None:
        async with NifExecutor(isolation="process", max_workers=2, policy=policy) as executor:
            for _ in range(2):
                results = await gather(
                    lambda: executor.execute_nif(libc.socket, 2, 1, 0),
                    *[lambda: executor.execute_nif(libc.abs, -3)] * 20,
                )
                assert isinstance(results[0], NifSyscallDenied)
                assert (results[0].name, results[0].tier) == ("socket", "process")
                assert results[1:] == [3] * 20

    run(main)


@POLICIES
def test_python_callables_are_denied_by_name(policy: NifPolicy) -> None:
    async def main(executor: NifExecutor) -> None:
        for _ in range(2):
            with pytest.raises(NifSyscallDenied) as denied:
                await executor.execute_nif(os.getpgid, 0)
            assert denied.value.name == "getpgid"
            assert denied.value.report.frames
        with pytest.raises(PermissionError):
            await executor.execute_nif(os.listdir, "/etc")
        with pytest.raises(PermissionError):
            await executor.execute_nif(os.fork)

    with_sealed(main, policy=policy)


def test_a_denial_outside_of_the_call_is_named_too() -> None:
    """In a thread there is no call that it could end; the worker dies of it."""

    async def main(executor: NifExecutor) -> None:
        for _ in range(2):
            with pytest.raises(NifSyscallDenied) as denied:
                await executor.execute_nif(remote.ask_in_a_thread)
            assert (denied.value.name, denied.value.number) == ("getpgid", 121)
        assert await executor.execute_nif(pow, 2, 3) == 8

    with_sealed(main, policy=PYTHON)


def test_a_denial_with_its_signal_blocked_has_no_name() -> None:
    async def main(executor: NifExecutor) -> None:
        with pytest.raises(NifSyscallDenied) as denied:
            await executor.execute_nif(remote.ask_deafly)
        assert (denied.value.name, denied.value.number) == (None, None)
        assert "a system call is denied" in str(denied.value)

    with_sealed(main, policy=PYTHON)


def test_what_the_policy_denies_besides() -> None:
    policy = NifPolicy(sandbox=Sandbox.compute(), deny_syscalls=("uname",))
    assert policy.sandbox is not None
    assert policy.sandbox.denied == {"uname"}

    async def main(executor: NifExecutor) -> None:
        with pytest.raises(NifSyscallDenied, match="uname"):
            await executor.execute_nif(libc.uname, ctypes.create_string_buffer(4096))

    with_sealed(main, policy=policy)


@POLICIES
def test_crashes_in_sealed_workers_are_told_apart(policy: NifPolicy) -> None:
    gallery = load_gallery()
    cxx = load_gallery("cxx")
    crashes: dict[Any, type[Exception]] = {
        gallery.gallery_segv_read: NifSignal,
        gallery.gallery_abort: NifSignal,
        gallery.gallery_overflow_frame: NifStackOverflow,
        cxx.gallery_cxx_rethrow: NifPanic,
    }

    async def main(executor: NifExecutor) -> None:
        for function, error in crashes.items():
            for _ in range(2):
                with pytest.raises(error) as caught:
                    await executor.execute_nif(function)
                assert type(caught.value) is error
                assert "libaionif_gallery" in caught.value.report.render()  # type: ignore[attr-defined]

    with_sealed(main, policy=policy)


# ---- what is allowed ----


@pytest.mark.parametrize("user", USERS)
@pytest.mark.parametrize("profile", ["compute", "python"])
def test_work_goes_on_in_sealed_workers(profile: str, user: str) -> None:
    ending = children.run("sealed_workers.py", user, "working", profile)
    assert ending.status == 0, ending.errors
    assert ending.lines == [str(MIB), "499500", str(MIB), "unsealed"]
    assert "this is not for stdout" not in ending.errors, "it is for reports alone"


@POLICIES
def test_native_work_and_buffers(policy: NifPolicy, zlib: NifLibrary, run: Any) -> None:
    memory = aionif.load(None, "void *memset(void *, int, size_t);")

    async def main() -> None:
        async with NifExecutor(isolation="process", max_workers=1, policy=policy) as executor:
            assert await executor.execute_nif(zlib.crc32, 0, b"hello", 5) == 0x3610A686
            with aionif.Buffer(8 * MIB) as buffer:
                await executor.execute_nif(memory.memset, buffer, 7, buffer.size)
                assert set(bytes(buffer.view()[-9:])) == {7}

    run(main)


@landlocked
def test_the_python_profile_imports_under_the_seal(tmp_path: Path) -> None:
    async def main(executor: NifExecutor) -> None:
        names = ("colorsys", "wave", "_lsprof", "xml.dom.minidom", "decimal")
        assert await executor.execute_nif(remote.import_by_name, *names) == list(names)
        with pytest.raises(PermissionError):
            await executor.execute_nif(remote.write_to, str(tmp_path / "file"), 1)

    with_sealed(main, policy=PYTHON)


def test_what_compute_has_to_import_before() -> None:
    async def main(executor: NifExecutor) -> None:
        with pytest.raises(ImportError) as caught:
            await executor.execute_nif(remote.import_by_name, "wave")
        assert "preload" in caught.value.__notes__[0]
        assert await executor.execute_nif(json.dumps, [1]) == "[1]"

    with_sealed(main, policy=COMPUTE, preload=())


@pytest.mark.parametrize("policy", [COMPUTE, PYTHON])
def test_modules_of_callables_and_arguments_come_with_new_workers(
    policy: NifPolicy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are the program's own, whose directory sealed workers may not read."""
    (tmp_path / "ours_one.py").write_text("def one(x): return 1, type(x).__name__\n")
    (tmp_path / "ours_two.py").write_text("class Two: pass\ndef two(f, *rest): return f(*rest)\n")
    (tmp_path / ".env").write_text("SECRET=1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    one, two = map(importlib.import_module, ("ours_one", "ours_two"))

    async def main(executor: NifExecutor) -> None:
        assert await executor.execute_nif(abs, -1) == 1
        assert await executor.execute_nif(one.one, 1) == (1, "int")
        assert await executor.execute_nif(one.one, [{"a": two.Two()}]) == (1, "list")
        assert await executor.execute_nif(partial(one.one, two.Two())) == (1, "Two")
        before = workers_of(executor)
        assert await executor.execute_nif(two.two, one.one, 2) == (1, "int")
        assert workers_of(executor) == before, "all that it needs is there"
        with pytest.raises(OSError, match=r"\.env"):
            await executor.execute_nif(Path.read_text, tmp_path / ".env")

    with_sealed(main, policy=policy, preload=("pathlib",))


@POLICIES
def test_numeric_libraries_can_be_loaded_before_the_seal(policy: NifPolicy) -> None:
    """They start threads by themselves, where a process is to have one."""
    np = pytest.importorskip("numpy")

    async def main(executor: NifExecutor) -> None:
        assert await executor.execute_nif(np.dot, np.arange(3.0), np.arange(3.0)) == 5
        assert await executor.execute_nif(remote.process_id)

    with_sealed(main, policy=policy, preload=("tests.remote", "numpy"))


def test_a_library_that_is_loaded_later_comes_with_a_new_worker(zlib: NifLibrary) -> None:
    sqlite = aionif.load("libsqlite3.so.0", "int sqlite3_libversion_number(void);")

    async def main(executor: NifExecutor) -> None:
        await executor.execute_nif(os.getpid)
        before = workers_of(executor)
        assert await executor.execute_nif(sqlite.sqlite3_libversion_number) > 3_000_000
        async with executor.session() as session:
            assert await session.execute_nif(libc.abs, -1) == 1
            assert await session.execute_nif(sqlite.sqlite3_libversion_number) > 3_000_000
        assert await executor.execute_nif(zlib.crc32, 0, b"", 0) == 0
        await executor.execute_nif(os.getpid)
        assert workers_of(executor) != before

    with_sealed(main, policy=COMPUTE)


def test_a_session_can_load_nothing_more(tmp_path: Path, probe_path: Path) -> None:
    copy = tmp_path / "libcopy.so"
    copy.write_bytes(probe_path.read_bytes())
    late = aionif.load(copy, "long add(long, long);")

    async def main(executor: NifExecutor) -> None:
        async with executor.session() as session:
            assert await session.execute_nif(libc.abs, -1) == 1
            with pytest.raises(NifArgumentError, match="before its workers are sealed"):
                await session.execute_nif(late.add, 1, 2)
        assert await executor.execute_nif(late.add, 1, 2) == 3

    with_sealed(main, policy=COMPUTE)


# ---- limits ----

LIMITS: list[tuple[str, float, Any, tuple[Any, ...]]] = [
    ("address_space", 64 * MIB, remote.take_memory, (200 * MIB,)),
    ("resident_memory", 64 * MIB, remote.take_memory, (2000 * MIB,)),
    ("cpu_time", 0.1, remote.spin, ()),
    ("open_files", 64, remote.open_files, ()),
]


@pytest.mark.parametrize(("limit", "value", "function", "arguments"), LIMITS)
def test_limits_of_sealed_workers(
    limit: str, value: float, function: Any, arguments: tuple[Any, ...]
) -> None:
    limits: Any = {limit: value}
    sandbox = Sandbox.compute(limits=NifLimits(**limits)).allow_read("/dev/null")

    async def main(executor: NifExecutor) -> None:
        for _ in range(2):
            with pytest.raises(NifLimitExceeded) as error:
                await executor.execute_nif(function, *arguments)
            assert (error.value.limit, error.value.allowed) == (limit, value)
        assert await executor.execute_nif(pow, 2, 3) == 8

    with_sealed(main, policy=NifPolicy(sandbox=sandbox))


@landlocked
def test_a_limit_of_file_size_kills(tmp_path: Path) -> None:
    sandbox = Sandbox.compute().allow_write(tmp_path)
    policy = NifPolicy(sandbox=sandbox, limits=NifLimits(file_size=1000))

    async def main(executor: NifExecutor) -> None:
        path = str(tmp_path / "file")
        await executor.execute_nif(remote.write_to, path, 1000)
        with pytest.raises(NifLimitExceeded) as error:
            await executor.execute_nif(remote.write_to, path, 1001)
        assert (error.value.limit, error.value.allowed) == ("file_size", 1000)

    with_sealed(main, policy=policy)


def test_the_lower_limit_of_policy_and_sandbox_holds() -> None:
    sandbox = Sandbox.compute(limits=NifLimits(open_files=50, file_size=10))
    policy = NifPolicy(sandbox=sandbox, limits=NifLimits(open_files=60, cpu_time=1))
    assert policy.limits == replace(SEALED_LIMITS, open_files=50, file_size=10, cpu_time=1)
    assert policy.sandbox is not None
    assert policy.sandbox.limits == policy.limits


# ---- ends ----


def test_a_sealed_worker_is_killed_at_its_deadline_and_from_outside() -> None:
    async def main(executor: NifExecutor) -> None:
        with pytest.raises(aionif.NifTimeout):
            await executor.execute_nif(remote.spin, timeout=0.05)
        await executor.execute_nif(os.getpid)
        [pid] = workers_of(executor)
        async with anyio.create_task_group() as group:
            group.start_soon(_kill_soon, pid)
            with pytest.raises(aionif.NifWorkerLost) as lost:
                await executor.execute_nif(remote.spin)
        assert (lost.value.pid, lost.value.exit_code) == (pid, -signal.SIGKILL)

    with_sealed(main, policy=COMPUTE)


async def _kill_soon(pid: int) -> None:
    await anyio.sleep(0.05)
    os.kill(pid, signal.SIGKILL)


def test_sealed_workers_leave_nothing_behind(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.CRITICAL)

    async def main(executor: NifExecutor) -> None:
        with pytest.raises(NifSyscallDenied):
            await executor.execute_nif(libc.socket, 2, 1, 0)
        async with executor.session() as session:
            with pytest.raises(NifSyscallDenied):
                await session.execute_nif(os.getpgid, 0)
            with pytest.raises(NifClosed):
                await session.execute_nif(pow, 2, 3)

    assert_nothing_leaks(lambda: with_sealed(main, policy=PYTHON))
