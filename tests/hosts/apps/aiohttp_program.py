"""A program with aiohttp's server in it: GET /<tier>/<what>, at the path that it is given."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import work
from aiohttp import web

import aionif

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PROCESSES = web.AppKey("processes", aionif.NifExecutor)


async def _processes(application: web.Application) -> AsyncIterator[None]:
    async with aionif.NifExecutor(isolation="process", max_workers=2) as executor:
        application[PROCESSES] = executor
        yield


async def _answer(request: web.Request) -> web.Response:
    in_process = request.match_info["tier"] == "process"
    executor = request.app[PROCESSES] if in_process else None
    return web.json_response(await work.answer(executor, request.match_info["what"]))


if __name__ == "__main__":
    program = web.Application()
    program.cleanup_ctx.append(_processes)
    program.router.add_get("/{tier}/{what}", _answer)
    web.run_app(program, path=sys.argv[1])
