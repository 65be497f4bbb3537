"""Replies of sealed workers that somebody else has taken over: data, whatever they are."""

from __future__ import annotations

import asyncio
import operator
import os
import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aionif import (
    NifArgumentError,
    NifError,
    NifExecutor,
    NifLimitExceeded,
    NifLimits,
    NifPolicy,
    NifRemoteError,
    Sandbox,
    load,
)
from aionif.core.native import lib
from aionif.process import message
from aionif.process.plain import encode
from tests import remote
from tests.support import build_library, run_on
from tests.support.workers import workers_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from aionif import NifLibrary

CHECKOUT = Path(__file__).parents[2]
ERROR, ELSEWHERE = 1 << 61, 1 << 62
SEALED = NifPolicy(sandbox=Sandbox.compute(mode="best_effort"))
TRUSTED = NifPolicy(sandbox=Sandbox.compute(mode="best_effort"), results="pickle")
MIB = 1 << 20


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> NifLibrary:
    source = Path(__file__).parents[1].joinpath("support/hostile.c").read_text(encoding="utf-8")
    flags = ("-iquote", str(CHECKOUT / "csrc"))
    path = build_library(tmp_path_factory.mktemp("hostile"), source, *flags, name="forger")
    return load(path, "int forge_reply(uint64_t, const char *, size_t, uint64_t);")


class Bomb:
    """What makes a directory by being unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def with_executor(policy: NifPolicy, main: Callable[[NifExecutor], Awaitable[Any]]) -> Any:
    async def open_executor() -> Any:
        settings: Any = {"policy": policy, "preload": ("tests.remote",)}
        async with NifExecutor(isolation="process", max_workers=1, **settings) as executor:
            return await main(executor)

    return run_on("asyncio", open_executor)


def forged(hostile: NifLibrary, policy: NifPolicy, *replies: tuple[Any, int]) -> list[Any]:
    """Return what calls of a Python callable come to that are answered with these, and flags."""

    async def answer(executor: NifExecutor, reply: Any, flags: int) -> Any:
        if isinstance(reply, message.Laid):
            memory = bytearray(reply.size)
            reply.write(memory)
            reply = bytes(memory)
        window = int(lib.aionif_window(0, 0))
        forge = hostile.forge_reply
        while True:
            await executor.execute_nif(forge, window, reply, len(reply), flags, timeout=20)
            taken_over = workers_of(executor)
            try:
                outcome = await executor.execute_nif(operator.add, 2, 3, timeout=20)
            except NifError as error:
                return error
            if outcome != 5 or workers_of(executor) == taken_over:
                return outcome
            # After some crashes all workers are replaced, and this one was in time.

    async def main(executor: NifExecutor) -> Any:
        assert await executor.execute_nif(operator.add, 1, 2) == 3
        return [await answer(executor, *reply) for reply in replies]

    outcomes: list[Any] = with_executor(policy, main)
    return outcomes


def plainly(value: Any) -> message.Laid:
    stream, buffers = encode(value)
    return message.Laid([stream], buffers)


def test_a_forged_pickle_is_not_read(hostile: NifLibrary, tmp_path: Path) -> None:
    bomb = tmp_path / "made by a worker"
    reply = message.Message(Bomb(bomb))
    for outcome in forged(hostile, SEALED, (reply, 0), (reply, ERROR)):
        assert isinstance(outcome, NifArgumentError)
        assert "can't be read" in str(outcome)
    assert not bomb.exists()


def test_where_the_policy_says_so_it_is(hostile: NifLibrary, tmp_path: Path) -> None:
    """So the attack is one, and the setting is the wall."""
    bomb = tmp_path / "made by a worker"
    forged(hostile, TRUSTED, (message.Message(Bomb(bomb)), 0))
    assert bomb.is_dir()


REPLIES: list[tuple[Any, int]] = [
    (b"", 0),
    (b"\0" * 15, 0),
    (struct.pack("<QQ", 1 << 63, 1 << 63), 0),
    (struct.pack("<QQ", 100, 0), 0),
    (struct.pack("<QQ", 0, 0xFFFFFFFF), 0),
    (struct.pack("<QQQQ", 0, 1, 1 << 62, 1), 0),
    (b"x", ELSEWHERE),  # and nothing comes
    (plainly(5), ERROR),
    (plainly(("raised",)), ERROR),
    (plainly((1, 2, 3)), ERROR),
    (plainly(("raised", 1, 2)), ERROR),
    (plainly(("exit", 1 << 99, "text")), ERROR),
    (plainly(("no such kind", None, "text")), ERROR),
]


def test_replies_that_are_none(hostile: NifLibrary) -> None:
    for outcome in forged(hostile, SEALED, *REPLIES):
        assert isinstance(outcome, NifArgumentError)
        assert outcome.argument == "result"
        assert str(outcome)


def test_what_is_raised_is_an_exception_of_the_list(hostile: NifLibrary) -> None:
    names = ("KeyboardInterrupt", "CancelledError", "eval", "aionif.NifExit")
    said = {"arguments": ("1",), "text": "text"}
    replies = [(plainly(("raised", name, "traceback", said)), ERROR) for name in names]
    for name, outcome in zip(names, forged(hostile, SEALED, *replies), strict=True):
        assert isinstance(outcome, NifRemoteError)
        assert (outcome.type_name, outcome.text, outcome.traceback) == (name, "text", "traceback")


def test_a_result_of_a_lie_is_a_result(hostile: NifLibrary) -> None:
    assert forged(hostile, SEALED, (plainly([6, "sum"]), 0)) == [[6, "sum"]]


# ---- long ones ----


def limited(size: int) -> NifPolicy:
    limits = NifLimits(result_size=size)
    return NifPolicy(sandbox=Sandbox.compute(mode="best_effort", limits=limits))


@pytest.mark.parametrize(
    "value",
    [b"x" * (2 * MIB), "x" * (2 * MIB), [[]] * 50_000, ["ab"] * 50_000],
    ids=lambda v: v[:1],
)
def test_a_result_takes_no_more_than_its_limit(value: Any) -> None:
    async def main(executor: NifExecutor) -> None:
        for _ in range(2):
            with pytest.raises(NifLimitExceeded) as error:
                await executor.execute_nif(operator.mul, value, 1)
            assert (error.value.limit, error.value.allowed) == ("result_size", MIB)
        assert await executor.execute_nif(operator.mul, value[:10], 1) == value[:10]

    with_executor(limited(MIB), main)


def test_a_sandbox_limits_results_where_nobody_has() -> None:
    async def main(executor: NifExecutor) -> None:
        with pytest.raises(NifLimitExceeded):
            await executor.execute_nif(remote.repeat, b"x", 64 * MIB + 1)
        assert len(await executor.execute_nif(remote.repeat, b"x", 63 * MIB)) == 63 * MIB

    assert SEALED.limits.result_size == 64 * MIB
    assert NifPolicy().limits.result_size is None
    with_executor(SEALED, main)


def test_the_loop_turns_while_a_long_result_is_read() -> None:
    """Half a second of reading; a loop that did it itself would not turn until the end."""
    value = [{"a": n, "b": str(n), "c": (n, None)} for n in range(60_000)]

    async def main(executor: NifExecutor) -> None:
        turns = 0
        call = asyncio.ensure_future(executor.execute_nif(operator.mul, value, 1))
        while not call.done():
            await asyncio.sleep(0.001)
            turns += 1
        assert await call == value
        assert turns > 20

    with_executor(SEALED, main)


def test_plain_results_is_the_old_name() -> None:
    assert NifPolicy(plain_results=True) == NifPolicy(results="plain")
    assert NifPolicy(plain_results=False) == NifPolicy()
    with pytest.raises(NifArgumentError, match="contradicts"):
        NifPolicy(plain_results=True, results="pickle")


@pytest.mark.parametrize("results", ["Plain", "", None, True])
def test_a_policy_says_which_results_there_are(results: Any) -> None:
    with pytest.raises(NifArgumentError, match="'auto' or 'plain' or 'pickle'") as error:
        NifPolicy(results=results)
    assert error.value.argument == "results"
