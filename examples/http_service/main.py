"""An HTTP service that decodes what strangers upload, with a native library that has a bug.

    main.py                 a short demonstration: it serves itself, and asks itself
    main.py serve [port]    serves until it is stopped

    POST /picture           the body is a picture; answers with its mean grey
    GET /metrics            for Prometheus

The decoder is compiled from picture.c with cc. It runs in worker processes, as uploads are not to
be trusted: a picture that crashes it gets a 500 of its own, and no other request notices.

Needs aiohttp and the extra `metrics`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import struct
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

import aionif
from aionif.telemetry import top
from aionif.telemetry.metrics import NifCollector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HERE = Path(__file__).parent
CDEF = "long mean_grey(const unsigned char *file, size_t length);"

LARGEST = 1 << 20  # bytes of an upload
DEADLINE = 5.0  # seconds
MOST_WAITING = 256  # requests; further ones are told to come back later

EXECUTOR = web.AppKey("EXECUTOR", aionif.NifExecutor)
LIBRARY = web.AppKey("LIBRARY", aionif.NifLibrary)
REGISTRY = web.AppKey("REGISTRY", CollectorRegistry)


def build(directory: Path) -> aionif.NifLibrary:
    """Compile picture.c into `directory` and load it."""
    library = directory / "libpicture.so"
    command = ["cc", "-O2", "-g", "-shared", "-fPIC", str(HERE / "picture.c"), "-o", str(library)]
    subprocess.run(command, check=True)
    return aionif.load(library, CDEF)


async def picture(request: web.Request) -> web.Response:
    """Decode the body."""
    body = await request.read()
    executor, library = request.app[EXECUTOR], request.app[LIBRARY]
    try:
        grey = await executor.execute_nif(library.mean_grey, body, len(body), timeout=DEADLINE)
    except aionif.NifTimeout:
        return web.json_response({"error": "it takes too long"}, status=503)
    except aionif.NifRejected:
        return web.json_response({"error": "too busy"}, status=503, headers={"Retry-After": "1"})
    except aionif.NifError as error:
        return web.json_response({"error": type(error).__name__}, status=500)
    if grey < 0:
        return web.json_response({"error": "not a picture"}, status=400)
    return web.json_response({"mean": grey / 1000})


async def metrics(request: web.Request) -> web.Response:
    """Answer a scrape of Prometheus."""
    text = generate_latest(request.app[REGISTRY])
    return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})


async def _resources(app: web.Application) -> AsyncIterator[None]:
    registry = app[REGISTRY] = CollectorRegistry()
    registry.register(NifCollector())
    with tempfile.TemporaryDirectory() as directory:
        app[LIBRARY] = build(Path(directory))
        async with aionif.NifExecutor(
            isolation="process",
            name="pictures",
            max_workers=2,
            max_queue=MOST_WAITING,
            on_full="reject",
        ) as app[EXECUTOR]:
            yield


def make_app() -> web.Application:
    """Return the service."""
    app = web.Application(client_max_size=LARGEST)
    app.router.add_post("/picture", picture)
    app.router.add_get("/metrics", metrics)
    app.cleanup_ctx.append(_resources)
    return app


@asynccontextmanager
async def serving(port: int = 0) -> AsyncIterator[str]:
    """Serve on the loopback interface; yields the address. port 0: any that is free."""
    runner = web.AppRunner(make_app())
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", port)
        await site.start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


# ---- the demonstration ----


def grey_picture(grey: int, *, offset: int = 16) -> bytes:
    """Return a picture of one grey, 16 times 16; with another offset, one that crashes."""
    return b"PIC1" + struct.pack("<III", 16, 16, offset) + bytes((128, grey)) * 2


async def demonstrate() -> None:
    """Send good pictures, garbage and malicious ones, all at once."""
    uploads = {
        "good": grey_picture(200),
        "garbage": b"GIF89a, or so it says",
        "malicious": grey_picture(200, offset=0x7FFF_FFF0),
    }
    async with serving() as address, aiohttp.ClientSession(address) as client:

        async def send(body: bytes) -> str:
            async with client.post("/picture", data=body) as response:
                return f"{response.status} {await response.text()}"

        names = [*uploads] * 5
        answers = await asyncio.gather(*(send(uploads[name]) for name in names))
        for name in uploads:
            [answer] = {given for of, given in zip(names, answers, strict=True) if of == name}
            print(f"5 times {name}: {answer}")
        async with client.get("/metrics") as response:
            for line in (await response.text()).splitlines():
                if line.startswith(("aionif_calls_total", "aionif_crashes_total")):
                    print(line)


async def _serve(port: int) -> None:
    async with serving(port) as address:
        with top.allow():  # for `aionif top`
            print(f"process {os.getpid()} is serving on {address}", flush=True)
            await asyncio.Event().wait()


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(_serve(int(sys.argv[2]) if len(sys.argv) > 2 else 8080))  # noqa: PLR2004
    else:
        logging.getLogger("aionif").setLevel(logging.ERROR)  # the log has these crashes too
        asyncio.run(demonstrate())
