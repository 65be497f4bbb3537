"""The context variables of a task, as far as they can go along to a worker process.

A variable is found there if it is a global of a module that can be imported there, and its value
goes along if pickle can copy it. All others stay behind: a framework's request or a connection in
a variable is no reason to refuse a call that has nothing to do with it.
"""

from __future__ import annotations

import contextvars
import pickle
import sys
from typing import Any

from aionif.log import debug

__all__ = ("context",)

_NOT_CARRIED = frozenset({"sniffio", "anyio", "trio", "asyncio", "decimal", "aionif"})
_places: dict[contextvars.ContextVar[Any], tuple[str, str] | None] = {}
_said: set[contextvars.ContextVar[Any]] = set()


def context() -> list[tuple[str, str, bytes]]:
    """Return module, name and pickled value of each variable of this task that can travel."""
    carried = []
    for variable, value in contextvars.copy_context().items():
        if variable not in _places:
            _places[variable] = _place_of(variable)
        place = _places[variable]
        if place is None:
            continue
        try:
            carried.append((*place, pickle.dumps(value, 5)))
        except Exception as problem:  # noqa: BLE001 - pickling runs anybody's code
            _tell(variable, place, problem)
    return carried


def _tell(
    variable: contextvars.ContextVar[Any], place: tuple[str, str], problem: Exception
) -> None:
    if variable not in _said:
        _said.add(variable)
        debug(
            "context_variable_left_out",
            variable=".".join(place),
            problem=f"{type(problem).__name__}: {problem}",
        )


def _place_of(variable: contextvars.ContextVar[Any]) -> tuple[str, str] | None:
    for module, content in list(sys.modules.items()):
        if module.partition(".")[0] in _NOT_CARRIED or module == "__main__":
            continue
        for name, value in list(getattr(content, "__dict__", {}).items()):
            if value is variable:
                return module, name
    return None
