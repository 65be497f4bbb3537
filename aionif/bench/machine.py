"""What the figures were measured on, and whether it was quiet enough to measure on."""

from __future__ import annotations

import os
import platform
import statistics
import time
from importlib import metadata
from pathlib import Path

__all__ = ("Quiet", "calibrate", "facts", "turns_a_microsecond")

_SPREAD = 0.1  # of the calibration, over its median
_STOLEN = 0.01  # of the time
_LOAD = 0.5  # a CPU
_TURNS = 20_000
_WORK = 2_000_000  # turns


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        if key.strip() in {"model name", "CPU part"}:
            return value.strip()
    return platform.machine()


def _virtual() -> str:
    flags = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    return "virtual machine" if " hypervisor" in flags else "bare metal"


def _setting(path: str) -> str:
    file = Path("/sys/devices/system/cpu", path)
    return file.read_text(encoding="ascii").strip() if file.exists() else "none"


def facts() -> dict[str, str]:
    """Return the machine and the versions, each as text."""
    found = {
        "cpu": _cpu(),
        "cores": f"{len(os.sched_getaffinity(0))} of {os.cpu_count()}",
        "machine": _virtual(),
        # How the kernel idles: a parked CPU of a virtual machine takes long to wake.
        "cpuidle": _setting("cpuidle/current_driver"),
        "governor": _setting("cpu0/cpufreq/scaling_governor"),
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()),
        "python": f"{platform.python_version()} ({platform.python_compiler()})",
        "load": f"{os.getloadavg()[0]:.2f}",
    }
    for package in ("aionif", "cffi"):
        found[package] = metadata.version(package)
    return found


def calibrate() -> float:
    """Return the seconds that a fixed piece of Python takes: the same each time, if it is quiet."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        for _ in range(_TURNS):
            pass
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def turns_a_microsecond() -> float:
    """Return how many turns of the runner's native work this machine makes in a microsecond."""
    from aionif.bench.workload import built_in  # noqa: PLC0415 - the facts need nothing native

    work = built_in("work", _WORK)
    times = []
    for _ in range(5):
        start = time.perf_counter()
        work.direct(*work.arguments)
        times.append(time.perf_counter() - start)
    return _WORK / min(times) / 1e6


class Quiet:
    """Looks, from its making on, for what makes figures doubtful.

    workers: that subjects may have, beside the event loop.
    """

    def __init__(self, workers: int) -> None:
        self._load = os.getloadavg()[0]
        self._stolen = _cpu_times()
        self._workers = workers
        self._calibrations = [calibrate()]

    def look(self) -> None:
        """Take a look; to be called once a round, with nothing else running."""
        self._calibrations.append(calibrate())

    def warnings(self) -> tuple[str, ...]:
        """Return what there is to say against the figures."""
        cpus = len(os.sched_getaffinity(0))
        stolen, total = (b - a for a, b in zip(self._stolen, _cpu_times(), strict=True))
        middle = statistics.median(self._calibrations)
        spread = (max(self._calibrations) - min(self._calibrations)) / middle
        governor = _setting("cpu0/cpufreq/scaling_governor")
        found = {
            f"the machine had a load of {self._load:.2f} before the run": self._load > _LOAD * cpus,
            f"the same piece of Python took up to {spread:.0%} longer in one round than in "
            "another": spread > _SPREAD,
            f"the hypervisor took {stolen / max(total, 1):.1%} of the CPU time for others": (
                stolen > _STOLEN * total
            ),
            f"the CPU's frequency follows its load (governor {governor})": governor
            not in {"none", "performance"},
            f"{self._workers} workers share {cpus} CPUs": self._workers > cpus,
        }
        return tuple(text for text, holds in found.items() if holds)


def _cpu_times() -> tuple[int, int]:
    """Return the ticks that were stolen, and all, since the machine was started."""
    first = Path("/proc/stat").read_text(encoding="ascii").partition("\n")[0]
    ticks = [int(value) for value in first.split()[1:9]]
    return ticks[7], sum(ticks)
