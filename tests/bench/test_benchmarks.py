"""The benchmarks run. What they measure is not asserted: no test here depends on the clock."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# The targets of the project, as the table has to list them: a part of the row's name, and bound.
TARGETS = {
    "guarded call less": 10.0,
    "over a bare handler": 1.5,
    "recovered with a backtrace": 10.0,
    "call_nif over": 3.0,
    "worker awake": 40.0,
    "parked each time": 1.5,
    "1,000 at once: faster": 6.0,
    "1,000 at once: over": 1.15,
    "1,000 arrivals/s: p50, better": 3.0,
    "1,000 arrivals/s: p99": 2.0,
    "1,000 arrivals/s: CPU": 1.0,
    "10,000 arrivals/s: p50, better": 3.0,
    "10,000 arrivals/s: p99": 2.0,
    "10,000 arrivals/s: CPU": 1.0,
    "in flight: cost a call": 1.3,
    "in flight: bytes each": 1024.0,
    "a crash every call": 20_000.0,
    "1 ms ticker": 2.0,
    "native calls in turn: faster than ProcessPoolExecutor": 80.0,
    "native calls in turn: faster than anyio": 25.0,
    "native calls in turn: over": 1.5,
    "Python calls in turn: faster than ProcessPoolExecutor": 10.0,
    "Python calls in turn: faster than anyio": 4.0,
    "1,000 native calls at once: faster": 20.0,
    "1,000 native calls at once: over": 1.2,
    "8 MB in an aionif.Buffer": 1000.0,
    "8 MB of bytes": 10.0,
    "killed to the next result": 1.0,
    "memory a worker adds to the zygote's: native": 3.0,
    "a number as plain data": 1.0,
    "8 MB returned again and again: worst": 20.0,
    "native calls in turn: over an unsealed": 1.1,
    "a hostile worker, its bell": 20.0,
    "a hostile worker, its stderr": 20.0,
    "a hostile worker, large replies": 20.0,
    "a hostile worker, stopping itself": 20.0,
    "a hostile worker, forged reports": 20.0,
    "supervised start and end": 2.0,
    "metrics, log handlers and a breaker": 1.03,
}


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    # From the checkout, which is not on the path otherwise: `benchmarks` is not installed.
    code = (
        f"import sys; sys.path.append({str(ROOT)!r}); import runpy;"
        f"sys.argv[1:] = {list(arguments)!r}; runpy.run_module('benchmarks', run_name='__main__')"
    )
    return subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def report() -> dict[str, object]:
    done = run("--quick", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert isinstance(found, dict)
    return found


def test_every_row_has_samples(report: dict[str, list[dict[str, object]]]) -> None:
    for row in report["rows"]:
        samples = row["samples"]
        assert isinstance(samples, list)
        assert not row["problem"], row
        assert len(samples) >= 2, row
        assert all(math.isfinite(sample) for sample in samples), row
        assert row["unit"]


@pytest.mark.parametrize(("part", "bound"), TARGETS.items())
def test_every_target_is_listed(
    report: dict[str, list[dict[str, object]]], part: str, bound: float
) -> None:
    rows = [row for row in report["rows"] if str(row["name"]).find(part) >= 0]
    exact = [row for row in rows if row["target"] == bound]
    assert len(exact) >= 1, [row["name"] for row in report["rows"]]
    assert all(row["passed"] in (True, False) for row in exact)


def test_the_machine_is_described(report: dict[str, dict[str, str]]) -> None:
    assert {"cpu", "cores", "kernel", "python", "aionif", "cffi"} <= report["machine"].keys()
    assert all(report["machine"].values())


def test_one_measure_as_a_table() -> None:
    done = run("--quick", "call-nif")
    assert done.returncode == 0, done.stderr
    assert "call_nif over the direct cffi call" in done.stdout
    assert "<= 3.00 x" in done.stdout


def test_an_unknown_measure_is_named() -> None:
    done = run("--quick", "speed")
    assert done.returncode == 2
    assert "no measure named speed" in done.stderr
