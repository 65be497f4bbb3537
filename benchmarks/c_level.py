"""The core without Python: what benchmarks/c/bench_core.c measures."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
from pathlib import Path

from benchmarks._measure import Row, Scale, ratio_row, unavailable

__all__ = ("core",)

_ROOT = Path(__file__).resolve().parent.parent
_BUILD = _ROOT / "build" / "bench"


def _cmake() -> str | None:
    """Return the CMake of this environment, or of the system."""
    beside = Path(sys.executable).with_name("cmake")
    return str(beside) if beside.exists() else shutil.which("cmake")


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise RuntimeError(f"{Path(command[0]).name} failed: {lines[-1] if lines else 'no output'}")
    return done.stdout


def _build() -> Path:
    cmake = _cmake()
    if cmake is None:
        raise RuntimeError("CMake 3.26 or newer was not found: pip install cmake")
    _run(cmake, "-S", str(_ROOT), "-B", str(_BUILD), "-DAIONIF_PYTHON=OFF", "-DAIONIF_CBENCH=ON")
    _run(cmake, "--build", str(_BUILD), "--parallel", str(os.cpu_count() or 1))
    return _BUILD / "bench_core"


_NAMES = (
    "C: guarded call less a plain indirect call",
    "C: SIGSEGV to recovered, over a bare handler",
    "C: SIGSEGV to recovered with a backtrace",
)


async def core(scale: Scale) -> list[Row]:
    """Build bench_core with the core's own objects, and run it.

    It prints one JSON object: nanoseconds, an array with a number for each of its rounds, of
    `plain_call` and `guarded_call` of an empty function, and of a SIGSEGV met by a `bare_handler`
    that steps over it and returns, `recovered` by the core, and `recovered_backtrace`.
    """
    try:
        program = await asyncio.to_thread(_build)
        text = await asyncio.to_thread(_run, str(program), *(["--quick"] if scale.quick else []))
        return _rows(json.loads(text))
    except (RuntimeError, ValueError, KeyError) as problem:
        return [
            unavailable(name, unit, str(problem), target)
            for name, unit, target in zip(_NAMES, ("ns", "x", "us"), (10.0, 1.5, 10.0), strict=True)
        ]


def _rows(times: dict[str, list[float]]) -> list[Row]:
    plain, guarded = times["plain_call"], times["guarded_call"]
    bare, recovered, traced = (
        times[key] for key in ("bare_handler", "recovered", "recovered_backtrace")
    )
    medians = {key: statistics.median(values) for key, values in times.items()}
    return [
        Row(_NAMES[0], "ns", [a - b for a, b in zip(guarded, plain, strict=True)], "low", 10.0,
            f"{medians['guarded_call']:.1f} - {medians['plain_call']:.1f} ns"),
        ratio_row(_NAMES[1], recovered, bare, target=1.5, better="low",
                  detail=f"{medians['recovered']:.0f} / {medians['bare_handler']:.0f} ns"),
        Row(_NAMES[2], "us", [value / 1000 for value in traced], "low", 10.0),
    ]  # fmt: skip
