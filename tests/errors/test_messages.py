"""Mistakes that people make, and what they are told: which argument, what it was, what to write."""

from __future__ import annotations

import asyncio
import functools
import subprocess
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any

import pytest

import aionif
from aionif import NifArgumentError, NifExecutor, NifLibrary, NifPolicy, Sandbox, load
from tests.support import DEADLINE, load_gallery, run_on

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    Mistake = Callable[[NifExecutor, NifExecutor, NifLibrary], Awaitable[Any]]


def plain(value: object) -> object:
    return value


async def coroutine_function(value: object) -> object:
    return value


async def in_loop(executor: Any, function: Any) -> Any:
    return await asyncio.get_running_loop().run_in_executor(executor, function, 1)


async def loading(*arguments: Any) -> Any:
    return load(*arguments)


async def setting(**settings: Any) -> Any:
    return NifExecutor(**settings)


async def awaited_session(executor: Any) -> Any:
    return await executor.session()


FOUND = f"function {__name__}."
MISTAKES: dict[str, tuple[Mistake, list[str]]] = {
    "a Python function on threads": (
        lambda t, _p, _lib: t.execute_nif(plain, 1),
        ["argument 'fn'", "Python callable", FOUND + "plain", 'isolation="process"'],
    ),
    "the same on the default executor": (
        lambda _t, _p, _lib: aionif.execute_nif(plain, 1),
        ["argument 'fn'", "Python callable", 'isolation="process"'],
    ),
    "a coroutine function on threads": (
        lambda t, _p, _lib: t.execute_nif(coroutine_function, 1),
        ["argument 'fn'", "coroutine function", "Await it here"],
    ),
    "a coroutine function in processes": (
        lambda _t, p, _lib: p.execute_nif(coroutine_function, 1),
        ["argument 'fn'", "coroutine function", "Await it here"],
    ),
    "part of a coroutine function": (
        lambda _t, p, _lib: p.execute_nif(functools.partial(coroutine_function, 1)),
        ["argument 'fn'", "coroutine function"],
    ),
    "a coroutine": (
        lambda _t, p, _lib: p.execute_nif(coroutine_function(1)),  # type: ignore[call-overload]
        ["argument 'fn'", "is a coroutine, not", "coroutine_function", "Pass the function"],
    ),
    "the name of a function": (
        lambda t, _p, _lib: t.execute_nif("abs", 1),  # type: ignore[call-overload]
        ["argument 'fn'", "not a native function", "'abs'", "aionif.load()"],
    ),
    "a lambda in processes": (
        lambda _t, p, _lib: p.execute_nif(lambda: 1),
        ["argument 'fn'", "<lambda>", "Define it with def at the top of a module"],
    ),
    "an argument that can't be copied": (
        lambda _t, p, _lib: p.execute_nif(plain, threading.Lock()),
        ["argument 'args'", "can't be pickled", "that pickle can copy"],
    ),
    "a class for an executor": (
        lambda _t, _p, lib: aionif.execute_nif(lib.abs, 1, executor=NifExecutor),  # type: ignore[call-overload]
        ["argument 'executor'", "class aionif.executor.NifExecutor", "async with NifExecutor"],
    ),
    "an executor of ours in run_in_executor": (
        lambda t, _p, lib: in_loop(t, lib.abs),
        ["argument 'executor'", "no futures", "aionif.futures"],
    ),
    "a session that is awaited": (
        lambda t, _p, _lib: awaited_session(t),
        ["argument 'session'", "async with executor.session()"],
    ),
    "a file that is no library": (
        lambda _t, _p, _lib: loading("/etc/passwd", "int f(void);"),
        ["argument 'path'", "not a shared library", "/etc/passwd"],
    ),
    "a library that is not there": (
        lambda _t, _p, _lib: loading("libnope.so", "int f(void);"),
        ["argument 'path'", "libnope.so", "install the library"],
    ),
    "a struct that a compiler is to complete": (
        lambda _t, _p, _lib: loading(None, "struct s {\n    int a;\n    ...;\n};"),
        ["argument 'cdef'", "'...'", "Write out"],
    ),
    "a number that a compiler is to find": (
        lambda _t, _p, _lib: loading(None, "#define SIZE ...\nint abs(int);"),
        ["argument 'cdef'", "#define SIZE ..."],
    ),
    "a length that a compiler is to find": (
        lambda _t, _p, _lib: loading(None, "extern int numbers[...];"),
        ["argument 'cdef'", "numbers[...]"],
    ),
    "a path for declarations": (
        lambda _t, _p, _lib: loading("int abs(int);", None),
        ["argument 'cdef'", "load(path, "],
    ),
    "text for a tuple of names": (
        lambda _t, _p, _lib: setting(isolation="process", preload="json"),
        ["argument 'preload'", "'json'", "('json',)"],
    ),
    "a class for a policy": (
        lambda _t, _p, _lib: setting(policy=NifPolicy),
        ["argument 'policy'", "class aionif.policy.NifPolicy", "NifPolicy(...)"],
    ),
    "a limit of processes on threads": (
        lambda _t, _p, _lib: setting(policy=NifPolicy(limits=aionif.NifLimits(cpu_time=1.0))),
        ["argument 'limits'", 'isolation="process"'],
    ),
    "a sandbox on threads": (
        lambda _t, _p, _lib: setting(policy=NifPolicy(sandbox=Sandbox.compute())),
        ["argument 'sandbox'", 'isolation="process"'],
    ),
    "text for seconds": (
        lambda t, _p, lib: t.execute_nif(lib.abs, 1, timeout="5"),  # type: ignore[call-overload]
        ["argument 'timeout'", "'5'", "number such as"],
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_what_is_said_of_a_mistake(mistake: str) -> None:
    make, words = MISTAKES[mistake]

    async def main() -> NifArgumentError:
        library = load("libc.so.6", "int abs(int);")
        async with NifExecutor() as threads, NifExecutor(isolation="process") as processes:
            with pytest.raises(NifArgumentError) as error:
                await make(threads, processes, library)
            return error.value

    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nothing was never awaited
        said = str(run_on("asyncio", main))
    for word in words:
        assert word in said, said


def test_further_arguments_are_no_gap_in_a_cdef() -> None:
    load(None, "int printf(const char *, ...); int snprintf(char *,size_t,const char*,...);")
    load(None, "/* ... */ int abs(int); // ...")


def test_a_closed_executor_is_not_entered_again() -> None:
    async def main() -> None:
        executor = NifExecutor()
        async with executor:
            pass
        with pytest.raises(aionif.NifClosed, match="open a new one"):
            async with executor:
                pytest.fail("it was entered")

    run_on("asyncio", main)


def test_a_session_without_async_with() -> None:
    async def main() -> None:
        async with NifExecutor() as executor:
            session: Any = executor.session()
            with pytest.raises(AttributeError, match=r"async with executor\.session\(\)"):
                await session.execute_nif(abs, 1)

    run_on("asyncio", main)


@pytest.mark.parametrize("tier", ["thread", "process"])
def test_a_session_says_which_crash_has_ended_it(tier: Any) -> None:
    gallery = load_gallery()

    async def main() -> None:
        async with NifExecutor(isolation=tier) as executor, executor.session() as session:
            with pytest.raises(aionif.NifSignal):
                await session.execute_nif(gallery.gallery_segv_read)
            for _ in range(2):
                with pytest.raises(aionif.NifClosed, match="SIGSEGV") as error:
                    await session.execute_nif(gallery.gallery_segv_read)
                assert "gallery_segv_read" in error.value.reason

    run_on("asyncio", main)


PROGRAM = """
import asyncio, aionif
def function(x): return x + 1
async def main():
    async with aionif.NifExecutor(isolation="process") as executor:
        try: print(await executor.execute_nif(function, 1))
        except aionif.NifArgumentError as error: print(error)
asyncio.run(main())
"""


@pytest.mark.parametrize("way", ["stdin", "option"])
def test_what_is_defined_in_no_file_is_named_before_the_call(way: str) -> None:
    arguments, given = (["-c", PROGRAM], None) if way == "option" else (["-"], PROGRAM)
    done = subprocess.run(
        [sys.executable, *arguments],
        input=given,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
        cwd="/",
    )
    assert "__main__.function" in done.stdout, done.stderr
    assert "Put it into a module" in done.stdout
