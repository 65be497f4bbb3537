"""io_uring (`apt-get install liburing-dev`): the kernel writes to a call that is no more.

Reads of an empty pipe are submitted, the call crashes or goes past its deadline, and only then is
the pipe fed.
"""

from __future__ import annotations

import ctypes
import sys
import tempfile
from pathlib import Path

from tests.hosts.real.trial import Caller, Trial, build, run

CRASH, SPIN, WAIT = range(3)
HOW = {"crash": CRASH, "spin": SPIN, "wait": WAIT}
SIZE = 4096


async def onto_the_stack(caller: Caller, path: str, how: str, calls: str) -> None:
    """Buffers on the stacks of so many calls; then a call that looks at its own stack."""
    library = ctypes.CDLL(path)
    for _ in range(int(calls)):
        said = await caller(library.read_to_stack, HOW[how], timeout=0.1)
    print(said)
    print("damaged", await caller(library.bytes_damaged, int(calls)))
    print("read", await caller(library.read_at_once))


async def into_an_argument(caller: Caller, path: str, how: str, keeping: str) -> None:
    """A buffer that was passed; it is kept by the program, or what comes after it is looked at."""
    library = ctypes.CDLL(path)
    library.read_to_argument.argtypes = [ctypes.c_char_p, ctypes.c_int]
    given = [ctypes.create_string_buffer(SIZE) for _ in range(8)]
    for buffer in given:
        said = await caller(library.read_to_argument, buffer, HOW[how], timeout=0.2)
    print(said)
    if keeping == "dropped":
        del buffer
        given = []
    others = [ctypes.create_string_buffer(SIZE) for _ in range(64)]
    print("fed", await caller(library.feed, 8))
    print("others", "damaged" if any(any(other.raw) for other in others) else "whole")
    if keeping == "kept":
        print("read", sum(b"x" in buffer.raw for buffer in given))


async def in_workers(caller: Caller, path: str, how: str) -> None:
    """The ring is the worker's, and ends with it."""
    library = ctypes.CDLL(path)
    print(await caller(library.read_to_stack, HOW[how], timeout=0.2))
    print("read", await caller(library.read_at_once))


SAID = {"crash": "NifSignal SIGSEGV", "spin": "NifTimeout", "wait": "NifTimeout"}
BYTES = {"1": 0, "7": 0, "20": SIZE}  # what the eighth stack is, is the first one's again
# What is dropped is mostly given to the others, but malloc may have kept it.
KEPT = {"kept": "others whole, read 8, went on", "dropped": "others *, went on"}

TRIALS = (
    *(
        Trial(onto_the_stack, tier, f"{SAID[how]}, damaged {wrong}, read 10, went on", (how, calls))
        for tier in ("thread", "inline")
        for how in HOW
        for calls, wrong in BYTES.items()
    ),
    *(
        Trial(into_an_argument, tier, f"{SAID[how]}, fed 0, {seen}", (how, keeping))
        for tier in ("thread", "inline")
        for how in HOW
        for keeping, seen in KEPT.items()
    ),
    *(Trial(in_workers, "process", f"{SAID[how]}, read 10, went on", (how,)) for how in HOW),
)


def main() -> int:
    """Build and try."""
    with tempfile.TemporaryDirectory() as place:
        source = Path(__file__).with_suffix(".c").read_text(encoding="utf-8")
        return run(TRIALS, build(Path(place), source, "-luring", package="liburing-dev"))


if __name__ == "__main__":
    sys.exit(main())
