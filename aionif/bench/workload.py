"""What is called: one function and its arguments, in the form that each way of calling needs."""

from __future__ import annotations

import ast
import functools
import importlib
import sys
from dataclasses import dataclass, field
from difflib import get_close_matches
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aionif
from aionif.binding.choose import bind, is_foreign
from aionif.binding.plan import NifFunction
from aionif.core.native import ffi
from aionif.errors import NifError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = (
    "BARE",
    "UserCall",
    "Work",
    "WorkError",
    "built_in",
    "call_of",
    "check_function",
    "direct_form",
    "load_file",
    "near_miss",
)

BARE = Path(__file__).with_name("_bare")
"""Where the module lies that workers of other libraries import; to be put on `sys.path`."""

sys.path.append(str(BARE))
_bare: Any = importlib.import_module("aionif_bench_work")

# One by one: a worker of another library is sent the declaration with each call.
_DECLARED = {
    "nothing": "void bench_nothing(void);",
    "work": "unsigned long bench_work(unsigned long);",
    "read": "long bench_read(const unsigned char *, long);",
    "crash": "int bench_crash(void);",
    "beat": "int bench_beat(const char *);",
}


class WorkError(ValueError):
    """A function that is to be called can't be: library, declaration or call are wrong."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """One call. Libraries are loaded when a form that needs them here is first asked for.

    remote: for pools of processes: a function that can be pickled, and its first arguments.
    arguments: those of the call.
    """

    remote: tuple[Any, ...]
    arguments: tuple[Any, ...]
    load_direct: Callable[[], Any]
    load_nif: Callable[[], Any]

    @property
    def direct(self) -> Any:
        """The function for a plain call, in this process."""
        return self.load_direct()

    @property
    def nif(self) -> Any:
        """The function for aionif; None if it is not native."""
        return self.load_nif()


def built_in(name: str, *arguments: Any) -> Work:
    """Return a call of one of the functions that come with the runner: "nothing", "work", ..."""
    return _of_library(str(_library()), _DECLARED[name], f"bench_{name}", arguments)


@dataclass(frozen=True, slots=True, kw_only=True)
class UserCall:
    """A call of a user's own function, as it is named to a child process.

    Either `library` (None: the program itself), `cdef` and `call`, which is written as in Python
    with literals for arguments, "crc32(0, b'abc', 3)"; or `file` and the `title` of a call in a
    suite of that file.
    """

    title: str
    library: str | None = None
    cdef: str = ""
    call: str = ""
    file: str = ""
    slug: str = field(default="own", compare=False)


def call_of(user: UserCall) -> Work:
    """Return the work that is named.

    Raises:
        WorkError: there is no such library, function or call; it says what there is instead.
    """
    if user.file:
        return _of_file(user)
    name, arguments = _parse(user.call)
    try:
        _loaded(user.library, user.cdef, name)
    except NifError as problem:
        raise WorkError(str(problem)) from problem
    return _of_library(user.library, user.cdef, name, arguments)


def direct_form(function: Any) -> Any:
    """Return what is called for a plain call of a function that aionif takes."""
    if not isinstance(function, NifFunction):
        return function
    plan = function.plan
    return plan.keep if plan.ctype is None else ffi.cast(plan.ctype, plan.address)


def load_file(file: str) -> Any:
    """Import a file of benchmarks, under the name by which workers import it too."""
    return _bare.load_file(file)


# ---- where functions come from ----


def _library() -> Path:
    # An editable install splits the package; __path__ lists both halves.
    for entry in aionif.__path__:
        library = Path(entry, "_specimens", "libaionif_bench.so")
        if library.is_file():
            return library
    raise FileNotFoundError("libaionif_bench.so was not installed with aionif: reinstall it")


def _of_library(library: str | None, cdef: str, name: str, arguments: tuple[Any, ...]) -> Work:
    return Work(
        remote=(_bare.call_native, library, cdef, name),
        arguments=arguments,
        load_direct=partial(_bare.native, library, cdef, name),
        load_nif=partial(_loaded, library, cdef, name),
    )


@functools.cache
def _loaded(library: str | None, cdef: str, name: str) -> Any:
    return getattr(aionif.load(library, cdef), name)


def _of_file(user: UserCall) -> Work:
    try:
        found = _bare.found_in(user.file, user.title)
    except (LookupError, ImportError, OSError, SyntaxError) as problem:
        raise WorkError(f"{user.file}: {problem}") from problem
    return Work(
        remote=(_bare.call_of_file, user.file, user.title),
        arguments=found.arguments,
        load_direct=lambda: found.direct,
        load_nif=lambda: found.function if is_foreign(found.function) else None,
    )


def check_function(function: Any) -> None:
    """Raise NifArgumentError or TypeError unless it can be called at all."""
    if is_foreign(function):
        bind(function)
    elif not callable(function):
        raise TypeError(f"{function!r} is not a function")


def _parse(text: str) -> tuple[str, tuple[Any, ...]]:
    """Read "f(1, b'x')": a name, and literals."""
    try:
        call = ast.parse(text.strip(), mode="eval").body
    except SyntaxError as problem:
        raise WorkError(f"{text!r} is not a call: {problem.msg}") from problem
    if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
        raise WorkError(f"{text!r} is not a call. Write: name(1, 2.5, b'bytes')")
    if call.keywords:
        raise WorkError(f"{text!r}: native functions have no arguments by name")
    try:
        return call.func.id, tuple(ast.literal_eval(argument) for argument in call.args)
    except ValueError as problem:
        raise WorkError(f"{text!r}: arguments must be Python literals") from problem


def near_miss(name: str, known: list[str]) -> str:
    """Return a sentence about a name that is not known: what was probably meant."""
    near = get_close_matches(name, known, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there are {', '.join(known)}"
