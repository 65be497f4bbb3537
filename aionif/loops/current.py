"""The port of the event loop that runs in this thread: found, made, given back."""

from __future__ import annotations

import asyncio
import sys
from asyncio import _get_running_loop  # None where none runs: cheap
from typing import TYPE_CHECKING, Any

from aionif.loops.on_asyncio import AsyncioPort
from aionif.loops.port import local, orphans

if TYPE_CHECKING:
    from aionif.loops.port import Port

__all__ = ("current_port", "forget_all", "leave", "local")

_ports: dict[Any, Port] = {}  # by loop, or by trio's token


def current_port() -> Port:
    """Return the port of the running loop, bound to the calling thread.

    Raises:
        RuntimeError: no event loop runs in this thread.
    """
    key = _get_running_loop() or _trio_token()
    if key is None:
        raise RuntimeError(
            "execute_nif must be awaited inside asyncio or trio; use call_nif outside"
        )
    port = local.port
    if port is None or port.loop is not key or not port.handle:
        port = _ports.get(key) or _new_port(key)
        port.bind_thread()
    return port


def _new_port(key: Any) -> Port:
    _sweep()
    if isinstance(key, asyncio.AbstractEventLoop):
        port: Port = AsyncioPort(key)
    else:
        from aionif.loops.on_trio import TrioPort  # noqa: PLC0415 - only where trio runs

        port = TrioPort(key)
    _ports[key] = port
    return port


def _sweep() -> None:
    """Close what belongs to loops that were closed without finalising async generators."""
    for port in [port for port in _ports.values() if port.is_over()]:
        if port.default is not None:
            port.default.close_now()


def _trio_token() -> Any:
    trio = sys.modules.get("trio")
    if trio is None or not trio.lowlevel.in_trio_run():
        return None
    return trio.lowlevel.current_trio_token()


def forget_all() -> None:
    """In the child of a fork: the ports, and their waiting tasks, are the parent's."""
    _ports.clear()
    orphans.clear()
    local.port = None


def leave(port: Port) -> None:
    """Undo one use of a port; in its thread, or with its loop closed for good."""
    if not port.is_over():
        port.drain_all()  # what came last: calls that were dropped, arguments to let go of, notices
    port.users -= 1
    if port.users == 0 and _ports.get(port.loop) is port:
        del _ports[port.loop]
        port.close()
