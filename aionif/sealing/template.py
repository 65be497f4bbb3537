"""What a zygote makes ready, once, for all workers of a sandbox (process/child_template.py).

A template is text: a zygote is started for each that differs.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from aionif.core.native import lib
from aionif.sealing.seal import parts_of_worker, paths_of

if TYPE_CHECKING:
    from aionif.sandbox import Sandbox

__all__ = ("template_of",)

_OF_ZYGOTE = (
    lib.AIONIF_SEAL_USER
    | lib.AIONIF_SEAL_NET
    | lib.AIONIF_SEAL_IPC
    | lib.AIONIF_SEAL_PID
    | lib.AIONIF_SEAL_MOUNT
    | lib.AIONIF_SEAL_IDENTITY
)


def template_of(sandbox: Sandbox | None) -> str:
    """Return the template of a policy's workers; the same for all that have no sandbox."""
    if sandbox is None:
        return json.dumps({})
    wanted, _ = parts_of_worker(sandbox)
    writable = lib.AIONIF_SEAL_WRITE
    paths = sorted({(path, kind == writable) for kind, path in paths_of(sandbox)})
    return json.dumps(
        {
            "parts": wanted & _OF_ZYGOTE,
            "paths": paths,
            "forks": sandbox.forks,
            "fresh": sandbox.fresh,
            "cgroup": sandbox.cgroup,
        }
    )
