"""The crash gallery: native functions that crash in every way, as a table.

The functions live in small shared libraries built from `csrc/gallery/` together with the package:
C always, C++ and Rust where a compiler was found. Each row of `SPECIMENS` says how to call one
function, what an unprotected process comes to when it does, and which error aionif makes of it.

The module imports nothing of aionif, so that a child process can read the table without the core.
"""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from signal import Signals
from typing import Literal

__all__ = ("SPECIMENS", "Language", "Outcome", "Specimen", "available", "library_path")

Language = Literal["c", "cxx", "rust", "rust_abort"]
Outcome = Literal[
    "NifSignal", "NifStackOverflow", "NifPanic", "NifExit", "NifTimeout", "result", "death"
]

_COMPILERS: dict[Language, str] = {
    "c": "a C compiler",
    "cxx": "a C++ compiler",
    "rust": "rustc 1.81 or newer",
    "rust_abort": "rustc 1.81 or newer",
}


@dataclass(frozen=True, slots=True)
class Specimen:
    """One function of the gallery, and what calling it comes to."""

    name: str
    """The kind, as `aionif.testing.provoke` takes it."""

    language: Language
    """Names the library that holds the function: `library_path(language)`."""

    symbol: str
    cdef: str
    """The function's declaration, as cffi reads it."""

    arguments: tuple[int | bytes, ...]
    outcome: Outcome
    """The error's class name; "result" for a call that returns, "death" for one that nothing stops,
    as its fault is on a thread that aionif does not own, or as this libc's exit() holds a lock."""

    signal: Signals | None
    """The signal that ends an unprotected process, None where none does."""

    note: str = ""
    """What else a caller should know, in a few words."""

    value: int | None = None
    """The return value of a "result"; else the exit status of an unprotected process that no signal
    ends."""

    reason: str | None = None
    """The text that a panic carries, None where it carries none that can be read."""


def _specimen(  # noqa: PLR0913 - one parameter for each column of the table
    name: str,
    outcome: Outcome,
    signal: Signals | None = None,
    *,
    language: Language = "c",
    returns: str = "void",
    takes: str = "void",
    arguments: tuple[int | bytes, ...] = (),
    note: str = "",
    value: int | None = None,
    reason: str | None = None,
) -> Specimen:
    symbol = f"gallery_{name}"
    cdef = f"{returns} {symbol}({takes});"
    return Specimen(name, language, symbol, cdef, arguments, outcome, signal, note, value, reason)


_FAULTS = (
    _specimen("segv_read", "NifSignal", Signals.SIGSEGV, returns="int"),
    _specimen("segv_write", "NifSignal", Signals.SIGSEGV),
    _specimen("null_call", "NifSignal", Signals.SIGSEGV, note="jumps to address 0"),
    _specimen("wild_jump", "NifSignal", Signals.SIGSEGV, note="the program counter is unmapped"),
    _specimen(
        "non_canonical",
        "NifSignal",
        Signals.SIGSEGV,
        returns="int",
        note="x86-64 reports si_addr 0 and si_code SI_KERNEL",
    ),
    _specimen("read_only_write", "NifSignal", Signals.SIGSEGV, note="si_code SEGV_ACCERR"),
    _specimen("bus", "NifSignal", Signals.SIGBUS, returns="int", note="past the end of a file"),
    _specimen("fpe", "NifSignal", Signals.SIGFPE, returns="int", note="raised by hand on aarch64"),
    _specimen("ill", "NifSignal", Signals.SIGILL),
    _specimen("trap", "NifSignal", Signals.SIGTRAP, note="a breakpoint instruction"),
    _specimen("sys", "NifSignal", Signals.SIGSYS, note="raise()"),
    _specimen("raise_segv", "NifSignal", Signals.SIGSEGV, note="raise()"),
    _specimen("abort", "NifSignal", Signals.SIGABRT),
    _specimen("assert", "NifSignal", Signals.SIGABRT, note="writes to stderr"),
    _specimen(
        "stack_smash",
        "NifSignal",
        Signals.SIGABRT,
        note="no backtrace past the smashed frame; writes to stderr",
    ),
    _specimen(
        "double_free", "NifSignal", Signals.SIGABRT, note="heap corruption; writes to stderr"
    ),
    _specimen(
        "heap_overrun", "NifSignal", Signals.SIGABRT, note="heap corruption; writes to stderr"
    ),
    _specimen("libc_strlen", "NifSignal", Signals.SIGSEGV, returns="size_t", note="inside libc"),
    _specimen("qsort_comparator", "NifSignal", Signals.SIGSEGV, note="called back from libc"),
    _specimen("stdio_locked", "NifSignal", Signals.SIGSEGV, note="leaves a lock held: stderr's"),
    _specimen(
        "malloc_locked",
        "NifSignal",
        Signals.SIGSEGV,
        note="leaves a lock held: the heap arena's, and with it all memory of that arena",
    ),
)

_OVERFLOWS = (
    _specimen("overflow_recursion", "NifStackOverflow", Signals.SIGSEGV, returns="unsigned"),
    _specimen(
        "overflow_frame",
        "NifStackOverflow",
        Signals.SIGSEGV,
        returns="int",
        note="faults 4 MiB below its caller; fits a stack that is larger than that",
    ),
    _specimen("overflow_alloca", "NifStackOverflow", Signals.SIGSEGV),
)


def _exit_is_stopped() -> bool:
    """Whether `exit` can be: from glibc 2.41 on it holds a lock (csrc/faults/exits.c)."""
    name, _, version = (os.confstr("CS_GNU_LIBC_VERSION") or "").partition(" ")
    numbers = version.split(".")
    readable = name == "glibc" and all(number.isdigit() for number in numbers)
    return readable and [int(number) for number in numbers] < [2, 41]


_EXIT: Outcome = "NifExit" if _exit_is_stopped() else "death"

_EXITS = (
    _specimen("exit", _EXIT, value=3, note="runs atexit handlers first"),
    _specimen("underscore_exit", "NifExit", value=4),
    _specimen("quick_exit", _EXIT, note="with status 5, which NifExit is not told"),
    _specimen("pthread_exit", "NifPanic", value=0, note="a forced unwind that ends the thread"),
)

_ENDLESS = (
    _specimen("spin", "NifTimeout", note="user code alone, so it may be aborted anywhere"),
    _specimen(
        "spin_cooperative",
        "NifTimeout",
        returns="unsigned long",
        note="returns its turns once aionif_should_stop() says so",
    ),
    _specimen("spin_malloc", "NifTimeout", note="mostly inside malloc() and free()"),
    _specimen("sleep_forever", "NifTimeout", note="blocked in the kernel, below a libc frame"),
)

_OTHERS = (
    _specimen("crash_in_thread", "death", Signals.SIGSEGV, returns="int"),
    _specimen("fork_child", "result", returns="int", takes="int status", arguments=(9,), value=9),
    _specimen(
        "fork_child_exit",
        "result",
        returns="int",
        takes="int status",
        arguments=(9,),
        value=9,
        note="the child runs atexit handlers",
    ),
    _specimen(
        "fork_child_crash",
        "result",
        returns="int",
        value=-Signals.SIGSEGV,
        note="the child dies of SIGSEGV, and must: recovery is for the process that called",
    ),
    _specimen("spawn_true", "result", returns="int", value=0),
    _specimen(
        "run_system",
        "result",
        returns="int",
        takes="const char *command",
        arguments=(b"exit 7",),
        value=7 << 8,
        note="a wait status, as system() returns it",
    ),
    _specimen("nop", "result"),
    _specimen(
        "add", "result", returns="int", takes="int left, int right", arguments=(2, 3), value=5
    ),
    _specimen(
        "errno_setter",
        "result",
        returns="int",
        takes="int code",
        arguments=(34,),
        value=-1,
        note="leaves its argument in errno",
    ),
    _specimen(
        "deep",
        "result",
        returns="size_t",
        takes="size_t bytes",
        arguments=(64 << 10,),
        value=64 << 10,
        note="uses that many bytes of stack",
    ),
)

_CXX = (
    _specimen("cxx_std_exception", "NifPanic", Signals.SIGABRT, language="cxx", reason="message"),
    _specimen("cxx_int", "NifPanic", Signals.SIGABRT, language="cxx", note="throws 42"),
    _specimen("cxx_cstring", "NifPanic", Signals.SIGABRT, language="cxx", note='throws "text"'),
    _specimen("cxx_custom", "NifPanic", Signals.SIGABRT, language="cxx", note="throws a struct"),
    _specimen("cxx_rethrow", "NifPanic", Signals.SIGABRT, language="cxx", reason="rethrown"),
    _specimen(
        "cxx_throwing_destructor",
        "NifSignal",
        Signals.SIGABRT,
        language="cxx",
        note="std::terminate",
    ),
    _specimen("cxx_noexcept", "NifSignal", Signals.SIGABRT, language="cxx", note="std::terminate"),
    _specimen(
        "cxx_nested_cleanup",
        "NifPanic",
        Signals.SIGABRT,
        language="cxx",
        note="adds 3 to cxx_destroyed where the exception is caught",
        reason="thrown below three destructors",
    ),
    _specimen("cxx_destroyed", "result", language="cxx", returns="int", value=0, note="a counter"),
    _specimen(
        "cxx_what_crashes",
        "NifPanic",
        Signals.SIGSEGV,
        language="cxx",
        note="what() faults, in whoever calls it",
    ),
    _specimen("cxx_caught", "result", language="cxx", returns="int", value=7),
)

_RUST = (
    _specimen(
        "rust_panic_literal",
        "NifPanic",
        Signals.SIGABRT,
        language="rust",
        reason="a literal reason",
    ),
    _specimen(
        "rust_panic_format",
        "NifPanic",
        Signals.SIGABRT,
        language="rust",
        reason="a formatted reason: 42",
    ),
    _specimen(
        "rust_index_out_of_bounds",
        "NifPanic",
        Signals.SIGABRT,
        language="rust",
        returns="int",
        reason="index out of bounds: the len is 3 but the index is 7",
    ),
    _specimen("rust_panic_any", "NifPanic", Signals.SIGABRT, language="rust", note="42i32"),
    _specimen(
        "rust_extern_c", "NifSignal", Signals.SIGABRT, language="rust", note="may not unwind"
    ),
    _specimen("rust_panic_abort", "NifSignal", Signals.SIGABRT, language="rust_abort"),
    _specimen("rust_segv", "NifSignal", Signals.SIGSEGV, language="rust"),
    _specimen("rust_caught", "result", language="rust", returns="int", value=7),
    _specimen(
        "rust_overflow_recursion",
        "NifStackOverflow",
        Signals.SIGSEGV,
        language="rust",
        returns="unsigned",
    ),
)

SPECIMENS: dict[str, Specimen] = {
    specimen.name: specimen
    for group in (_FAULTS, _OVERFLOWS, _EXITS, _ENDLESS, _OTHERS, _CXX, _RUST)
    for specimen in group
}


def library_path(language: Language) -> Path:
    """The shared library that holds the specimens of one language.

    Raises FileNotFoundError where it was not built, for want of the compiler that it names.
    """
    # An editable install splits the package: its modules stay in the source tree, while what was
    # built lies in site-packages. __path__ lists both.
    for entry in sys.modules["aionif"].__path__:
        library = Path(entry, "_specimens", f"libaionif_gallery_{language}.so")
        if library.is_file():
            return library
    message = (
        f"the {language!r} part of the crash gallery was not built: "
        f"install {_COMPILERS[language]} and reinstall aionif"
    )
    raise FileNotFoundError(message)


def available() -> list[Specimen]:
    """The specimens whose library was built, in the order of `SPECIMENS`."""
    built = set()
    for language in _COMPILERS:
        try:
            library_path(language)
        except FileNotFoundError:
            continue
        built.add(language)
    return [specimen for specimen in SPECIMENS.values() if specimen.language in built]
