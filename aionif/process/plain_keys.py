"""Keys of plain data, and members of sets: those that hash alike are compared, which may take long.

Everybody knows how numbers hash, so there can be any number of them with one hash, and of tuples
and frozensets of them. Of two frozensets that hash alike, each member is compared with each that
hashes like it, so comparing them may take the square of their sizes. Text hashes by a secret.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aionif.process.plain import AT_ONCE

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ("in_pieces", "work_of")

_HASH_SECRETLY = {str, bytes}


def work_of(keys: list[Any]) -> int:
    """Return a bound of the comparisons that it takes to tell those apart that hash alike."""
    if len(keys) < 2:  # noqa: PLR2004 - a pair
        return 0
    kinds: set[type] = set()
    for some in in_pieces(keys):
        kinds.update(map(type, some))
    if kinds <= _HASH_SECRETLY:
        return 0
    hashes: set[int] = set()
    for some in in_pieces(keys):
        hashes.update(map(hash, some))
    return 0 if len(hashes) == len(keys) else _comparisons(keys)


def _comparisons(keys: list[Any]) -> int:
    work = 0
    seen: dict[int, int] = {}
    for key in keys:
        number = hash(key)
        before = seen.get(number, 0)
        seen[number] = before + 1
        if before:
            work += before * _weight(key) ** 2
    return work


def in_pieces(items: list[Any]) -> Iterable[list[Any]]:
    """Return items in pieces that one step can deal with."""
    if len(items) <= AT_ONCE:
        return (items,)
    return (items[start : start + AT_ONCE] for start in range(0, len(items), AT_ONCE))


def _weight(key: Any) -> int:
    """Return how much of a key can be compared with another."""
    weight, todo = 0, [key]
    while todo:
        each = todo.pop()
        kind = type(each)
        weight += 1
        if kind is tuple or kind is frozenset:
            todo += each
        elif kind is int:
            weight += each.bit_length() >> 6
        elif kind is str or kind is bytes:
            weight += len(each) >> 3
    return weight
