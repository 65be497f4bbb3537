"""Worker processes under test: an executor of them, who they are, and whether they live."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aionif import NifExecutor
from aionif.futures import NifProcessPoolExecutor
from aionif.process import zygote
from tests.support import DEADLINE, run_on

if TYPE_CHECKING:
    from collections.abc import Callable

_LISTENER = "aionif-stderr"


def with_executor(
    function: Callable[..., Any], *, deadline: float = DEADLINE, **settings: Any
) -> Any:
    async def main() -> Any:
        async with NifExecutor(isolation="process", **settings) as executor:
            return await function(executor)

    return run_on("asyncio", main, deadline=deadline)


def workers_of(executor: NifExecutor | NifProcessPoolExecutor) -> list[int]:
    front = executor._executor if isinstance(executor, NifProcessPoolExecutor) else executor
    return front._pools.processes()


def is_alive(pid: int) -> bool:
    return state_of(pid) not in "ZX"


def state_of(pid: int) -> str:
    """Return the letter that procfs has for a process's state; X: there is none."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8")
    except OSError:
        return "X"
    return status.rpartition(")")[2].split()[0]


def mapped_in(pid: int, address: int) -> str:
    """Return how a process has an address mapped, as `maps` shows it; empty: it has not."""
    for line in Path(f"/proc/{pid}/maps").read_text(encoding="utf-8").splitlines():
        low, high, access = re.match(r"(\w+)-(\w+) (\S+)", line).groups()  # type: ignore[union-attr]
        if int(low, 16) <= address < int(high, 16):
            return access
    return ""


def left_of_zygote(starter: zygote.Zygote | None = None) -> list[int]:
    """Return the ids of a zygote's workers, also of those that nobody has waited for.

    starter: by default the one of workers without a sandbox.
    """
    return [child for child, name in _children(starter).items() if name != _LISTENER]


def listener_of_zygote(starter: zygote.Zygote | None = None) -> int:
    """Return the id of the process that hears what its workers write."""
    return next(child for child, name in _children(starter).items() if name == _LISTENER)


def _children(starter: zygote.Zygote | None) -> dict[int, str]:
    pid = (starter or zygote.of()).pid
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text(encoding="ascii").split()
    return {
        int(child): Path(f"/proc/{child}/comm").read_text(encoding="ascii").strip()
        for child in children
    }
