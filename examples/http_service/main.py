"""An HTTP service that decodes what strangers upload, with a native library that has a bug.

    main.py                 a short demonstration: it serves itself, and asks itself
    main.py serve [port]    serves until SIGTERM or SIGINT, then ends what it has begun
    load.py                 puts it under load, and compares latencies with and without crashes

    POST /picture           the body is a picture; answers with its mean grey
    GET /metrics            for Prometheus

The decoder is compiled from picture.c with cc. It runs in worker processes, as uploads are not to
be trusted: a picture that crashes it gets a 500 of its own, and no other request notices.

The parts of the service are children of a supervisor, started in this order and stopped in the
opposite one, "rest_for_one": a part that fails takes along those started after it, which rely on
it. The end is graceful by that order: first no request is accepted any more and those under way
are answered, then the decoder's workers go.

Needs aiohttp and the extra `metrics`.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import struct
import subprocess
import sys
import tempfile
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import anyio
from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

import aionif
from aionif.telemetry import top
from aionif.telemetry.metrics import NifCollector

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from anyio.abc import TaskStatus

HERE = Path(__file__).parent
CDEF = "long mean_grey(const unsigned char *file, size_t length);"

LARGEST = 1 << 20  # bytes of an upload
DEADLINE = 5.0  # seconds for one picture
GRACE = 10.0  # seconds that requests under way have when the service ends
REPORTED = 60.0  # seconds between two lines about what was done

# A crash takes a worker process with it. A spare stands ready for the next call, and its successor
# is forked some milliseconds later. Workers are started where calls meet, so there are mostly one
# and the spare; four at the most let a burst through in which several calls crash.
WORKERS = 4
MOST_WAITING = 256  # requests; further ones are told to come back later

# Strangers will crash the decoder, a few times a second if they like. Should it crash on nearly
# everything, as after a bad deployment, a pause costs less than starting workers without end.
POLICY = aionif.NifPolicy(
    breaker=aionif.NifBreaker(max_crashes=3000, max_seconds=60, hold_seconds=5)
)


def build(directory: Path) -> aionif.NifLibrary:
    """Compile picture.c into `directory` and load it."""
    library = directory / "libpicture.so"
    command = ["cc", "-O2", "-g", "-shared", "-fPIC", str(HERE / "picture.c"), "-o", str(library)]
    subprocess.run(command, check=True)
    return aionif.load(library, CDEF)


class Service:
    """The parts of the service; each is a child of the supervisor."""

    def __init__(self, library: aionif.NifLibrary, port: int) -> None:
        self.port = port
        self._library = library
        self._executor: aionif.NifExecutor | None = None
        self._registry = CollectorRegistry()
        self._registry.register(NifCollector())

    def supervisor(self) -> aionif.NifSupervisor:
        """Return the supervisor of all parts."""
        grace = 2 * GRACE  # the runner waits GRACE seconds for requests, and then cancels them
        parts = [
            aionif.ChildSpec(id="decoder", start=self.keep_decoder),
            aionif.ChildSpec(id="web", start=self.serve_web, shutdown=grace),
            aionif.ChildSpec(id="reporter", start=self.report),
        ]
        return aionif.NifSupervisor(parts, strategy="rest_for_one", name="http_service")

    # ---- its parts ----

    async def keep_decoder(self, *, task_status: TaskStatus[None]) -> None:
        """Keep the worker processes."""
        async with aionif.NifExecutor(
            isolation="process",
            name="pictures",
            max_workers=WORKERS,
            max_queue=MOST_WAITING,
            on_full="reject",
            policy=POLICY,
        ) as self._executor:
            task_status.started()
            await anyio.sleep_forever()

    async def serve_web(self, *, task_status: TaskStatus[None]) -> None:
        """Answer requests on the loopback interface."""
        app = web.Application(client_max_size=LARGEST)
        app.router.add_post("/picture", self.picture)
        app.router.add_get("/metrics", self.metrics)
        runner = web.AppRunner(app, shutdown_timeout=GRACE)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", self.port).start()
            self.port = runner.addresses[0][1]  # and the same one after a restart
            task_status.started()
            await anyio.sleep_forever()
        finally:
            with aionif.shutdown_scope():
                await runner.cleanup()

    async def report(self) -> None:
        """Print what was done, from time to time."""
        while self._executor is not None:
            await anyio.sleep(REPORTED)
            counts = self._executor.statistics()
            print(f"pictures: {counts.returned} decoded, {counts.failed} crashed", flush=True)

    # ---- requests ----

    async def picture(self, request: web.Request) -> web.Response:
        """Decode the body."""
        body = await request.read()
        try:
            grey = await self._decode(body)
        except aionif.NifTimeout:
            return web.json_response({"error": "it takes too long"}, status=503)
        except aionif.NifRejected as error:
            seconds = str(int(error.retry_after or 0) + 1)
            headers = {"Retry-After": seconds}
            return web.json_response({"error": "too busy"}, status=503, headers=headers)
        except aionif.NifError as error:
            return web.json_response({"error": type(error).__name__}, status=500)
        if grey < 0:
            return web.json_response({"error": "not a picture"}, status=400)
        return web.json_response({"mean": grey / 1000})

    async def _decode(self, body: bytes) -> Any:
        if self._executor is None:
            raise aionif.NifClosed(resource="executor")
        function = self._library.mean_grey
        return await self._executor.execute_nif(function, body, len(body), timeout=DEADLINE)

    async def metrics(self, _request: web.Request) -> web.Response:
        """Answer a scrape of Prometheus."""
        text = generate_latest(self._registry)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})


@asynccontextmanager
async def serving(port: int = 0) -> AsyncIterator[str]:
    """Serve on the loopback interface; yields the address. port 0: any that is free."""
    with tempfile.TemporaryDirectory() as directory:
        service = Service(build(Path(directory)), port)
        async with service.supervisor():
            yield f"http://127.0.0.1:{service.port}"


async def serve(port: int) -> None:
    """Serve until a signal says to end."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        async with serving(port) as address:
            with top.allow():  # for `aionif top`
                print(f"process {os.getpid()} is serving on {address}", flush=True)
                await anext(signals)
                print("ending", flush=True)
    print("ended", flush=True)


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


if __name__ == "__main__":
    logging.getLogger("aionif").setLevel(logging.ERROR)  # each crash would have its line
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(serve(int(sys.argv[2]) if len(sys.argv) > 2 else 8080))  # noqa: PLR2004
    else:
        asyncio.run(demonstrate())
