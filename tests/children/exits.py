"""Programs whose native calls exit, or start other programs.

    exits.py contained KIND... | not_contained KIND | with_handlers LIBRARY | statuses
    exits.py denied LIBRARY | as_nobody

Every one prints what came of it and then ends with status 23, atexit handlers run.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import ctypes
import os
import sys
from typing import Any

import aionif
from tests.support import load_gallery

STATUS = 23
NOBODY = 65534


async def contained(*kinds: str) -> None:
    gallery = load_gallery()
    async with aionif.NifExecutor() as executor:
        for kind in kinds * 2:
            try:
                await executor.execute_nif(getattr(gallery, f"gallery_{kind}"))
            except aionif.NifExit as error:
                print(kind, error.status, flush=True)
        print("alive", await executor.execute_nif(gallery.gallery_add, 2, 3), flush=True)


async def not_contained(kind: str) -> None:
    gallery = load_gallery()
    print("calling", flush=True)
    await aionif.execute_nif(
        getattr(gallery, f"gallery_{kind}"), policy=aionif.NifPolicy(contain_exit=False)
    )


async def with_handlers(library: str) -> None:
    """Exits of many calls, several at once; handlers run once, when the process itself exits."""
    ctypes.CDLL(library).register_handlers()
    atexit.register(print, "python's handler", flush=True)
    gallery = load_gallery()
    async with aionif.NifExecutor(max_workers=4) as executor:

        async def leave(kind: str) -> None:
            with contextlib.suppress(aionif.NifExit):
                await executor.execute_nif(getattr(gallery, f"gallery_{kind}"))

        kinds = ("exit", "quick_exit", "underscore_exit")
        await asyncio.gather(*(leave(kind) for kind in kinds * 40))
    print("alive", flush=True)


async def statuses(python: str = sys.executable) -> None:
    """What calls that start programs return is what those programs ended with."""
    gallery = load_gallery()
    calls: list[tuple[Any, ...]] = [
        ("fork_child", 9),
        ("fork_child_exit", 9),
        ("spawn_true",),
        ("run_system", b"exit 7"),
        ("run_system", b"kill -9 $$"),
    ]
    if python:
        calls += [
            ("run_system", f"{python} -c 'import os; os._exit(8)'".encode()),
            ("run_system", f"{python} -c 'raise SystemExit(6)'".encode()),
        ]
    async with aionif.NifExecutor() as executor:
        for name, *arguments in calls:
            function = getattr(gallery, f"gallery_{name}")
            print(name, await executor.execute_nif(function, *arguments), flush=True)


async def denied(library: str) -> None:
    native = aionif.load(
        library, "int open_socket(void); int socket_in_child(void); int own_pid(void);"
    )
    policy = aionif.NifPolicy(deny_syscalls=("socket", "getppid"))
    async with aionif.NifExecutor(policy=policy) as executor:
        for _ in range(2):
            try:
                await executor.execute_nif(native.open_socket)
            except aionif.NifSyscallDenied as error:
                print(error.name, error.number, error.signal.name, flush=True)
        print("child", await executor.execute_nif(native.socket_in_child), flush=True)
        allowed = await executor.execute_nif(native.open_socket, policy=aionif.NifPolicy())
        print("allowed", allowed >= 0, flush=True)
        print("alive", await executor.execute_nif(native.own_pid) == os.getpid(), flush=True)


async def as_nobody() -> None:
    """Without privileges a filter takes no_new_privs, for the worker's thread alone."""
    await contained()  # loads what an interpreter in root's home would hide from others
    os.setgroups([])
    os.setgid(NOBODY)
    os.setuid(NOBODY)
    await contained("underscore_exit")
    await statuses(python="")
    with open("/proc/self/status") as status:  # noqa: PTH123, ASYNC230 - the main thread's
        print("".join(line for line in status if line.startswith("NoNewPrivs")), end="", flush=True)


SCENES = {
    scene.__name__: scene
    for scene in (contained, not_contained, with_handlers, statuses, denied, as_nobody)
}
scene, *rest = sys.argv[1:]
asyncio.run(SCENES[scene](*rest))
sys.exit(STATUS)
