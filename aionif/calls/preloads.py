"""Which modules the workers of a sandbox import before they are sealed, as calls show them.

A sealed worker may read the standard library and installed packages at the most. What a callable,
or an argument, comes from besides (the program's own modules) is imported before the seal. So when
a call brings a module for the first time, workers that have it take the place of those that do not.

This looks at the callable, at arguments and at what containers begin with. What it does not see, an
import inside of a function for one, is the program's to name: `preload`.
"""

from __future__ import annotations

import sys
from functools import partial
from itertools import islice
from pathlib import Path
from types import BuiltinFunctionType, FunctionType, MethodType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from aionif.sandbox import Sandbox

__all__ = ("Preloads",)

_PLAIN = frozenset((int, float, complex, bool, str, bytes, bytearray, type(None)))
_NAMED = (FunctionType, BuiltinFunctionType, type)
_FIRST = 8  # of a container's items
_DEPTH = 3  # of containers in containers


class Preloads:
    """The modules of one pool.

    named: those that the program has named. renew: told when there are more.
    """

    def __init__(self, sandbox: Sandbox, named: Iterable[str], renew: Callable[[], None]) -> None:
        self.names: list[str] = []
        self._renew = renew
        self._seen = {"builtins", *named}
        # What may be read may be imported later as well.
        self._readable = [Path(path) for path in sandbox.readable]

    def need(self, *objects: Any) -> None:
        """Have the modules of a callable and of its arguments."""
        before = len(self.names)
        for each in objects:
            if type(each) not in _PLAIN:
                for name in _modules_of(each, _DEPTH):
                    self._note(name)
        if len(self.names) > before:
            self._renew()

    def _note(self, name: str) -> None:
        if name not in self._seen:
            self._seen.add(name)
            if not self._is_at_hand(name):
                self.names.append(name)

    def _is_at_hand(self, name: str) -> bool:
        """Whether a sealed worker can import it."""
        file = getattr(sys.modules.get(name), "__file__", None)
        if name == "__main__":
            return False
        if file is None:  # built in, or no module at all
            return True
        return any(Path(file).is_relative_to(path) for path in self._readable)


def _modules_of(value: Any, depth: int) -> Iterator[str]:
    if isinstance(value, partial):
        yield from _modules_of((value.func, value.args, value.keywords), depth)
    elif isinstance(value, MethodType):
        yield from _modules_of((value.__func__, value.__self__), depth)
    elif isinstance(value, _NAMED):
        yield value.__module__ or "builtins"
    else:
        yield type(value).__module__
    if depth and isinstance(value, (list, tuple, set, frozenset, dict)):
        items = value.items() if isinstance(value, dict) else value
        for item in islice(items, _FIRST):
            if type(item) not in _PLAIN:
                yield from _modules_of(item, depth - 1)
