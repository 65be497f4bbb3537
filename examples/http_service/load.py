"""Put the service under load: do requests notice that others crash their decoder?

    load.py [--seconds 60] [--rate 100] [--crashing 0.1]

Starts the service as a process of its own and sends it two loads in turn, a few seconds of each at
a time, so that whatever else the machine does meets both: one without crashes, and the same one
with a part of the requests crashing the decoder. Arrivals don't wait for answers (an open loop):
they come at times drawn beforehand, as from independent clients, and a latency counts from there.

Prints the latencies of the requests that crash in neither load, and whether answers and the
service's /metrics agree. The exit status is 1 if a request got another answer than it should.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import threading
import time
from collections import Counter
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

SERVICE = Path(__file__).with_name("main.py")
SLICE = 5.0  # seconds of one load before the other one has its turn
HEAD_START = 0.05  # seconds before the first arrival
PATIENCE = 30.0  # seconds for an answer

GOOD = b"PIC1" + bytes.fromhex("10000000 10000000 10000000") + bytes((128, 77)) * 2
BAD = b"PIC1" + bytes.fromhex("10000000 10000000 f0ffff7f") + bytes((128, 77)) * 2


@dataclass
class Load:
    """What one of the two loads has met so far.

    latencies: in seconds, of the requests that crash in neither load.
    answers: by whether the request was to crash, and the status of its answer; 0 for none.
    counted: what /metrics says of these calls, by outcome.
    """

    latencies: list[float] = field(default_factory=list)
    answers: Counter[tuple[bool, int]] = field(default_factory=Counter)
    counted: Counter[str] = field(default_factory=Counter)

    def percentile(self, part: float) -> float:
        """Return a latency, in milliseconds."""
        ordered = sorted(self.latencies)
        return ordered[min(int(part * len(ordered)), len(ordered) - 1)] * 1000

    def is_right(self) -> bool:
        """Whether each request got its answer, and each was counted once under what it did."""
        good, bad = self.answers[False, 200], self.answers[True, 500]
        expected = {"returned": good, "crashed": bad}
        counted = {outcome: count for outcome, count in self.counted.items() if count}
        return good + bad == self.answers.total() and counted == {
            outcome: count for outcome, count in expected.items() if count
        }


async def send_slice(
    client: aiohttp.ClientSession, load: Load, schedule: list[tuple[float, bool]], *, crashes: bool
) -> None:
    """Send requests at the times of a schedule; `crashes`: those marked in it crash."""
    before = await read_counts(client)
    start = time.monotonic() + HEAD_START
    requests: list[asyncio.Task[None]] = []

    async def send(due: float, *, is_marked: bool) -> None:
        is_bad = is_marked and crashes
        status = 0
        try:
            async with client.post("/picture", data=BAD if is_bad else GOOD) as response:
                await response.read()
                status = response.status
        except (aiohttp.ClientError, TimeoutError) as problem:
            print(f"no answer: {problem!r}", file=sys.stderr)
        load.answers[is_bad, status] += 1
        if not is_marked:
            load.latencies.append(time.monotonic() - due)

    def arrive(due: float, is_marked: bool) -> None:  # noqa: FBT001 - for call_soon_threadsafe
        requests.append(loop.create_task(send(due, is_marked=is_marked)))

    def keep_time() -> None:  # the loop's own timers are rounded to milliseconds
        for at, is_marked in schedule:
            time.sleep(max(start + at - time.monotonic(), 0))
            loop.call_soon_threadsafe(arrive, start + at, is_marked)
        loop.call_soon_threadsafe(all_sent.set)

    loop, all_sent = asyncio.get_running_loop(), asyncio.Event()
    pacemaker = threading.Thread(target=keep_time, daemon=True)
    pacemaker.start()
    await all_sent.wait()
    pacemaker.join()
    await asyncio.gather(*requests)
    load.counted += await read_counts(client) - before


async def read_counts(client: aiohttp.ClientSession) -> Counter[str]:
    """Return how many calls of the decoder have ended, by outcome."""
    async with client.get("/metrics") as response:
        families = text_string_to_metric_families(await response.text())
    found: Counter[str] = Counter()
    for family in families:
        for sample in family.samples:
            if sample.name == "aionif_calls_total":
                found[sample.labels["outcome"]] += int(sample.value)
    return found


@asynccontextmanager
async def service() -> AsyncIterator[str]:
    """Run the service as a process; yields its address."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, SERVICE, "serve", "0", stdout=asyncio.subprocess.PIPE
    )
    try:
        assert process.stdout is not None  # noqa: S101 - it is a pipe
        line = (await process.stdout.readline()).decode()
        print(line.strip(), flush=True)
        yield line.split()[-1]
    finally:
        process.send_signal(signal.SIGTERM)
        await process.wait()


async def compare(address: str, seconds: float, rate: float, crashing: float) -> tuple[Load, Load]:
    """Send both loads for `seconds` each; return what they met: without crashes, and with."""
    calm, rough = Load(), Load()
    draw = random.Random(1)
    timeout = aiohttp.ClientTimeout(PATIENCE)
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(address, timeout=timeout, connector=connector) as client:
        await send_slice(client, Load(), [(n / 100, False) for n in range(50)], crashes=False)
        left, turn = seconds, 0
        while left > 0:
            schedule, at = [], 0.0
            while (at := at + draw.expovariate(rate)) < min(left, SLICE):
                schedule.append((at, draw.random() < crashing))
            for load in (calm, rough) if turn % 2 else (rough, calm):
                await send_slice(client, load, schedule, crashes=load is rough)
            left, turn = left - SLICE, turn + 1
    return calm, rough


def describe(name: str, load: Load) -> str:
    """Return a line of what a load met."""
    times = "   ".join(f"p{part} {load.percentile(part / 100):6.2f} ms" for part in (50, 90, 99))
    crashed = load.answers[True, 500]
    healthy = load.answers.total() - sum(n for (bad, _), n in load.answers.items() if bad)
    return f"{name:16} {healthy:6} healthy   {crashed:5} crashed   {times}"


async def main() -> int:
    """Run, and print what came of it."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60.0, help="of each load")
    parser.add_argument("--rate", type=float, default=100.0, help="requests a second")
    parser.add_argument("--crashing", type=float, default=0.1, help="part of the requests")
    options = parser.parse_args()
    async with service() as address:
        calm, rough = await compare(address, options.seconds, options.rate, options.crashing)
    print(describe("without crashes", calm))
    print(describe("with crashes", rough))
    ratio = rough.percentile(0.99) / calm.percentile(0.99)
    print(f"p99 of the healthy, with crashes over without: {ratio:.2f}")
    for name, load in (("without crashes", calm), ("with crashes", rough)):
        counted = ", ".join(f"{count} {outcome}" for outcome, count in load.counted.items())
        verdict = "right" if load.is_right() else f"wrong: the answers were {dict(load.answers)}"
        print(f"{name}: /metrics has {counted}, which is {verdict}")
    return 0 if calm.is_right() and rough.is_right() else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
