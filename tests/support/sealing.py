"""What the tests of sealed processes share: users, policies, an executor with one worker."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

import pytest

from aionif import NifPolicy, Sandbox
from aionif.core.native import lib
from tests.support.workers import with_executor

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aionif import NifExecutor

AS_ROOT = os.getuid() == 0
USERS = ["root", "nobody"] if AS_ROOT else ["itself"]
MIB = 1 << 20

COMPUTE, PYTHON = NifPolicy(sandbox=Sandbox.compute()), NifPolicy(sandbox=Sandbox.python())

landlocked = pytest.mark.skipif(
    lib.aionif_landlock_version() < 3, reason="this kernel has no Landlock, or an old one"
)


def with_sealed(main: Callable[[NifExecutor], Awaitable[None]], **settings: Any) -> None:
    """Run `main` with an executor of one worker process, which has imported remote.py."""
    with_executor(main, **{"max_workers": 1, "preload": ("tests.remote",), **settings})
