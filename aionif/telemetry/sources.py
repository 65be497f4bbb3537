"""What telemetry looks at in rooms above it, which it must not import: they put it here.

caller: the class whose `execute_nif` tracing replaces. call_times: seconds that the last call of
this thread waited and ran; None where it ran inline. supervision_tree: the supervisors that run,
as plain data.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("call_times", "caller", "supervision_tree")


def _no_times() -> None:
    return None


caller: Any = None
call_times: Callable[[], tuple[float, float] | None] = _no_times
supervision_tree: Callable[[], list[dict[str, Any]]] = list
