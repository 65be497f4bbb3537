"""The compiled core: the only importer of `aionif._core`, started once for the process.

Importing this module installs the fault handlers (they leave alone what is not ours) and makes the
core's public symbol, `aionif_core_should_stop`, visible to libraries that are loaded later.
"""

from __future__ import annotations

import errno
import os
import platform
import sys
import threading
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from typing import Any

_PLATFORM = (sys.platform, platform.machine())
if _PLATFORM != ("linux", "x86_64"):
    raise ImportError(f"aionif runs on Linux on x86-64; this is {_PLATFORM[0]} on {_PLATFORM[1]}.")


from aionif.errors import NifRejected  # noqa: E402
from aionif.system.shortage import explain  # noqa: E402

__all__ = ("CORE_FILE", "THUNK", "Slot", "call_slot", "ffi", "lib", "new_slot")


def _load_core() -> Any:
    try:
        from aionif import _core  # type: ignore[attr-defined] # noqa: PLC0415 - so that it can fail
    except ImportError as problem:
        raise ImportError(_why_not(problem)) from problem
    return _core


def _why_not(problem: ImportError) -> str:
    """Say what is wrong with this copy of the package. The system's words alone blame a cycle."""
    here = Path(__file__).parents[1]
    if not here.is_dir():
        return (
            f"aionif can't be imported from the archive {here.parent}: no extension module can be "
            "loaded from one. Install it into a directory: `pip install .` in its checkout."
        )
    if any(Path(here, f"_core{suffix}").exists() for suffix in EXTENSION_SUFFIXES):
        return f"aionif's compiled core in {here} can't be loaded: {problem}."
    return (
        f"aionif's compiled core is not in {here}, as in a checkout that was not built. Run "
        "`pip install .` there; then start Python elsewhere, or with -P, to import what was "
        "installed."
    )


_core: Any = _load_core()

ffi: Any = _core.ffi
lib: Any = _core.lib

CORE_FILE: str = _core.__file__

Slot = Any  # struct aionif_call_slot *: cffi has no types to offer


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


class _Slots(threading.local):
    """One slot per thread; the attribute is looked up on every call, so it is kept plain."""

    slot: Slot = None


_slots = _Slots()


def new_slot() -> Slot:
    """Return the calling thread's call slot, made at first use.

    Raises:
        NifRejected: the kernel gives no memory for an alternate signal stack.
    """
    slot = _slots.slot = lib.aionif_call_slot_open()
    if slot == ffi.NULL:
        _slots.slot = None
        reason, remedy = explain(errno.ENOMEM, "an alternate signal stack")
        raise NifRejected(reason=reason, remedy=remedy)
    return slot


def call_slot() -> Slot:
    """Return the calling thread's call slot."""
    return _slots.slot or new_slot()
