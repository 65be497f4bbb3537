"""The HTTP service of examples/: requests that crash get a 500 of their own, others don't notice.

A real client over real sockets; one request in ten crashes the decoder.
"""

from __future__ import annotations

import asyncio
import importlib.util
import socket
import subprocess
import sys
from collections import Counter
from contextlib import suppress
from io import BytesIO
from pathlib import Path
from typing import Any, Self

import aiohttp
import pytest
from prometheus_client.parser import text_string_to_metric_families

from aionif.supervision.supervisor import running
from tests.support import DEADLINE, run_child, run_on
from tests.support.supervising import states

EXAMPLE = Path(__file__).parents[2] / "examples/http_service"
PATH = EXAMPLE / "main.py"
CLIENTS = 10
REQUESTS = 100  # of each client


@pytest.fixture(scope="module")
def service() -> Any:
    return load_service()


def load_service(name: str = "main") -> Any:
    """Return a script of the example as a module."""
    spec = importlib.util.spec_from_file_location(f"http_{name}", EXAMPLE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[f"http_{name}"] = module
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


# ---- under load ----


def test_the_load_finds_answers_and_counts_right() -> None:
    """A short one, of which nothing but the counts is looked at."""
    load = load_service("load")

    async def main() -> None:
        async with load.service() as address:
            calm, rough = await load.compare(address, seconds=1.0, rate=100.0, crashing=0.2)
        assert calm.is_right()
        assert rough.is_right()
        assert not calm.answers[True, 500]
        assert rough.answers[True, 500] > 5
        assert rough.counted["crashed"] == rough.answers[True, 500]
        assert calm.answers.total() == rough.answers.total()
        assert len(calm.latencies) == len(rough.latencies) == rough.answers[False, 200]

    run_on("asyncio", main)


@pytest.mark.parametrize(
    ("answers", "counted"),
    [
        ({(False, 200): 9, (True, 500): 1}, {"returned": 9}),
        ({(False, 200): 9, (True, 500): 1}, {"returned": 9, "crashed": 1, "rejected": 1}),
        ({(False, 200): 8, (False, 503): 1, (True, 500): 1}, {"returned": 8, "crashed": 1}),
        ({(False, 200): 9, (False, 0): 1}, {"returned": 9}),
    ],
)
def test_the_load_tells_of_what_is_wrong(
    answers: dict[tuple[bool, int], int], counted: dict[str, int]
) -> None:
    load = load_service("load").Load(answers=Counter(answers), counted=Counter(counted))
    assert not load.is_right()


# ---- its parts, and its end ----


class Process:
    """The service as a process, up to its end."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, PATH, "serve", "0"], stdout=subprocess.PIPE, text=True
        )

    def __enter__(self) -> Self:
        self.port = int(self.read_line().rpartition(":")[2])
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(DEADLINE)
        self._stdout.close()

    @property
    def _stdout(self) -> Any:
        return self._process.stdout

    def read_line(self) -> str:
        return str(self._stdout.readline())

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=DEADLINE)

    def terminate(self) -> None:
        self._process.terminate()

    def wait(self) -> int:
        return self._process.wait(DEADLINE)


@pytest.mark.usefixtures("under_deadline")
def test_a_signal_ends_the_service() -> None:
    with Process() as process:
        with process.connect() as idle:
            idle.sendall(b"GET /metrics HTTP/1.1\r\nHost: here\r\n\r\n")
            assert idle.recv(1 << 16).startswith(b"HTTP/1.1 200")
            process.terminate()
            assert process.read_line() == "ending\n"
        assert process.read_line() == "ended\n"
        assert process.wait() == 0
        with pytest.raises(ConnectionRefusedError):
            process.connect()


def test_a_request_under_way_is_answered_before_the_service_ends(
    service: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode = service.Service._decode
    answers: list[tuple[int, Any]] = []

    async def main() -> None:
        begun, goes_on = asyncio.Event(), asyncio.Event()

        async def decode_late(self: Any, body: bytes) -> Any:
            begun.set()
            await goes_on.wait()
            return await decode(self, body)

        async def ask(address: str) -> None:
            async with client.post(f"{address}/picture", data=service.grey_picture(77)) as response:
                answers.append((response.status, await response.json()))

        async def go_on_when_closed(port: int) -> None:
            with suppress(ConnectionRefusedError):
                while True:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                    writer.close()
            goes_on.set()

        monkeypatch.setattr(service.Service, "_decode", decode_late)
        async with (
            aiohttp.ClientSession() as client,
            asyncio.TaskGroup() as tasks,
            service.serving() as address,
        ):
            tasks.create_task(ask(address))
            await begun.wait()
            tasks.create_task(go_on_when_closed(int(address.rpartition(":")[2])))

    run_on("asyncio", main)
    assert answers == [(200, {"mean": 77.0})]


def test_its_parts_are_supervised(service: Any) -> None:
    async def main() -> None:
        async with service.serving() as address, aiohttp.ClientSession(address) as client:
            [supervisor] = [each for each in running() if each.name == "http_service"]
            assert states(supervisor) == dict.fromkeys(("decoder", "web", "reporter"), "running")
            for part in ("reporter", "web", "decoder"):
                await supervisor.terminate_child(part)
            for part in ("decoder", "web", "reporter"):  # at the address that it had
                await supervisor.restart_child(part)
            async with client.post("/picture", data=service.grey_picture(1)) as response:
                assert response.status == 200

    run_on("asyncio", main)
