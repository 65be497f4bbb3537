"""What a zygote makes ready, once, for all workers of a sandbox.

A template is text: a zygote is started for each that differs.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aionif.sandbox import Sandbox

__all__ = ("template_of",)


def template_of(sandbox: Sandbox | None) -> str:
    """Return the template of a policy's workers; the same for all that have no sandbox."""
    return json.dumps({} if sandbox is None else {"profile": sandbox.profile})
