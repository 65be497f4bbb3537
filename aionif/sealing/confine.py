"""Programs that are started sealed: what reads a file of unknown origin may do nothing else.

A symboliser is told of a library that this process has loaded. But that library's debug information
names further files, which the tool would open as well, and a mistake in the tool's reader is as
good as any other. So it is started by a small program of ours (`csrc/launcher/confine.c`), which
seals itself and then becomes the tool.

It may read the library, what is named after it beside it, the system's directories of debug
information and of libraries, which it consists of itself; it may write nothing but its three
streams, start nothing, and has no network. Where a part of the seal can't be had, the others hold;
where there is none of them, it runs with its limits alone.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from aionif.core.native import CORE_FILE
from aionif.crash.confining import Confined
from aionif.sandbox import Sandbox
from aionif.sealing.seal import compile_seal

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aionif.filters.profiles import GrantName

__all__ = ("confined",)

_LAUNCHER = Path(CORE_FILE).with_name("_confine")

# What a program consists of besides its own file, and where packages put debug information.
_SYSTEM = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")
_UNNEEDED: tuple[GrantName, ...] = ("fork", "events")


@contextmanager
def confined(tool: str, module: str) -> Iterator[Confined]:
    """Return how to start `tool`, an executable's path, so that it can look into `module` alone."""
    if not os.access(_LAUNCHER, os.X_OK):
        yield Confined()
        return
    descriptor = os.memfd_create("aionif-seal")
    try:
        os.write(descriptor, _seal(os.path.abspath(tool), os.path.abspath(module)))  # noqa: PTH100
        yield Confined((str(_LAUNCHER), str(descriptor)), (descriptor,))
    finally:
        os.close(descriptor)


@lru_cache(maxsize=64)
def _seal(tool: str, module: str) -> bytes:
    file = Path(module)
    beside = (file.with_name(f"{file.name}.debug"), file.with_suffix(".debug"))
    own_libraries = Path(tool).resolve().parents[1] / "lib"
    readable = {*_SYSTEM, module, *map(str, beside), str(file.parent / ".debug")}
    sandbox = Sandbox.compute(mode="best_effort").allow_read(*sorted(readable), own_libraries)
    return compile_seal(sandbox.allow_exec(tool), without=_UNNEEDED, is_dumpable=True)
