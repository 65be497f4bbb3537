"""The zygote and the workers it forks: run as a script, never imported by the parent.

The zygote is a fresh interpreter with the compiled core and little else, which forks workers.
What the processes do is in files beside this one, which are loaded by their paths: `child_zygote`
obeys the parent's orders, `child_worker` is a worker, `child_stderr` hears what workers write to
stderr, and `child_python` runs Python callables. Nothing of the package is imported, as that
would import anyio and more into every worker.

What it is told is in a file of JSON: the core's file, the window's address and size, and the
template.
"""

from __future__ import annotations

import importlib.machinery
import importlib.util
import json
import os
import signal
import sys
from contextlib import suppress
from typing import Any

__all__ = ()

SOCKET, CATALOG, STDERR, TOLD = 3, 4, 5, 6  # descriptors
_CHUNK = 65536


def _load_core(path: str) -> Any:
    loader = importlib.machinery.ExtensionFileLoader("aionif._core", path)
    spec = importlib.util.spec_from_file_location("aionif._core", path, loader=loader)
    core = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    loader.exec_module(core)
    sys.modules["aionif._core"] = core  # for a worker that imports the package after all
    return core


def _load(name: str) -> Any:
    place = os.path.join(os.path.dirname(__file__), f"{name}.py")  # noqa: PTH118, PTH120 - pathlib is heavy
    spec = importlib.util.spec_from_file_location(f"aionif.process.{name}", place)
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    sys.modules[f"aionif.process.{name}"] = module
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module


def _take_stderr() -> bytes:
    """Have the program's own stderr from now on; return what was written before the parent had."""
    said = os.pread(2, _CHUNK, 0)
    os.dup2(STDERR, 2)
    os.close(STDERR)
    return said


def _main() -> None:
    if not sys.flags.safe_path:
        del sys.path[0]  # where this file is: nothing is imported from there by name
    # Ignored or blocked, as the program may have it, no worker's end would be heard.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGCHLD})
    with open(TOLD, "rb") as file:
        told = json.load(file)
    core_path = told["core"]
    os.set_inheritable(SOCKET, False)  # noqa: FBT003 - its one argument
    os.set_inheritable(CATALOG, False)  # noqa: FBT003
    core = _load_core(core_path)
    ffi, lib = core.ffi, core.lib
    if not lib.aionif_window(told["window"], told["size"]):
        sys.exit("aionif: the addresses for worker processes are not free in the zygote")
    helper = os.path.join(os.path.dirname(core_path), "_cxx.so")  # noqa: PTH118, PTH120
    problem = lib.aionif_start(os.fsencode(helper) if os.path.exists(helper) else ffi.NULL)  # noqa: PTH110
    if problem != ffi.NULL or lib.aionif_catalog_use(CATALOG):
        sys.exit("aionif: the core can't run in the zygote")
    ffi.dlopen(core_path, os.RTLD_NOW | os.RTLD_NOLOAD | os.RTLD_GLOBAL)
    os.close(CATALOG)
    worker, serving = _load("child_worker"), _load("child_zygote")
    outlet = _load("child_outlet").Outlet
    with suppress(Exception):  # of sitecustomize: else each worker would write it once more
        sys.stdout.flush()
    start, said = _load("child_stderr").start, [_take_stderr()]  # it is passed on once
    zygote = serving.Zygote(
        SOCKET,
        _load("child_template").Template(core, told["template"]),
        lambda: start(outlet, said.pop() if said else b"", worker.close_all_but, SOCKET),
        lambda *order: worker.become(core, *order),
        _load("child_group").Groups(*told["group"]),
    )
    zygote.serve()
    zygote.close()


if __name__ == "__main__":
    _main()
