"""The HTTP service of examples/: requests that crash get a 500 of their own, others don't notice.

A real client over real sockets; one request in ten crashes the decoder.
"""

from __future__ import annotations

import asyncio
import importlib.util
import sys
from collections import Counter
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support import run_child, run_on

PATH = Path(__file__).parents[1] / "examples/http_service/main.py"
CLIENTS = 10
REQUESTS = 100  # of each client


@pytest.fixture(scope="module")
def service() -> Any:
    return load_service()


def load_service() -> Any:
    spec = importlib.util.spec_from_file_location("http_service", PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["http_service"] = module
    spec.loader.exec_module(module)
    return module


async def read_metrics(client: aiohttp.ClientSession) -> Counter[tuple[str, str]]:
    """Return samples by name and by the one label that tells them apart here."""
    async with client.get("/metrics") as response:
        assert response.status == 200
        text = await response.text()
    found: Counter[tuple[str, str]] = Counter()
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.labels.get("pool", "pictures") == "pictures":
                label = sample.labels.get("outcome") or sample.labels.get("signal") or ""
                found[sample.name, label] += int(sample.value)
    return found


@pytest.mark.parametrize("backend", ["asyncio", "uvloop"])
def test_only_requests_that_crash_fail(backend: str) -> None:
    """In a process of its own: libuv's threads, once started, break fork() for good."""
    done = run_child(make_requests, backend)
    assert done.returncode == 0, done.stderr


def make_requests(backend: str) -> None:
    service = load_service()
    good = service.grey_picture(77)
    bad = service.grey_picture(77, offset=0x7FFF_FFF0)
    answers: Counter[tuple[bool, int]] = Counter()

    async def client_of(client: aiohttp.ClientSession, number: int) -> None:
        for turn in range(REQUESTS):
            is_bad = (turn + number) % 10 == 0
            async with client.post("/picture", data=bad if is_bad else good) as response:
                answers[is_bad, response.status] += 1
                answer = await response.json()
                assert is_bad or answer == {"mean": 77.0}

    async def main() -> None:
        async with service.serving() as address, aiohttp.ClientSession(address) as client:
            before = await read_metrics(client)
            await asyncio.gather(*(client_of(client, number) for number in range(CLIENTS)))
            counts = await read_metrics(client) - before
        total = CLIENTS * REQUESTS
        assert answers == {(False, 200): total * 9 // 10, (True, 500): total // 10}
        assert counts["aionif_calls_total", "returned"] == total * 9 // 10
        assert counts["aionif_calls_total", "crashed"] == total // 10
        assert counts["aionif_crashes_total", "SIGSEGV"] == total // 10
        assert counts["aionif_call_duration_seconds_count", ""] == total

    run_on(backend, main)


def test_what_is_refused(service: Any) -> None:
    async def status(client: aiohttp.ClientSession, body: bytes | BytesIO) -> int:
        async with client.post("/picture", data=body) as response:
            return response.status

    async def main() -> None:
        async with service.serving() as address, aiohttp.ClientSession(address) as client:
            assert await status(client, b"") == 400
            assert await status(client, b"not a picture, but long enough for one") == 400
            assert await status(client, BytesIO(bytes(service.LARGEST + 1))) == 413
            assert await status(client, service.grey_picture(1)) == 200

    run_on("asyncio", main)
