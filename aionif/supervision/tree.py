"""The supervisors of this process as plain data, for who looks at it from outside.

What is told is bounded, as a supervisor may have a child for each request: of each one the first
few children of both types are listed, and the rest are counted by state.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

from aionif.supervision.supervisor import running
from aionif.telemetry import sources

if TYPE_CHECKING:
    from aionif.supervision.spec import ChildInfo
    from aionif.supervision.supervisor import NifSupervisor

__all__ = ("MOST_LISTED", "MOST_SUPERVISORS", "supervision_tree")

MOST_LISTED = 16  # children of each type, of each supervisor
MOST_SUPERVISORS = 64  # in all
_LONGEST_NAME = 60  # characters

Node = dict[str, Any]


def supervision_tree() -> list[Node]:
    """Return the supervisors that run and are nobody's child; from any thread.

    Each has `name`, `strategy`, `restarts`, `active` and `specs` (children that run, and all),
    `children` and `more`. A child has `id` and `state`, and `supervisor` if it is a running one.
    `more` has the children that are not listed, counted by state.
    """
    supervisors = running()
    inner = {
        id(child.supervisor)
        for supervisor in supervisors
        for child in supervisor.which_children()
        if child.supervisor is not None
    }
    outer = [supervisor for supervisor in supervisors if id(supervisor) not in inner]
    outer.sort(key=lambda supervisor: supervisor.name)
    return _Teller(supervisors).tell_all(outer)


class _Teller:
    """Tells of so many supervisors, and of no more."""

    def __init__(self, supervisors: tuple[NifSupervisor, ...]) -> None:
        self._running = {id(supervisor) for supervisor in supervisors}
        self._left = MOST_SUPERVISORS

    def tell_all(self, outer: list[NifSupervisor]) -> list[Node]:
        return [self._tell(supervisor) for supervisor in outer[:MOST_SUPERVISORS] if self._left]

    def _tell(self, supervisor: NifSupervisor) -> Node:
        self._left -= 1
        children = supervisor.which_children()
        listed: list[Node] = []
        count, more = Counter[str](), Counter[str]()
        for child in children:
            count[child.type] += 1
            if count[child.type] <= MOST_LISTED:
                listed.append(self._tell_child(child))
            else:
                more[child.state] += 1
        return {
            "name": supervisor.name[:_LONGEST_NAME],
            "strategy": supervisor.strategy,
            "restarts": supervisor.restarts,
            "active": sum(child.state == "running" for child in children),
            "specs": len(children),
            "children": listed,
            "more": dict(more),
        }

    def _tell_child(self, child: ChildInfo) -> Node:
        node: Node = {"id": child.id[:_LONGEST_NAME], "state": child.state}
        if child.supervisor is not None and id(child.supervisor) in self._running and self._left:
            node["supervisor"] = self._tell(child.supervisor)
        return node


sources.supervision_tree = supervision_tree
