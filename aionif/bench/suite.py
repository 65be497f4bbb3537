"""A user's own calls, to be measured like the runner's: from a file, or from a shared library.

A file of benchmarks is an ordinary module:

    import aionif
    from aionif.bench.suite import Suite

    z = aionif.load("libz.so.1", "unsigned long crc32(unsigned long, const void *, unsigned);")
    suite = Suite("zlib")
    suite.call("crc32 of 64 KB", z.crc32, 0, b"x" * 65536, 65536)

Every child process that measures imports it, and so does every worker of a pool of processes: what
it does at import happens there as well.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aionif.bench.workload import (
    UserCall,
    WorkError,
    call_of,
    check_function,
    direct_form,
    load_file,
)
from aionif.errors import NifArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ("Suite", "SuiteCall", "calls_in", "calls_of_library")


@dataclass(frozen=True, slots=True)
class SuiteCall:
    """A function and its arguments."""

    function: Any
    arguments: tuple[Any, ...]

    @property
    def direct(self) -> Any:
        """What a plain call, without aionif, calls."""
        return direct_form(self.function)


class Suite:
    """Calls that belong together. name: for people."""

    def __init__(self, name: str) -> None:
        self.name = name
        # The name by which workers find it that know nothing of this class.
        self.__bench_calls__: dict[str, SuiteCall] = {}

    def call(self, title: str, function: Any, *arguments: Any) -> None:
        """Have a call measured.

        title: for people; each call has its own. function: whatever `aionif.execute_nif` takes: of
        `aionif.load`, of cffi or ctypes, or a Python function. arguments: to the pools of
        processes they go by pickle.

        Raises:
            WorkError: the function can't be called, or the title is taken.
        """
        if title in self.__bench_calls__:
            raise WorkError(f"there are two calls named {title!r} in the suite {self.name!r}")
        try:
            check_function(function)
        except (NifArgumentError, TypeError) as problem:
            raise WorkError(f"{title}: {problem}") from problem
        self.__bench_calls__[title] = SuiteCall(function, arguments)


def calls_in(file: str | Path) -> tuple[UserCall, ...]:
    """Return the calls of all suites in a file.

    Raises:
        WorkError: it can't be imported, or there is no call in it; says why.
    """
    path = Path(file).resolve()
    try:
        module = load_file(str(path))
    except Exception as problem:
        raise WorkError(f"{file}: {type(problem).__name__}: {problem}") from problem
    suites = [value for value in vars(module).values() if isinstance(value, Suite)]
    titles = [title for suite in suites for title in suite.__bench_calls__]
    if not titles:
        raise WorkError(f"{file}: there is no call in it. Write: suite.call(title, function, ...)")
    return tuple(
        UserCall(title=title, file=str(path), slug=slug)
        for title, slug in zip(titles, _slugs(titles), strict=True)
    )


def calls_of_library(library: str | None, cdef: str, calls: Iterable[str]) -> tuple[UserCall, ...]:
    """Return calls of functions of a shared library, each written as in Python: "f(1, b'x')".

    library: as for `aionif.load`. cdef: declarations in C. Arguments are Python literals.

    Raises:
        WorkError: the library or the declarations can't be read, there is no such function, or a
            call is not one; says what there is, and what was probably meant.
    """
    texts = list(calls)
    if library is not None and Path(library).exists():
        library = str(Path(library).resolve())
    found = tuple(
        UserCall(title=text, library=library, cdef=cdef, call=text, slug=slug)
        for text, slug in zip(texts, _slugs(texts), strict=True)
    )
    for call in found:
        call_of(call)
    return found


def _slugs(titles: list[str]) -> list[str]:
    """Return names for scenarios: of letters and digits, each its own."""
    found: list[str] = []
    for title in titles:
        slug = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "call"
        found.append(slug if slug not in found else f"{slug}-{len(found) + 1}")
    return found
