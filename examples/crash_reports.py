"""What is known of a crash: the report as text and as data, as a log event, and across pickle."""

from __future__ import annotations

import asyncio
import pickle

import structlog

from aionif import NifCrash, NifPanic
from aionif.testing import kinds, provoke


async def crash(kind: str) -> NifCrash:
    """Return the error of a call that crashes."""
    try:
        await provoke(kind)
    except NifCrash as error:
        return error
    raise AssertionError(f"{kind} did not crash")


async def main() -> None:
    """Look at a fault inside a callback of libc, then at a C++ exception."""
    error = await crash("qsort_comparator")
    report = await error.report.symbolise_async()  # addresses to names and lines: milliseconds
    print(report.render())

    print("\nThe same as data:")
    print("  as_term:", error.as_term())
    print("  at:", None if report.address is None else hex(report.address), report.code_name)
    for frame in report.frames[:2]:
        print("  frame:", frame)

    copied = pickle.loads(pickle.dumps(error))  # noqa: S301 - of our own making
    print("  pickled and back:", type(copied) is type(error) and str(copied) == str(error))

    if "cxx_std_exception" in kinds():
        panic = await crash("cxx_std_exception")
        if isinstance(panic, NifPanic):
            print(f"\n{panic.language} exception {panic.type_name}: {panic.reason}")


if __name__ == "__main__":
    structlog.configure(  # aionif's events go through the program's own processors
        processors=[structlog.processors.add_log_level, structlog.processors.JSONRenderer()]
    )
    asyncio.run(main())
