"""Shared memory of multiprocessing in a worker process: it stays its owner's.

Whoever opens a block, the resource tracker of that process removes it when the process ends
(https://github.com/python/cpython/issues/82300). That is right where all processes have one
tracker; a worker would start one of its own, and remove what the program still uses. So workers
track no shared memory, and other things if something has started a tracker. Nothing of the package
is imported here, as in `child`.
"""

from __future__ import annotations

import sys
from importlib.machinery import PathFinder
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from importlib.machinery import ModuleSpec
    from types import ModuleType

__all__ = ("leave_shared_memory_alone",)

_TRACKER = "multiprocessing.resource_tracker"


def leave_shared_memory_alone() -> None:
    """See to it that the tracker, once something imports it, tracks nothing by itself."""
    loaded = sys.modules.get(_TRACKER)
    if loaded is not None:
        _calm(loaded)
    elif not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())


class _Finder:
    """Finds one module, once, as it would be found otherwise."""

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if name != _TRACKER:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader)  # type: ignore[assignment] # likewise
        return spec


class _Loader:
    def __init__(self, real: Any) -> None:
        self._real = real

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        module: ModuleType | None = self._real.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        self._real.exec_module(module)
        _calm(module)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


def _calm(module: Any) -> None:
    tracker = module._resource_tracker  # noqa: SLF001 - its functions are methods of that
    for name in ("register", "unregister"):
        setattr(module, name, _but_for_shared_memory(tracker, getattr(tracker, name)))


def _but_for_shared_memory(tracker: Any, function: Any) -> Any:
    def call(name: str, kind: str) -> None:
        if kind != "shared_memory" and tracker._fd is not None:  # noqa: SLF001 - `getfd` starts it
            function(name, kind)

    return call
