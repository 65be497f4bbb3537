"""The compiled core: the only importer of `aionif._core`, started once for the process.

Importing this module installs the fault handlers (they leave alone what is not ours) and makes the
core's public symbol, `aionif_core_should_stop`, visible to libraries that are loaded later.
"""

from __future__ import annotations

import os
import platform
import sys
import threading
from pathlib import Path
from typing import Any

_PLATFORM = (sys.platform, platform.machine())
if _PLATFORM != ("linux", "x86_64"):
    raise ImportError(f"aionif runs on Linux on x86-64; this is {_PLATFORM[0]} on {_PLATFORM[1]}.")

from aionif import _core  # type: ignore[attr-defined] # noqa: E402 - the refusal above must come before a failed import does

__all__ = ("CORE_FILE", "THUNK", "Door", "door", "ffi", "lib", "new_door")

ffi: Any = _core.ffi
lib: Any = _core.lib

CORE_FILE: str = _core.__file__

Door = Any  # struct aionif_door *: cffi has no types to offer


def _start() -> int:
    helper = Path(_core.__file__).with_name("_cxx.so")
    problem = lib.aionif_start(bytes(helper) if helper.exists() else ffi.NULL)
    if problem != ffi.NULL:
        raise ImportError(f"aionif can't run in this process: {ffi.string(problem).decode()}.")
    # Weak references in NIF libraries are bound when those are loaded, against global symbols only.
    ffi.dlopen(_core.__file__, os.RTLD_NOW | os.RTLD_NOLOAD | os.RTLD_GLOBAL)
    os.register_at_fork(after_in_child=lib.aionif_forked)
    return int(lib.aionif_thunk_address())


THUNK: int = _start()


class _Doors(threading.local):
    """One door per thread; the attribute is looked up on every call, so it is kept plain."""

    door: Door = None


_doors = _Doors()


def new_door() -> Door:
    """Return the calling thread's door, made at first use.

    Raises:
        MemoryError: the kernel gives no memory for an alternate signal stack.
    """
    door = _doors.door = lib.aionif_door_open()
    if door == ffi.NULL:
        _doors.door = None
        raise MemoryError("no memory for an alternate signal stack")
    return door


def door() -> Door:
    """Return the calling thread's door."""
    return _doors.door or new_door()
