"""OpenMP (libgomp: `apt-get install gcc`, libomp: `apt-get install clang libomp-dev`).

A region has threads of its own besides the one that called; they wait for each other at its end.
"""

from __future__ import annotations

import ctypes
import sys
import tempfile
from pathlib import Path

from tests.hosts.real.trial import Caller, Trial, build, run

COUNT = 100_000
THE_CALLER, A_HELPER, ALL = range(3)
WHO = {"the-caller": THE_CALLER, "a-helper": A_HELPER, "all": ALL}
TIERS = ("thread", "inline", "process")


async def sums(caller: Caller, library: ctypes.CDLL) -> None:
    """Further regions: how many threads each had, -1 for a wrong result."""
    print("sums", *[await caller(library.sum, COUNT, timeout=5) for _ in range(3)], flush=True)


async def works(caller: Caller, path: str) -> None:
    """Nothing goes wrong."""
    await sums(caller, ctypes.CDLL(path))


async def crash(caller: Caller, path: str, who: str) -> None:
    """A crash in a region; then further regions."""
    library = ctypes.CDLL(path)
    await sums(caller, library)
    print(await caller(library.crash, WHO[who]), flush=True)
    await sums(caller, library)


async def crash_and_close(path: str) -> None:
    """A crash in a region, whose thread then ends; then regions of new threads."""
    import aionif

    library = ctypes.CDLL(path)
    async with aionif.NifExecutor() as executor:
        caller = Caller("thread", executor)
        await sums(caller, library)
        print(await caller(library.crash, THE_CALLER), flush=True)
    async with aionif.NifExecutor() as executor:
        await sums(Caller("thread", executor), library)


async def crash_in_critical(caller: Caller, path: str) -> None:
    """A crash with OpenMP's own lock held; then who wants it."""
    library = ctypes.CDLL(path)
    print(await caller(library.crash_in_critical, timeout=5), flush=True)
    print("critical", await caller(library.enter_critical, timeout=1), flush=True)
    await sums(caller, library)


async def deadline(caller: Caller, path: str, who: str) -> None:
    """Some of a region's threads do not end; then further regions, also when they do at last."""
    library = ctypes.CDLL(path)
    await sums(caller, library)
    print(await caller(library.spin, WHO[who], timeout=0.3), flush=True)
    await sums(caller, library)
    library.release()
    await sums(caller, library)


FOUR, ONE = "sums 4 4 4", "sums 1 1 1"
CRASHED = "NifSignal SIGSEGV"

TRIALS = (
    *(Trial(works, tier, f"{FOUR}, went on") for tier in TIERS),
    *(
        Trial(crash, tier, f"{FOUR}, {CRASHED}, {after}, went on", ("the-caller",))
        for tier, after in (("thread", "sums ? ? ?"), ("inline", ONE), ("process", FOUR))
    ),
    Trial(crash, "thread", f"{FOUR}, died of SIGSEGV", ("a-helper",)),
    Trial(crash, "inline", f"{FOUR}, died of SIGSEGV", ("a-helper",)),
    Trial(crash, "process", f"{FOUR}, NifWorkerLost, {FOUR}, went on", ("a-helper",)),
    Trial(crash_in_critical, "thread", f"{CRASHED}, critical NifTimeout, sums *, went on"),
    Trial(crash_in_critical, "inline", f"{CRASHED}, hung"),
    Trial(crash_in_critical, "process", f"{CRASHED}, critical 4, {FOUR}, went on"),
    *(
        Trial(deadline, tier, f"{FOUR}, NifTimeout, {FOUR}, {FOUR}, went on", (who,))
        for tier in ("thread", "process")
        for who in WHO
    ),
    Trial(deadline, "inline", f"{FOUR}, hung", ("all",)),
)
RUNTIMES = {
    "libgomp": ("gcc", "-fopenmp", "gcc", f"{FOUR}, {CRASHED}, {FOUR}, went on"),
    "libomp": (
        "clang",
        "-fopenmp=libomp",
        "clang libomp-dev",
        f"{FOUR}, {CRASHED}, sums NifSignal SIGABRT NifTimeout NifTimeout, went on",
    ),
}


def main() -> int:
    """Build and try, with each of the two."""
    different = 0
    for runtime, (compiler, flag, package, closed) in RUNTIMES.items():
        with tempfile.TemporaryDirectory() as place:
            source = Path(__file__).with_suffix(".c").read_text(encoding="utf-8")
            path = build(Path(place), source, flag, compiler=compiler, package=package)
            different |= run(
                (*TRIALS, Trial(crash_and_close, "none", closed)), path, heading=runtime
            )
    return different


if __name__ == "__main__":
    sys.exit(main())
