"""An ASGI application without a framework: GET /<tier>/<what>. Its executor lives as it does."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import work

import aionif

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

processes: aionif.NifExecutor | None = None


async def application(
    scope: dict[str, Any],
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    if scope["type"] == "lifespan":
        await _live(receive, send)
        return
    tier, what = scope["path"].strip("/").split("/")
    body = json.dumps(await work.answer(processes if tier == "process" else None, what)).encode()
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def _live(
    receive: Callable[[], Awaitable[dict[str, Any]]],
    send: Callable[[dict[str, Any]], Awaitable[None]],
) -> None:
    global processes
    await receive()
    async with aionif.NifExecutor(isolation="process", max_workers=2) as processes:
        await send({"type": "lifespan.startup.complete"})
        await receive()
    await send({"type": "lifespan.shutdown.complete"})
