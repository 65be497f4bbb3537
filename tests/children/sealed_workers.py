"""Programs whose worker processes are sealed, by users of all kinds and where something is missing.

    sealed_workers.py USER SCENE [ARGUMENT...]

What a scene prints is what came of it.
"""

from __future__ import annotations

import asyncio
import ctypes
import errno
import sys
from typing import Any

import aionif
from aionif import NifError, NifExecutor, NifPolicy, NifSyscallDenied, Sandbox
from aionif.filters.syscalls import number_of
from tests import remote
from tests.children import forbidden
from tests.children.sealed import as_word, become, refuse, show

LANDLOCK = "landlock_create_ruleset,landlock_add_rule,landlock_restrict_self"
POLICIES = {
    "compute": Sandbox.compute(),
    "python": Sandbox.python(),
    "best_effort": Sandbox.python(mode="best_effort"),
}

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


def become_reader(user: str) -> None:
    """Become `user`, who can start the interpreter wherever it lies: in root's home, say.

    It keeps one capability, to read, also in the programs that it starts. A seal drops it.
    """
    keep_capabilities, ambient, add, read_search, version_3 = 8, 47, 2, 2, 0x20080522
    libc.prctl(keep_capabilities, 1, 0, 0, 0)
    become(user)
    if user == "nobody":
        header, sets = (ctypes.c_uint32 * 2)(version_3, 0), (ctypes.c_uint32 * 6)()
        sets[0] = sets[1] = sets[2] = 1 << read_search
        assert libc.capset(header, sets) == 0
        assert libc.prctl(ambient, add, read_search, 0, 0) == 0


def executor_of(profile: str) -> NifExecutor:
    policy = NifPolicy(sandbox=POLICIES[profile])
    preload = ("tests.remote",)  # sealed, a worker may lack the right to read it
    return NifExecutor(isolation="process", max_workers=1, policy=policy, preload=preload)


async def attempts(profile: str) -> None:
    """Everything forbidden, each in a worker that stands ready."""
    async with executor_of(profile) as executor:
        for attempt in forbidden.attempts():
            if attempt.expected(profile):
                show(await outcome(executor, attempt.call, *map(as_word, attempt.arguments)))
        show("alive", await executor.execute_nif(libc.abs, -3))


async def outcome(executor: NifExecutor, name: str, *arguments: Any) -> str:
    ctypes.set_errno(0)
    number = ctypes.c_long(number_of(name))
    try:
        result = await executor.execute_nif(libc.syscall, number, *arguments)
    except NifSyscallDenied as error:
        return f"denied {error.name}"
    return "done" if result != -1 else errno.errorcode[ctypes.get_errno()]


async def working(profile: str) -> None:
    async with executor_of(profile) as executor:
        show(await executor.execute_nif(remote.compress, 1 << 20))
        show(await executor.execute_nif(remote.use_sqlite, 1000))
        show(len(await executor.execute_nif(remote.repeat, b"x", 1 << 20)))
        await executor.execute_nif(remote.say, "this is not for stdout")
        show("unsealed", *unsealed(executor))


async def lacking(profile: str) -> None:
    """Several calls at once, where the kernel has no Landlock for us."""
    async with executor_of(profile) as executor:
        calls = (executor.execute_nif(pow, 2, i) for i in range(5))
        for result in await asyncio.gather(*calls, return_exceptions=True):
            if isinstance(result, NifError):
                show(type(result).__name__, result.tier, str(result).replace("\n", " | "))
            else:
                show(result)
        show("unsealed", *unsealed(executor))


def unsealed(executor: NifExecutor) -> list[str]:
    """Return what is missing but namespaces, which not every user can have."""
    parts = executor.statistics().unsealed
    return [part for part in parts if not part.endswith("namespace")]


if __name__ == "__main__":
    user, scene, *rest = sys.argv[1:]
    become_reader(user)
    if scene == "lacking":
        refuse(LANDLOCK, errno.ENOSYS)
    aionif.call_nif(libc.abs, -1)
    asyncio.run(globals()[scene](*rest))
