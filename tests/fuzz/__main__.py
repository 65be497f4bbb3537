"""All readers under libFuzzer, for SECONDS (60) altogether: python -m tests.fuzz [READER...].

What harms a reader is written to build/fuzz/findings and named, and the exit status is 1. Once that
is repaired the input belongs into tests/corpus, which the ordinary tests go through. Inputs that
reach further than others are kept in build/fuzz/corpus for the next run.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

from tests.fuzz.readers import CORPORA, PYTHON

_CHECKOUT = Path(__file__).parents[2]
_BUILD = _CHECKOUT / "build/fuzz"
_STARTING = 3.0  # seconds that a target takes to start, about
_HANGS = 60  # seconds for one input: the readers' own limit is of CPU time, and far lower
_LONGEST = 4096  # bytes
_C = ("lane",)


class _Run(NamedTuple):
    """What came of one reader."""

    inputs: int
    coverage: str
    is_well: bool
    output: str


def _command(name: str, seconds: float) -> list[str]:
    own = _BUILD / "corpus" / name
    own.mkdir(parents=True, exist_ok=True)
    findings = _BUILD / "findings"
    findings.mkdir(exist_ok=True)
    program = [sys.executable, "-P", "-m", "tests.fuzz.target", name]
    return [
        *([str(_BUILD / f"fuzz_{name}")] if name in _C else program),
        f"-max_total_time={max(int(seconds - _STARTING), 1)}",
        f"-timeout={_HANGS}",
        f"-max_len={_LONGEST}",
        "-rss_limit_mb=4096",
        "-detect_leaks=0",  # finding them takes ptrace, which containers may deny
        "-print_final_stats=1",
        f"-artifact_prefix={findings / name}-",
        str(own),
        str(_CHECKOUT / "tests/corpus" / CORPORA.get(name, name)),
    ]


def _run(name: str, seconds: float) -> _Run:
    environment = os.environ | {"ASAN_OPTIONS": "detect_leaks=0"}
    done = subprocess.run(
        _command(name, seconds),
        capture_output=True,
        cwd=_CHECKOUT,
        env=environment,
        check=False,
    )
    output = done.stderr.decode(errors="replace")
    inputs = re.findall(r"number_of_executed_units: (\d+)", output)
    coverage = re.findall(r"(?:cov: (\d+) )?ft: (\d+)", output)
    edges, features = coverage[-1] if coverage else ("", "0")
    shown = f"{edges} edges, {features} features" if edges else f"{features} features"
    return _Run(int(inputs[-1]) if inputs else 0, shown, done.returncode == 0, output)


def main(names: list[str]) -> int:
    names = names or [*_C, *PYTHON]
    end = time.monotonic() + float(os.environ.get("SECONDS", "60"))
    are_well = True
    for index, name in enumerate(names):
        run = _run(name, (end - time.monotonic()) / (len(names) - index))
        print(f"fuzz: {name}: {run.inputs} inputs, {run.coverage}", flush=True)
        if not run.is_well:
            are_well = False
            kept = re.findall(r"Test unit written to (\S+)", run.output)
            print(run.output[-8000:])
            print(f"fuzz: {name}: a finding: {', '.join(kept) or 'the program has ended'}")
    return 0 if are_well else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
