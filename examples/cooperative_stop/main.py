"""A native function that polls aionif_should_stop(): past its deadline it frees what it holds.

Compiles primes.c with cc, against the header that is installed with aionif.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
import tempfile
from pathlib import Path

import aionif

HERE = Path(__file__).parent
CDEF = "extern int buffers_in_use; long count_primes(long limit, long *reached);"

# "wait": the task gets its NifTimeout when the function has returned, which it does soon, and never
# has to be aborted half-way.
PATIENT = aionif.NifPolicy(on_timeout="wait")


def build(directory: Path) -> aionif.NifLibrary:
    """Compile primes.c into `directory` and load it."""
    library = directory / "libprimes.so"
    flags = ["-O2", "-g", "-shared", "-fPIC", "-I", aionif.get_include()]
    command = ["cc", *flags, str(HERE / "primes.c"), "-o", str(library)]
    subprocess.run(command, check=True)
    return aionif.load(library, CDEF, policy=PATIENT)


async def main() -> None:
    """Count once with enough time, and once with too little."""
    with tempfile.TemporaryDirectory() as directory:
        primes = build(Path(directory))
        reached = primes.ffi.new("long *")
        print("primes below a million:", await primes.count_primes(1_000_000, reached))
        async with aionif.NifExecutor(policy=PATIENT) as executor:
            try:
                await executor.execute_nif(primes.count_primes, 100_000_000, reached, timeout=0.05)
            except aionif.NifTimeout as error:
                print(error)
            print("it looked at some numbers:", reached[0] > 0)
            print("buffers in use:", primes.buffers_in_use)
            statistics = executor.statistics()
            print(f"aborted: {statistics.aborted}, threads abandoned: {statistics.abandoned}")


if __name__ == "__main__":
    logging.getLogger("aionif").setLevel(logging.ERROR)  # the log has these failures too
    asyncio.run(main())
