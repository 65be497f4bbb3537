"""Programs that use aionif while other things go on in the process: scenes.py SCENE ARGUMENT..."""

from __future__ import annotations

import asyncio
import ctypes
import multiprocessing
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

import aionif
from tests.support import load_gallery, wait_until

libc = aionif.load(None, "int usleep(unsigned);")


async def crash_and_survive() -> None:
    """Make an executor, crash in it twice, and print what came of it."""
    gallery = load_gallery()
    async with aionif.NifExecutor() as executor:
        for _ in range(2):
            try:
                await executor.execute_nif(gallery.gallery_segv_write)
            except aionif.NifSignal as error:
                print("recovered", error.signal.name, flush=True)
        print("alive", await executor.execute_nif(gallery.gallery_add, 2, 3), flush=True)


# ---- faults that are not the call's ----


async def thread_of_the_call() -> None:
    gallery = load_gallery()
    print("crashing", flush=True)
    await aionif.execute_nif(gallery.gallery_crash_in_thread)


async def signalled_from_inside(library: str, tier: str) -> None:
    """Another thread of the process sends SIGSEGV to the one that runs a call."""
    native = aionif.load(library, "void endless(int *begun);")
    begun = native.ffi.new("int *")

    def shoot() -> None:
        wait_until(lambda: bool(begun[0]))
        threads = Path("/proc/self/task").iterdir()
        workers = [int(t.name) for t in threads if (t / "comm").read_text() == "aionif\n"]
        [victim] = workers if tier == "thread" else [os.getpid()]
        print("crashing", flush=True)
        ctypes.CDLL(None).tgkill(os.getpid(), victim, signal.SIGSEGV)

    threading.Thread(target=shoot, daemon=True).start()
    if tier == "inline":
        aionif.call_nif(native.endless, begun)
    await aionif.execute_nif(native.endless, begun)


async def signalled_from_outside() -> None:
    gallery = load_gallery()
    print("crashing", flush=True)  # the test sends the signal now
    await aionif.execute_nif(gallery.gallery_spin)


async def callback(library: str, tier: str, when: str) -> None:
    """A crash in, or after, a Python function that the call calls back."""
    native = aionif.load(library, "void call_back(void (*function)(void), int crash_after);")
    during = when == "during"

    def function() -> None:
        print("called back", flush=True)
        if during:
            ctypes.string_at(0)

    pointer = native.ffi.callback("void(void)", function)
    try:
        if tier == "inline":
            aionif.call_nif(native.call_back, pointer, not during)
        else:
            await aionif.execute_nif(native.call_back, pointer, not during)
    except aionif.NifSignal as error:
        print("recovered", error.signal.name, flush=True)


async def thread_state(library: str, function: str) -> None:
    """A call changes its thread's signal mask or alternate stack, then crashes: twice."""
    native = aionif.load(library, f"void {function}(void); int blocked(void);")
    gallery = load_gallery()
    async with aionif.NifExecutor(max_workers=1) as executor:
        before = await executor.execute_nif(native.blocked)
        print("crashing", flush=True)
        for _ in range(2):
            try:
                await executor.execute_nif(getattr(native, function))
            except aionif.NifSignal as error:
                print("recovered", error.signal.name, flush=True)
        after = await executor.execute_nif(native.blocked)
        print("alive", await executor.execute_nif(gallery.gallery_add, 2, 3), flush=True)
        print("mask", "restored" if after == before else (before, after), flush=True)


# ---- forks ----


def in_child(work: Any) -> None:
    """Fork; the child does `work`, and the parent prints how it ended."""
    sys.stdout.flush()
    child = os.fork()
    if child == 0:
        work()
        os._exit(99)  # `work` was to end the process
    _, status = os.waitpid(child, 0)
    print("child", os.waitstatus_to_exitcode(status), flush=True)


def recover_and_exit() -> None:
    asyncio.run(crash_and_survive())
    os._exit(0)


async def fork_and_recover() -> None:
    async with aionif.NifExecutor() as executor:
        call = asyncio.ensure_future(executor.execute_nif(libc.usleep, 300_000))
        await asyncio.sleep(0.05)
        in_child(recover_and_exit)
        print("call", await call)
    await crash_and_survive()


async def fork_and_exit() -> None:
    """The child leaves through the executor that it has inherited."""
    async with aionif.NifExecutor() as executor:
        call = asyncio.ensure_future(executor.execute_nif(libc.usleep, 300_000))
        await asyncio.sleep(0.05)
        in_child(lambda: sys.exit(5))
        print("call", await call)
    await crash_and_survive()


async def fork_and_crash() -> None:
    async with aionif.NifExecutor() as executor:
        await executor.execute_nif(libc.usleep, 1)
        in_child(lambda: ctypes.string_at(0))
    await crash_and_survive()


async def multiprocessing_fork() -> None:
    async with aionif.NifExecutor() as executor:
        await executor.execute_nif(libc.usleep, 1)
        process = multiprocessing.get_context("fork").Process(
            target=lambda: asyncio.run(crash_and_survive())
        )
        process.start()
        process.join(30)
        print("child", process.exitcode, flush=True)
    await crash_and_survive()


async def fork_inside() -> None:
    gallery = load_gallery()
    async with aionif.NifExecutor() as executor:
        print("child", await executor.execute_nif(gallery.gallery_fork_child_crash), flush=True)
    print("child", aionif.call_nif(gallery.gallery_fork_child_crash), flush=True)
    await crash_and_survive()


SCENES = {
    function.__name__: function
    for function in (
        thread_of_the_call,
        signalled_from_inside,
        signalled_from_outside,
        callback,
        thread_state,
        fork_and_recover,
        fork_and_exit,
        fork_and_crash,
        multiprocessing_fork,
        fork_inside,
    )
}

scene, *arguments = sys.argv[1:]
asyncio.run(SCENES[scene](*arguments))
