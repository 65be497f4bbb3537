"""Paths that policies name: what this interpreter imports from, and those below no other."""

from __future__ import annotations

import os
import site
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ("import_paths", "roots")

_INSTALLED = frozenset({"site-packages", "dist-packages"})  # as installers name them
_SYSTEM_PATHS = (
    "/usr/lib",
    "/usr/lib64",
    "/usr/local/lib",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/usr/share/zoneinfo",
    "/dev/null",
    "/dev/urandom",
)


def import_paths() -> tuple[str, ...]:
    """Return the standard library and the directories of installed packages, and what they read.

    Not the rest of sys.path: the directory of a program holds more than its modules.
    """
    found = [Path(path) for path in sys.path if Path(path).name in _INSTALLED]
    found += map(Path, site.getsitepackages())
    found += [Path(os.__file__).parent, Path(__file__).parents[1], Path(sys.base_prefix, "lib")]
    found += map(Path, _SYSTEM_PATHS)
    whole = {str(path.absolute()) for path in found if _exists(path)}
    return roots(whole - {"/"})


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except PermissionError:  # in a directory that this user can't search
        return False


def roots(paths: Iterable[str]) -> tuple[str, ...]:
    """Return the paths that are below no other, each once."""
    kept: list[str] = []
    for path in sorted(set(paths), key=lambda path: path.split("/")):
        if not kept or not path.startswith(kept[-1].rstrip("/") + "/"):
            kept.append(path)
    return tuple(kept)
