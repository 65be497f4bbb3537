"""jemalloc in front of libc's malloc (`apt-get install libjemalloc2`, LD_PRELOAD)."""

from __future__ import annotations

import asyncio
import ctypes
import ctypes.util
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.hosts.real.trial import Caller, Trial, build, missing, run

LIBRARY = "libjemalloc.so.2"
BLOCKS, SECONDS = 10_000, 20


def load(path: str) -> ctypes.CDLL:
    """Return the library; say so if jemalloc is not in front after all."""
    if LIBRARY not in Path("/proc/self/maps").read_text(encoding="utf-8"):
        print("without jemalloc")
    library = ctypes.CDLL(path)
    library.take_for_ever.argtypes = [ctypes.c_size_t]
    for name in "free_what_never_was", "free_twice", "overrun", "take_for_ever":
        getattr(library, name).restype = None
    return library


async def further(caller: Caller, library: ctypes.CDLL) -> None:
    """Use the heap in calls at the same time, and in this thread: bytes that were spoilt."""
    calls = [caller(library.use_heap, BLOCKS, timeout=SECONDS) for _ in range(8)]
    print("heap", *sorted(set(await asyncio.gather(*calls))), library.use_heap(BLOCKS), flush=True)


async def misuse(caller: Caller, path: str, function: str) -> None:
    """Misuse it twice."""
    library = load(path)
    for _ in range(2):
        print(await caller(getattr(library, function)), flush=True)
    await further(caller, library)


async def deadline(caller: Caller, path: str, size: str) -> None:
    """Loops of malloc and free that do not end, one after the other."""
    library = load(path)
    calls = [await caller(library.take_for_ever, int(size), timeout=0.02) for _ in range(30)]
    print(*set(calls), flush=True)
    await further(caller, library)


TIERS = ("thread", "inline", "process")
HEAP = "heap 0 0, went on"

TRIALS = (
    *(
        Trial(
            misuse, tier, f"NifSignal SIGSEGV, NifSignal SIGSEGV, {HEAP}", ("free_what_never_was",)
        )
        for tier in TIERS
    ),
    *(
        Trial(misuse, tier, f"None, None, {HEAP}", (function,))  # jemalloc does not notice
        for tier in TIERS
        for function in ("free_twice", "overrun")
    ),
    *(
        Trial(deadline, tier, f"NifTimeout, {HEAP}", (size,))
        for tier in TIERS[:2]
        for size in ("64", "100000", "10000000")
    ),
)


def main() -> int:
    """Build and try."""
    environment = {"LD_PRELOAD": LIBRARY}
    probe = subprocess.run(
        ["/bin/true"], env=environment, capture_output=True, text=True, check=False
    )
    if LIBRARY in probe.stderr:
        missing(f"{LIBRARY} (apt-get install libjemalloc2)")
    with tempfile.TemporaryDirectory() as place:
        source = Path(__file__).with_suffix(".c").read_text(encoding="utf-8")
        path = build(Path(place), source, package="gcc")
        return run(TRIALS, path, environment)


if __name__ == "__main__":
    sys.exit(main())
