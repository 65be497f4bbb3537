"""A program to be frozen: threads serve it, worker processes are refused at once."""

from __future__ import annotations

import asyncio
import sys

import work

import aionif
from aionif.futures import NifProcessPoolExecutor


async def main() -> None:
    """Print what became of each."""
    print("started", getattr(sys, "frozen", False))
    for what in ("fine", "crash", "fine", "slow", "crash", "slow", "fine"):
        print(what, (await work.answer(None, what))["ended"])
    async with aionif.NifExecutor(isolation="process") as executor:
        for function in (work.libc.strlen, len):
            try:
                print(await executor.execute_nif(function, b"text", timeout=60))
            except aionif.NifRejected as refusal:
                print("refused:", refusal)


def without_a_loop() -> None:
    """Do the same by futures."""
    with NifProcessPoolExecutor(1) as executor:
        future = executor.submit(len, b"text")
        print("refused:", type(future.exception(60)).__name__)


if __name__ == "__main__":
    asyncio.run(main())
    without_a_loop()
    print("ended")
