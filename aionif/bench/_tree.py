"""What a child process and all that it has started have used: CPU seconds, and memory.

Its processes are known by their session. A worker may be the child of a server process, or of
nobody any more, but it stays in the session that it was started in.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from pathlib import Path

__all__ = ("cpu_seconds", "kill", "members", "resident")

_PATIENCE = 5.0  # seconds
_TICK = 1 / os.sysconf("SC_CLK_TCK")
# Of /proc/PID/stat, counted from the state, which is the first after the name in parentheses.
_STATE, _SESSION, _CHILD_USER, _CHILD_SYSTEM = 0, 3, 13, 14


def _stat(pid: int) -> list[str]:
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return []  # it has just ended
    return text.rpartition(")")[2].split()


def members(session: int) -> list[int]:
    """Return the processes of a session, the dead that nobody has waited for left out."""
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdecimal()]
    stats = ((pid, _stat(pid)) for pid in pids)
    return [
        pid for pid, stat in stats if stat and int(stat[_SESSION]) == session and stat[0] != "Z"
    ]


def cpu_seconds(session: int, *, without: int = 0) -> float:
    """Return the CPU time of its processes but one, and of those that they have waited for.

    Exact to a microsecond for the living, and to 10 ms a process for the dead.
    """
    total = 0.0
    for pid in members(session):
        if pid == without:
            continue
        stat = _stat(pid)
        with contextlib.suppress(OSError):  # it has just ended
            total += time.clock_gettime(~pid << 3 | 2)  # CPUCLOCK_SCHED, of all its threads
        if stat:
            total += (int(stat[_CHILD_USER]) + int(stat[_CHILD_SYSTEM])) * _TICK
    return total


def resident(session: int) -> int:
    """Return the bytes of memory of its processes, what they share counted once: their PSS."""
    total = 0
    for pid in members(session):
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="ascii")
        except OSError:
            continue  # it has just ended
        total += sum(int(line.split()[1]) for line in text.splitlines() if line[:4] == "Pss:")
    return total << 10


def kill(session: int) -> None:
    """Kill all its processes, those included that are started meanwhile.

    Returns once they are gone, or after 5 s: the kernel may hold one that it can't kill yet.
    """
    end = time.monotonic() + _PATIENCE
    while (pids := members(session)) and time.monotonic() < end:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.001)
