"""What the zygote of a sandbox makes ready for all of its workers, and what they do not share."""

from __future__ import annotations

import ctypes
import errno
import os
import random
import re
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from aionif import NifExecutor, NifPolicy, NifRejected, NifSignal, Sandbox, load
from aionif.process import zygote
from aionif.sealing.template import template_of
from tests.process.test_worker_environment import look_through_memory, seen
from tests.support import build_library, run_child, run_on, until
from tests.support.scarce import refuse
from tests.support.sealing import AS_ROOT, COMPUTE, PYTHON, with_sealed
from tests.support.workers import is_alive, listener_of_zygote, with_executor, workers_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from aionif import NifLibrary

NAME = f"orphan-{os.getpid()}"  # of this process
FORKS = Sandbox.python().allow_fork()


def has_namespaces() -> bool:
    """Whether a program such as this one gets some here."""
    return not run_child(enter_namespaces).returncode


def enter_namespaces() -> None:
    flags = 0x2C020000 if os.geteuid() == 0 else 0x3C020000  # mount, ipc, pid; and user
    sys.exit(ctypes.CDLL(None).unshare(flags))


@pytest.fixture(scope="module", autouse=True)
def namespaces() -> None:
    if not has_namespaces():
        pytest.skip("this system has no namespaces for us")


# ---- what workers see ----


def what_is_seen(*paths: str) -> dict[str, bool]:
    return {path: os.path.lexists(path) for path in paths}


def test_a_worker_sees_no_path_that_it_may_not_read(tmp_path: Path) -> None:
    hidden, shown = tmp_path / "hidden", tmp_path / "shown"
    for directory in (hidden, shown):
        directory.mkdir()
        (directory / "file").write_text("text")
    tmp_path.chmod(0o755)
    link = tmp_path / "link"
    link.symlink_to("shown")
    home = str(Path.home())
    policy = NifPolicy(sandbox=Sandbox.python().allow_read(link))

    async def main(executor: NifExecutor) -> None:
        paths = [str(hidden), "/etc/passwd", "/proc", home, str(link / "file")]
        found = await executor.execute_nif(what_is_seen, *paths, __file__, os.__file__)
        assert [path for path, there in found.items() if there and path != home] == [
            str(link / "file"),
            os.__file__,
        ]
        assert await executor.execute_nif(Path.read_text, link / "file") == "text"
        assert "mount namespace" not in executor.statistics().unsealed

    with_sealed(main, policy=policy)


def status_of(pid: int) -> str:
    return Path(f"/proc/{pid}/status").read_text(encoding="ascii")


@pytest.mark.skipif(not AS_ROOT, reason="only root can become somebody else")
def test_workers_of_root_are_nobody(probe: NifLibrary) -> None:
    async def main(executor: NifExecutor) -> None:
        await executor.execute_nif(probe.nothing)
        [worker] = workers_of(executor)
        status = status_of(worker)
        assert re.search(r"Uid:(\s65534){4}\nGid:(\s65534){4}\n", status)
        assert re.search(r"Groups:\s*\n", status)
        assert "identity" not in executor.statistics().unsealed

    for policy in (COMPUTE, PYTHON):
        with_sealed(main, policy=policy)


@pytest.mark.skipif(not AS_ROOT, reason="only root can become somebody else")
def test_workers_of_root_stay_root_where_nobody_could_do_what_is_allowed(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    policy = NifPolicy(sandbox=Sandbox.python().allow_write(tmp_path))

    async def main(executor: NifExecutor) -> None:
        await executor.execute_nif(Path.write_text, tmp_path / "file", "text")
        assert "identity" in executor.statistics().unsealed

    with_sealed(main, policy=policy)
    assert (tmp_path / "file").read_text() == "text"


# ---- what they do not share ----


def say_secret(text: str) -> None:
    os.write(2, text.encode() + b"\n")


def test_a_worker_finds_nothing_that_another_has_written() -> None:
    """Not in its memory, which it has from its zygote."""
    child = run_child(say_and_look)
    assert (child.returncode, child.stdout) == (0, "0\n" * 4), child.stderr


def say_and_look() -> None:
    secret = f"TOKEN-{random.randrange(10**24):024}"

    async def main() -> None:
        for policy in (NifPolicy(), PYTHON, COMPUTE, PYTHON):
            async with NifExecutor(
                isolation="process",
                policy=policy,
                max_workers=1,
                max_calls_per_worker=2,
                initializer=look_through_memory,
                preload=(__name__,),
            ) as executor:
                for _ in range(4):
                    await executor.execute_nif(say_secret, secret)
                print((await executor.execute_nif(seen))[-1], flush=True)

    run_on("asyncio", main)


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_each_kind_of_sandbox_has_a_zygote_of_its_own(probe: NifLibrary) -> None:
    async def main(executor: NifExecutor) -> None:
        await executor.execute_nif(probe.nothing)
        found.extend(map(parent_of, workers_of(executor)))

    found: list[int] = []
    for policy in (NifPolicy(), COMPUTE, PYTHON, COMPUTE):
        with_executor(main, max_workers=1, policy=policy)
    assert len(set(found[:3])) == 3
    assert found[1] == found[3]


LAYOUT = """
    #include <stdint.h>
    uint64_t canary(void) { uint64_t word; __asm__("mov %%fs:0x28, %0" : "=r"(word)); return word; }
    void crash(void) { *(volatile int *)16 = 1; }
"""


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> NifLibrary:
    path = build_library(tmp_path_factory.mktemp("layout"), LAYOUT, name="layout")
    return load(path, "unsigned long canary(void); void crash(void);")


def test_fresh_workers_have_a_canary_each(layout: NifLibrary) -> None:
    async def main(executor: NifExecutor) -> None:
        await executor.execute_nif(layout.canary)
        for _ in range(4):
            found.append(await executor.execute_nif(layout.canary))
            with pytest.raises(NifSignal):
                await executor.execute_nif(layout.crash)

    found: list[int] = []
    with_sealed(main, policy=NifPolicy(sandbox=Sandbox.compute(fresh=True)))
    assert len(set(found)) == 4


def test_after_some_crashes_all_workers_have_another_canary(layout: NifLibrary) -> None:
    async def main(executor: NifExecutor) -> None:
        await executor.execute_nif(layout.canary)
        for _ in range(40):
            found.append(await executor.execute_nif(layout.canary))
            with pytest.raises(NifSignal):
                await executor.execute_nif(layout.crash)
            await anyio.sleep(0.05)
        assert len(starter._spent) <= 2, "they end with their workers"

    found: list[int] = []
    sandbox = Sandbox.compute().allow_environment("NOT_THERE")
    starter = zygote.of(template_of(sandbox))
    with_sealed(main, policy=NifPolicy(sandbox=sandbox, breaker=False))
    assert 2 <= len(set(found)) <= 6
    assert max(map(found.count, found)) <= 20


def test_one_that_was_replaced_is_waited_for_once_it_has_ended(layout: NifLibrary) -> None:
    """And not only as the next one is started."""
    sandbox = Sandbox.compute().allow_environment("NOT_THERE_EITHER")
    starter = zygote.of(template_of(sandbox))

    async def main(executor: NifExecutor) -> None:
        await executor.execute_nif(layout.canary)
        first = starter.pid
        assert first is not None
        while starter.pid == first:
            with pytest.raises(NifSignal):
                await executor.execute_nif(layout.crash)
        await until(lambda: not Path(f"/proc/{first}").exists())
        assert not starter._spent
        await executor.execute_nif(layout.canary)

    with_sealed(main, policy=NifPolicy(sandbox=sandbox, breaker=False))


# ---- what ends with what ----


def leave_a_child(name: str) -> int:
    """Return once it is there."""
    ends = os.pipe()
    if os.fork() == 0:
        ctypes.CDLL(None).prctl(15, name.encode())
        os.write(ends[1], b"x")
        while True:
            time.sleep(60)
    return len(os.read(ends[0], 1))


def orphans() -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            if path.read_text().strip() == NAME:
                found.append(int(path.parent.name))
        except OSError:
            continue
    return [pid for pid in found if is_alive(pid)]


def test_children_of_a_call_die_with_it(run: Callable[..., None]) -> None:
    async def main() -> None:
        policy = NifPolicy(sandbox=FORKS)
        preload = (__name__,)
        async with NifExecutor(isolation="process", policy=policy, preload=preload) as executor:
            for _ in range(2):
                assert await executor.execute_nif(leave_a_child, NAME) == 1
                await until(lambda: not orphans())
            async with executor.session() as session:
                assert await session.execute_nif(leave_a_child, NAME) == 1
                assert await session.execute_nif(abs, -1) == 1
                assert len(orphans()) == 1, "it has ended before its session"
            await until(lambda: not orphans())

    run(main)


def test_without_namespaces_there_are_no_child_processes_and_the_rest_goes_on() -> None:
    child = run_child(without_namespaces)
    assert child.returncode == 0, child.stderr
    *_, refused, others = child.stdout.splitlines()
    assert "sandbox can't be enforced here" in refused
    assert "pid namespace" in refused
    assert "child processes: neither" in refused
    assert others == "1 ipc, mount, network, pid"


def without_namespaces() -> None:
    """And without a control group, which ends child processes as well."""
    refuse(errno.EPERM, "unshare")
    pytest.MonkeyPatch().setattr(zygote, "open_group", lambda: (None, "none is delegated"))

    async def main() -> None:
        async with NifExecutor(isolation="process", max_workers=1) as executor:
            try:
                await executor.execute_nif(abs, -1, policy=NifPolicy(sandbox=FORKS))
            except NifRejected as error:
                print(error.reason)
            result = await executor.execute_nif(abs, -1, policy=COMPUTE)
            missing = (part.partition(" ") for part in executor.statistics().unsealed)
            kinds = {kind for kind, _, what in missing if what == "namespace"}
            print(result, ", ".join(sorted(kinds - {"user"})))

    run_on("asyncio", main)


def test_what_is_ready_for_all_of_them_can_be_killed(probe: NifLibrary) -> None:
    """The first process of a namespace, with which all others end, and who hears them."""
    starter = zygote.of(template_of(COMPUTE.sandbox))
    pids: list[int | None] = []

    async def main(executor: NifExecutor) -> None:
        for _ in range(2):
            assert await executor.execute_nif(probe.add, 1, 2) == 3
            pids.append(starter.pid)
            os.kill(_first_process(starter), 9)
            await until(lambda: starter.pid != pids[-1])
            assert await executor.execute_nif(probe.add, 1, 2) == 3
            os.kill(listener_of_zygote(starter), 9)
            assert await executor.execute_nif(probe.add, 1, 2) == 3

    with_sealed(main, policy=COMPUTE)


def _first_process(starter: zygote.Zygote) -> int:
    children = Path(f"/proc/{starter.pid}/task/{starter.pid}/children").read_text().split()
    names = {int(child): Path(f"/proc/{child}/comm").read_text().strip() for child in children}
    return next(child for child, name in names.items() if name == "aionif-init")
