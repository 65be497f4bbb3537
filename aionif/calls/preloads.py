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
    from collections.abc import Callable, Iterable

    from aionif.sandbox import Sandbox

__all__ = ("Preloads",)

_PLAIN = frozenset((int, float, complex, bool, str, bytes, bytearray, type(None)))
_NAMED = (FunctionType, BuiltinFunctionType, type)
_WHOLE = frozenset(_NAMED)
_FIRST = 8  # of a container's items
_MOST = 64  # things that one call has looked at


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
        for each in objects:
            if type(each) not in _PLAIN:
                self._look(objects)
                break

    def _look(self, objects: tuple[Any, ...]) -> None:
        """Each call does this, so it is one loop, over no more than it may look at."""
        before = len(self.names)
        parts: Iterable[Any]
        parts, things = objects, []
        for turn in range(_MOST):
            for part in parts:
                if type(part) not in _PLAIN:
                    things.append(part)  # noqa: PERF401 - a generator takes twice the time
            if turn == len(things):
                break
            each = things[turn]
            kind = type(each)
            if kind is list or kind is tuple:
                parts = each[:_FIRST]
            elif kind is dict:
                parts = (*islice(each, _FIRST), *islice(each.values(), _FIRST))
            else:
                self._note(_module_of(each))
                parts = _parts_of(each)
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


def _module_of(value: Any) -> str:
    named = value if isinstance(value, _NAMED) else type(value)
    return named.__module__ or "builtins"


def _parts_of(value: Any) -> Iterable[Any]:
    if type(value) in _WHOLE:
        return ()
    if isinstance(value, dict):
        return (*islice(value, _FIRST), *islice(value.values(), _FIRST))
    if isinstance(value, (list, tuple, set, frozenset)):
        return islice(value, _FIRST)
    if isinstance(value, partial):
        return value.func, value.args, value.keywords
    if isinstance(value, MethodType):
        return value.__func__, value.__self__
    return ()
