"""What a user writes, for type checkers: they know what Python callables return."""

from __future__ import annotations

import asyncio
import ctypes
from functools import partial
from signal import Signals
from typing import Any, assert_type

import aionif
from aionif import Buffer, NifExecutor, NifPolicy, NifSignal, NifTaskGroup, Sandbox, call_nif, load
from aionif.futures import NifProcessPoolExecutor

libm = load("libm.so.6", "double sqrt(double);", policy=NifPolicy(on_timeout="wait"))
labs = ctypes.CDLL(None).labs


def words(text: str, *, limit: int = 10) -> list[str]:
    return text.split()[:limit]


def total(*numbers: float) -> float:
    return sum(numbers)


async def on_workers() -> None:
    async with NifExecutor(isolation="process", max_workers=2) as executor:
        assert_type(await executor.execute_nif(words, "a b", timeout=1.0), list[str])
        assert_type(await executor.execute_nif(partial(words, limit=1), "a b"), list[str])
        assert_type(await executor.execute_nif(total, 1, 2.5), float)
        assert_type(await executor.execute_nif(libm.sqrt, 2.0), Any)
        async with executor.session() as session:
            assert_type(await session.execute_nif(words, "c"), list[str])
    assert_type(await aionif.execute_nif(labs, -5), Any)
    assert_type(await libm.sqrt(2.0), Any)
    assert_type(call_nif(libm.sqrt, 2.0), Any)


async def in_a_group() -> None:
    async with NifTaskGroup() as group:
        handle = group.start_nif(libm.sqrt, 2.0)
        try:
            await handle
        except NifSignal as error:
            assert_type(error.signal, Signals)


def with_futures(buffer: Buffer) -> list[str]:
    policy = NifPolicy(sandbox=Sandbox.compute())
    with NifProcessPoolExecutor(2, policy=policy) as pool:
        pool.submit(len, buffer)
        return pool.submit(words, "a b", limit=1).result()


if __name__ == "__main__":
    asyncio.run(on_workers())
