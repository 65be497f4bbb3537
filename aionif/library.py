"""Loading a native library: `load` and NifLibrary."""

from __future__ import annotations

import ctypes.util
import os
import re
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cffi
from cffi.model import Q_CONST, PointerType

from aionif.binding.of_cffi import plan_of
from aionif.binding.plan import Documentation, NifFunction, Plan
from aionif.core.native import lib
from aionif.crash.elf import exported_names
from aionif.default import execute_nif
from aionif.errors import NifArgumentError
from aionif.errors.checks import check_span
from aionif.errors.defaults import DEFAULT
from aionif.policy import NifPolicy, check_policy

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator

__all__ = ("NifLibrary", "load")


class LibraryFunction(NifFunction):
    """A function of a NifLibrary: `await f(...)` is `execute_nif(f, ...)`."""

    __slots__ = ()

    __doc__ = Documentation(__doc__)

    def __call__(
        self, *args: Any, timeout: float | None = DEFAULT, policy: NifPolicy | None = None
    ) -> Coroutine[Any, Any, Any]:
        return execute_nif(self, *args, timeout=timeout, policy=policy)


class NifLibrary:
    """A loaded library; its functions are attributes, made when they are first asked for.

    ffi: the cffi FFI of the declarations, for `ffi.new`, `ffi.cast` and `ffi.NULL`.
    path: as it was given. policy, timeout: for calls of its functions; None for the executor's.
    """

    def __init__(
        self,
        ffi: cffi.FFI,
        handle: Any,
        path: str,
        policy: NifPolicy | None,
        timeout: float | None = None,
    ) -> None:
        self.ffi = ffi
        self.path = path
        self.policy = policy
        self.timeout = timeout
        self._handle = handle

    def __repr__(self) -> str:
        return f"<NifLibrary {self.path}>"

    def __dir__(self) -> Iterator[str]:
        return iter({*vars(self), *dir(type(self)), *dir(self._handle)})

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name=name, obj=self)
        try:
            value = getattr(self._handle, name)
        except AttributeError as missing:
            raise _no_such_symbol(self, name) from missing
        try:
            ctype = self.ffi.typeof(value)
        except TypeError:
            return value  # a constant or a variable of the library
        if ctype.kind != "function":
            return value
        declared = _declared_as(self.ffi, name)
        plan = self._plan(name, ctype, value, declared)
        text = _declaration(name, declared)
        function = LibraryFunction(plan, self.policy, self.timeout, text)
        setattr(self, name, function)
        return function

    def _plan(self, name: str, ctype: Any, function: Any, declared: Any) -> Plan:
        address = int(self.ffi.cast("uintptr_t", function))
        constant = _constant_arguments(declared)
        return plan_of(ctype, address, name, self.path, self._handle, constant=constant)


class _MissingSymbolError(NifArgumentError, AttributeError):
    """So that `hasattr(library, name)` works."""


def _no_such_symbol(library: NifLibrary, name: str) -> NifArgumentError:
    declared = dir(library._handle)  # noqa: SLF001 - of this module's own class
    if name in declared:
        near = get_close_matches(name, exported_names(_file_of(library)), n=1)
        problem = "is declared, but the library does not have it"
    else:
        near = get_close_matches(name, declared, n=1)
        problem = "is not declared in the cdef"
    remedy = f"Did you mean {near[0]!r}?" if near else "Declare it in the cdef of aionif.load()."
    return _MissingSymbolError(
        library=library.path, argument="name", value=name, problem=problem, remedy=remedy
    )


def _declared_as(ffi: cffi.FFI, name: str) -> Any:
    """Return a function's declaration as the parser has it: cffi's types have no qualifiers."""
    return ffi._parser._declarations.get(f"function {name}", (None, 0))[0]  # noqa: SLF001


def _declaration(name: str, declared: Any) -> str:
    """Return it as C. The parser has a pointer to the function, and names of its own."""
    text = "" if declared is None else f"{declared.get_c_name(name)};"
    text = text.replace(f"(* {name})", f" {name}")
    return re.sub(r"_cffi_(\w+)_complex_t", r"\1 _Complex", text)


def _constant_arguments(declared: Any) -> frozenset[int]:
    """Return which arguments of a function are pointers to const."""
    return frozenset(
        index
        for index, argument in enumerate(getattr(declared, "args", ()))
        if isinstance(argument, PointerType) and argument.quals & Q_CONST
    )


def _file_of(library: NifLibrary) -> str:
    """Return the file the dynamic linker found for it; the empty string if that is not known."""
    wanted = Path(library.path).name
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:  # no procfs
        return ""
    paths = {line.split(maxsplit=5)[-1].strip() for line in maps.splitlines() if "/" in line}
    return next((path for path in sorted(paths) if Path(path).name.startswith(wanted)), "")


def load(
    path: str | Path | None,
    cdef: str,
    *,
    policy: NifPolicy | None = None,
    thread_safe: bool | None = None,
    timeout: float | None = None,
) -> NifLibrary:
    """Load a shared library and return it with the functions that `cdef` declares.

    path: as for dlopen: a file, or a name such as "libz.so.1"; None for the program itself.
    cdef: declarations in C, as cffi reads them.
    policy: for calls of its functions. thread_safe: shorthand for a policy with that setting.
    timeout: seconds, waiting in the queue included, for calls that are given no timeout. None: that
        of the policy or the executor, if it has one; math.inf: no limit.

    Raises:
        NifArgumentError: the library can't be loaded, or the cdef does not parse.
    """
    check_policy(policy)
    if timeout is not None:
        check_span("timeout", timeout)
    if thread_safe is not None:
        policy = _declared(policy, thread_safe=thread_safe)
    ffi = cffi.FFI()
    _check_declarations(cdef)
    _declare(ffi, cdef)
    name = None if path is None else str(path)
    try:
        # For good: threads of the library may run until the program's end, in its code.
        handle = ffi.dlopen(name, os.RTLD_NOW | os.RTLD_NODELETE)
    except OSError as problem:
        raise _cannot_load(name, problem) from problem
    lib.aionif_refresh()
    return NifLibrary(ffi, handle, name or "the program", policy, timeout)


def _declared(policy: NifPolicy | None, *, thread_safe: bool) -> NifPolicy:
    from dataclasses import replace  # noqa: PLC0415 - only where it is asked for

    return replace(policy or NifPolicy(), thread_safe=thread_safe)


# Outside of an argument list, where it stands for further arguments.
_LEFT_TO_A_COMPILER = re.compile(r"(?<!,)\s*\.\.\.(?!\s*\))|\.\.\.\s*\]")
_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)


def _check_declarations(cdef: object) -> None:
    if not isinstance(cdef, str):
        raise NifArgumentError(
            argument="cdef",
            value=cdef,
            problem="is not C declarations in a str",
            remedy='Write load(path, "int abs(int);").',
        )
    for line in _COMMENT.sub("", cdef).splitlines():
        if _LEFT_TO_A_COMPILER.search(line):
            raise NifArgumentError(
                argument="cdef",
                value=line.strip(),
                problem="leaves something to a compiler by '...', and nothing is compiled here",
                remedy="Write out what it stands for, or build a module with cffi's API mode.",
            )


def _declare(ffi: cffi.FFI, cdef: str) -> None:
    try:
        ffi.cdef(cdef)
    except (cffi.CDefError, cffi.FFIError, NotImplementedError, TypeError, ValueError) as problem:
        raise NifArgumentError(
            argument="cdef",
            value=cdef,
            problem=f"does not parse: {str(problem).strip()}",
            remedy="Write plain C declarations, without #include or function bodies.",
        ) from problem


def _cannot_load(name: str | None, problem: OSError) -> NifArgumentError:
    reason = str(problem).partition(".  Additionally, ctypes.util")[0].strip()
    if name is not None and Path(name).is_file() and not _is_elf(Path(name)):
        return NifArgumentError(
            argument="path",
            value=name,
            problem="is not a shared library",
            remedy="Give the library's own file, which ends in .so or .so.N.",
        )
    return NifArgumentError(
        argument="path",
        value=name,
        problem=f"can't be loaded: {reason}",
        remedy=_near_library(name or ""),
    )


def _is_elf(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            return file.read(4) == b"\x7fELF"
    except OSError:
        return True  # what dlopen says of it is what there is to say


def _near_library(name: str) -> str:
    """Name a file that may have been meant: beside the path given, or in the linker's cache."""
    path = Path(name)
    if path.parent != Path() and path.parent.is_dir():
        candidates = [str(path.parent / found.name) for found in path.parent.glob("*.so*")]
    else:
        stem = path.name.removeprefix("lib").split(".so")[0]
        found = ctypes.util.find_library(stem)
        candidates = [found] if found else []
    near = get_close_matches(name, candidates, n=1, cutoff=0.4)
    return f"Did you mean {near[0]!r}?" if near else "Check the path, or install the library."
