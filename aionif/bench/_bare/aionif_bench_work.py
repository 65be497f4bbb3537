"""How a worker process of another library calls a native function.

Workers import this file by itself, as `aionif_bench_work`. As a module of the package it would make
every worker of every library import aionif first, and its start would be charged to that library.
"""

from __future__ import annotations

import functools
import importlib.util
import sys
from pathlib import Path
from typing import Any

__all__ = ("call_native", "call_of_file", "found_in", "load_file", "native")


@functools.cache
def _opened(library: str | None, cdef: str) -> Any:
    """Open a library, for good: its functions do not keep it open."""
    from cffi import FFI  # noqa: PLC0415 - calls of Python functions have no use for it

    ffi = FFI()
    ffi.cdef(cdef)
    return ffi.dlopen(library)


@functools.cache
def native(library: str | None, cdef: str, name: str) -> Any:
    """Return a function of a shared library, to be called directly; None: of the program."""
    return getattr(_opened(library, cdef), name)


def call_native(library: str | None, cdef: str, name: str, *arguments: Any) -> Any:
    """Call it."""
    return native(library, cdef, name)(*arguments)


def load_file(file: str) -> Any:
    """Import a file of benchmarks; its directory is where it may import from."""
    path = Path(file).resolve()
    name = f"aionif_bench_file_{path.stem}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file} is not a Python file")
    sys.path.append(str(path.parent))
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


@functools.cache
def found_in(file: str, title: str) -> Any:
    """Return the call of that title of the suites in a file."""
    for value in vars(load_file(file)).values():
        calls = getattr(value, "__bench_calls__", None)
        if isinstance(calls, dict) and title in calls:
            return calls[title]
    raise LookupError(f"{file}: there is no call named {title!r}")


def call_of_file(file: str, title: str, *arguments: Any) -> Any:
    """Make a call of a suite in a file."""
    return found_in(file, title).direct(*arguments)
