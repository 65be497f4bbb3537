"""Functions by name for worker processes: a file, its build, and an address in it.

A pointer means nothing in another process. The core keeps the catalog in memory that every worker
can read, so a function that is entered here can be called in all of them, those that are running
included.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from aionif.core.native import ffi, lib
from aionif.errors import NifArgumentError, NifRejected

if TYPE_CHECKING:
    from aionif.binding.plan import Plan

__all__ = ("enter",)

_entries: dict[tuple[bytes, int], int] = {}


def enter(plan: Plan) -> None:
    """Give a plan its number in the catalog.

    Raises:
        NifArgumentError: its code comes from no file. NifRejected: the catalog is full.
    """
    if plan.struct.entry:
        return
    module = ffi.new("struct aionif_module *")
    if not lib.aionif_locate(plan.address, module):
        raise NifArgumentError(
            function=plan.name,
            argument="fn",
            value=f"{plan.name} at {plan.address:#x}",
            problem="comes from no file, so no worker process can load it",
            remedy='Put it in a shared library, or run it with isolation="thread".',
        )
    path = ffi.string(module.path)
    if path and not path.startswith(b"/"):
        module.path = os.fsencode(os.path.abspath(path)) + b"\0"  # noqa: PTH100 - bytes
    key = (path, plan.address - int(module.bias))
    if key not in _entries:
        entry = int(lib.aionif_catalog_add(module, key[1]))
        if not entry:
            raise NifRejected(
                reason="no more functions can be named to worker processes",
                remedy=f"Call at most {lib.AIONIF_ENTRIES} different functions in them.",
            )
        _entries[key] = entry
    plan.struct.entry = _entries[key]
