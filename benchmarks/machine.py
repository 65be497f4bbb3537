"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path

__all__ = ("facts",)


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        key, _, value = line.partition(":")
        if key.strip() in ("model name", "CPU part"):
            return value.strip()
    return platform.machine()


def _virtual() -> str:
    flags = Path("/proc/cpuinfo").read_text()
    return "virtual machine" if " hypervisor" in flags else "bare metal"


def _idle() -> str:
    """How the kernel idles: a parked CPU of a virtual machine takes long to wake."""
    path = Path("/sys/devices/system/cpu/cpuidle/current_driver")
    return path.read_text().strip() if path.exists() else "none"


def facts() -> dict[str, str]:
    """Return the machine and the versions, each as text."""
    found = {
        "cpu": _cpu(),
        "cores": f"{len(os.sched_getaffinity(0))} of {os.cpu_count()}",
        "machine": _virtual(),
        "cpuidle": _idle(),
        "kernel": platform.release(),
        "libc": " ".join(platform.libc_ver()),
        "python": f"{platform.python_version()} ({platform.python_compiler()})",
        "load": f"{os.getloadavg()[0]:.2f}",
    }
    for package in ("aionif", "cffi"):
        found[package] = metadata.version(package)
    return found
