"""Which modules the workers of a sandbox are to import, as calls show them."""

from __future__ import annotations

import sys
from functools import partial
from types import ModuleType
from typing import Any

import pytest

from aionif import Sandbox
from aionif.calls.preloads import Preloads

NAME = "of_the_program"


class Thing:
    """Something that the program defines."""

    def method(self) -> None:
        """Do nothing."""


@pytest.fixture
def thing(monkeypatch: pytest.MonkeyPatch) -> Thing:
    module = ModuleType(NAME)
    module.__file__ = "/nowhere/of_the_program.py"
    monkeypatch.setitem(sys.modules, NAME, module)
    monkeypatch.setattr(Thing, "__module__", NAME)
    monkeypatch.setattr(Thing.method, "__module__", NAME)
    return Thing()


def needed(*objects: Any) -> tuple[list[str], int]:
    """Return what is to be imported for these, and how often workers were renewed for it."""
    renewals: list[int] = []
    preloads = Preloads(Sandbox.python(), ("named",), lambda: renewals.append(1))
    for _ in range(2):
        preloads.need(*objects)
    return preloads.names, len(renewals)


def test_modules_of_callables_and_arguments(thing: Thing) -> None:
    ways: list[Any] = [
        thing,
        Thing,
        thing.method,
        partial(print, thing),
        partial(print, end=thing),
        partial(thing.method),
        [1, thing],
        ("a", [{"b": {"c": thing}}]),
        {thing: 1},
        {thing},
    ]
    for way in ways:
        assert needed(1, way) == ([NAME], 1), way


def test_what_is_plain_or_at_hand_needs_none(thing: Thing) -> None:
    assert needed(print, partial, 1, "a", [1, {"b": (2.0, None)}], sys.version_info) == ([], 0)
    assert needed([*range(100), thing]) == ([], 0), "no more than the beginning is looked at"


def test_what_has_no_end_is_looked_at_for_a_while(thing: Thing) -> None:
    endless: list[Any] = []
    endless.extend([endless] * 8)
    assert needed(endless) == ([], 0)
    assert needed(endless, thing) == ([NAME], 1)
    deep: Any = thing
    for _ in range(1000):
        deep = [deep]
    assert needed(deep) == ([], 0)
