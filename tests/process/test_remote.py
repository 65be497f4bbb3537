"""Python callables in worker processes."""

from __future__ import annotations

import errno
import importlib
import operator
import os
import signal
import sys
from array import array
from typing import TYPE_CHECKING, Any

import anyio
import numpy as np
import pytest

from aionif import (
    NifArgumentError,
    NifExecutor,
    NifExit,
    NifPolicy,
    NifRemoteError,
    NifSignal,
    NifTimeout,
    Sandbox,
)
from aionif.process.remote_errors import RemoteTraceback
from tests import remote
from tests.support import gather, holdings, run_on, until

if TYPE_CHECKING:
    from collections.abc import Callable


def with_executor(
    function: Callable[..., Any], *, backend: str = "asyncio", **settings: Any
) -> Any:
    settings = {"max_workers": 1, **settings}

    async def main() -> Any:
        async with NifExecutor(isolation="process", **settings) as executor:
            return await function(executor)

    return run_on(backend, main)


def test_results(backend: str) -> None:
    async def main() -> None:
        async with NifExecutor(isolation="process", max_workers=2) as executor:
            assert await executor.execute_nif(operator.add, 2, 3) == 5
            assert await executor.execute_nif(remote.repeat, b"ab", 3) == b"ababab"
            results = await gather(
                *[lambda n=n: executor.execute_nif(operator.mul, n, 2) for n in range(300)]
            )
            assert results == [2 * n for n in range(300)]

    run_on(backend, main)


@pytest.mark.parametrize("size", [0, 1, 16_000, 16_384, 17_000, 1_000_000, 9_000_000])
def test_sizes(size: int) -> None:
    async def main(executor: NifExecutor) -> None:
        for _ in range(2):
            assert await executor.execute_nif(len, b"x" * size) == size
            assert await executor.execute_nif(remote.repeat, b"y", size) == b"y" * size

    with_executor(main)


def test_arrays_and_what_they_become() -> None:
    async def main(executor: NifExecutor) -> None:
        for count in (10, 100_000):
            numbers = np.arange(count, dtype=np.float64)
            doubled = await executor.execute_nif(operator.mul, numbers, 2.0)
            assert (doubled == numbers * 2).all()
            doubled[0] = 1.0  # it is ours
        assert await executor.execute_nif(bytes, bytearray(b"abc")) == b"abc"

    with_executor(main)


def test_exceptions_carry_the_traceback_of_the_worker() -> None:
    async def main(executor: NifExecutor) -> None:
        for _ in range(2):
            with pytest.raises(ValueError, match="what happened") as error:
                await executor.execute_nif(remote.fail, "what happened")
            assert "remote.py" in str(error.value.__cause__)
            assert "in fail" in str(error.value.__cause__)

    with_executor(main)


def test_what_pickle_can_not_copy() -> None:
    async def main(executor: NifExecutor) -> None:
        with pytest.raises(NifArgumentError, match="can't be pickled") as error:
            await executor.execute_nif(lambda: 1)
        assert error.value.argument == "fn"
        with pytest.raises(NifArgumentError, match="can't be pickled") as error:
            await executor.execute_nif(len, sys)
        assert error.value.argument == "args"
        with pytest.raises(NifArgumentError, match="can't be pickled") as error:
            await executor.execute_nif(remote.make_lambda)
        assert error.value.argument == "result"
        with pytest.raises(NifArgumentError, match="exception that can't be pickled") as error:
            await executor.execute_nif(remote.fail_strangely)
        assert "StrangeError" in str(error.value.__cause__)
        assert await executor.execute_nif(operator.add, 2, 3) == 5

    with_executor(main)


def test_a_crash_is_the_same_error_as_everywhere() -> None:
    async def main(executor: NifExecutor) -> None:
        for _ in range(2):
            with pytest.raises(NifSignal) as crash:
                await executor.execute_nif(remote.crash, "last words")
            report = crash.value.report.symbolise()
            assert (crash.value.signal, crash.value.address) == (signal.SIGSEGV, 0)
            assert (crash.value.function, crash.value.tier) == ("crash", "process")
            assert report.stderr == "last words"
            assert any("strlen" in (frame.symbol or "") for frame in report.frames)
            assert await executor.execute_nif(operator.add, 2, 3) == 5

    with_executor(main)


def test_exit_and_deadlines() -> None:
    async def main(executor: NifExecutor) -> None:
        with pytest.raises(NifExit) as error:
            await executor.execute_nif(remote.leave, 7)
        assert error.value.status == 7
        with pytest.raises(NifTimeout):
            await executor.execute_nif(remote.spin, timeout=0.1)
        assert await executor.execute_nif(operator.add, 2, 3) == 5

    with_executor(main)


def test_context_variables_go_along() -> None:
    async def main(executor: NifExecutor) -> None:
        assert await executor.execute_nif(remote.read_variable) == "unset"
        remote.variable.set("set")
        assert await executor.execute_nif(remote.read_variable) == "set"

    with_executor(main)


def test_state_of_a_worker() -> None:
    async def main(executor: NifExecutor) -> None:
        async with executor.session() as session:
            await session.execute_nif(remote.remember, 1)
            assert await session.execute_nif(remote.remember, 2) == [0, 1, 2]

    with_executor(main, initializer=remote.remember, initargs=(0,), preload=("decimal",))


def test_a_worker_is_replaced_after_so_many_calls() -> None:
    async def main(executor: NifExecutor) -> list[int]:
        return [await executor.execute_nif(remote.process_id) for _ in range(9)]

    pids = with_executor(main, max_calls_per_worker=3)
    assert [len(set(pids[start : start + 3])) for start in (0, 3, 6)] == [1, 1, 1]
    assert len(set(pids)) == 3


def test_plain_results_alone() -> None:
    async def main(executor: NifExecutor) -> None:
        assert await executor.execute_nif(dict, [(1, {b"a"}), (2, (1.5, None))]) == {
            1: {b"a"},
            2: (1.5, None),
        }
        with pytest.raises(NifArgumentError, match=r"it holds operator.attrgetter") as error:
            await executor.execute_nif(operator.attrgetter, "real")
        assert 'results="pickle"' in error.value.remedy
        assert error.value.argument == "result"

    with_executor(main, policy=NifPolicy(results="plain"))


PLAIN = pytest.mark.parametrize(
    "policy",
    [NifPolicy(results="plain"), NifPolicy(sandbox=Sandbox.compute(mode="best_effort"))],
    ids=["plain", "sealed"],
)


@PLAIN
def test_plain_values_come_back_as_they_are(policy: NifPolicy, backend: str) -> None:
    small = [None, True, 0, -1, 1 << 70, 1.5, 2j, "text", "\ud800", b"", bytearray(b"x"), (), [()]]
    large = [b"x" * 100_000, bytearray(100_000), "y" * 100_000, list(range(5000)), {1: [2] * 999}]
    values = [*small, *large, set(range(99)), frozenset({(1, 2)}), array("d", [1.5]), small]

    async def main(executor: NifExecutor) -> None:
        for value in values:
            result = await executor.execute_nif(remote.echo, value)
            assert result == value
            assert type(result) is type(value)

    with_executor(main, policy=policy, preload=("tests.remote",), backend=backend)


@PLAIN
@pytest.mark.parametrize("count", [3, 100_000])
def test_plain_arrays_come_back_and_are_ours(policy: NifPolicy, count: int) -> None:
    arrays = [
        np.arange(count, dtype=np.float32),
        np.asfortranarray(np.arange(2.0 * count).reshape(2, count)),
        np.arange(count) % 2 == 0,
        np.arange(2 * count)[::2],
        np.array(3),
    ]

    async def main(executor: NifExecutor) -> None:
        for sent in arrays:
            back = await executor.execute_nif(remote.echo, sent)
            assert (back == sent).all()
            assert (back.dtype, back.shape) == (sent.dtype, sent.shape)
            assert back.flags.f_contiguous
            back[...] = 0  # it is ours

    with_executor(main, policy=policy, preload=("tests.remote", "numpy"))


ERRORS: list[tuple[Any, tuple[Any, ...], Exception]] = [
    (remote.fail, ("what happened",), ValueError("what happened")),
    (operator.getitem, ({}, "key"), KeyError("key")),
    (operator.truediv, (1, 0), ZeroDivisionError("division by zero")),
    (os.close, (-1,), OSError(errno.EBADF, os.strerror(errno.EBADF))),
    (os.stat, ("/nowhere",), FileNotFoundError(2, os.strerror(2), "/nowhere")),
    (bytes.decode, (b"\xff",), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")),
]


@pytest.mark.parametrize(("function", "arguments", "expected"), ERRORS, ids=str)
def test_built_in_exceptions_come_as_they_are(
    function: Any, arguments: tuple[Any, ...], expected: Exception
) -> None:
    async def main(executor: NifExecutor) -> None:
        with pytest.raises(type(expected)) as error:
            await executor.execute_nif(function, *arguments)
        assert type(error.value) is type(expected)
        assert (error.value.args, str(error.value)) == (expected.args, str(expected))
        assert isinstance(error.value.__cause__, RemoteTraceback)
        assert type(expected).__name__ in str(error.value.__cause__)

    with_executor(main, policy=NifPolicy(results="plain"))


def test_what_an_import_error_and_notes_say_comes_along() -> None:
    async def main(executor: NifExecutor) -> None:
        with pytest.raises(ModuleNotFoundError) as missing:
            await executor.execute_nif(importlib.import_module, "no_such_module")
        assert missing.value.name == "no_such_module"
        with pytest.raises(RuntimeError) as noted:
            await executor.execute_nif(remote.fail_with_a_note, "a note")
        assert noted.value.__notes__ == ["a note"]

    with_executor(main, policy=NifPolicy(results="plain"))


def test_other_exceptions_come_as_what_is_said_of_them() -> None:
    """Not as themselves: what does something by being raised must not be smuggled in either."""
    names = ("KeyboardInterrupt", "GeneratorExit", "StopIteration", "SyntaxError", "BaseException")

    async def main(executor: NifExecutor) -> None:
        with pytest.raises(NifRemoteError) as error:
            await executor.execute_nif(remote.fail_strangely)
        assert error.value.type_name == "tests.remote.StrangeError"
        assert (error.value.text, error.value.tier) == ("1", "process")
        assert "in fail_strangely" in error.value.traceback
        for name in names:
            with pytest.raises(NifRemoteError) as error:
                await executor.execute_nif(remote.raise_named, name)
            assert error.value.type_name == name
        with pytest.raises(NifRemoteError) as error:
            await executor.execute_nif(remote.fail_with, operator.attrgetter("real"))
        assert error.value.type_name == "ValueError"

    with_executor(main, policy=NifPolicy(results="plain"))


@pytest.mark.parametrize("name", ["a_point", "an_enum", "a_subclass", "a_numpy_object", "a_circle"])
def test_nothing_passes_for_what_it_is_not(name: str) -> None:
    async def main(executor: NifExecutor) -> None:
        with pytest.raises(NifArgumentError, match="can't be passed on as plain data") as error:
            await executor.execute_nif(remote.make_unplain, name)
        assert 'results="pickle"' in error.value.remedy
        assert await executor.execute_nif(operator.add, 2, 3) == 5

    with_executor(main, policy=NifPolicy(results="plain"))


def test_a_sealed_worker_may_be_trusted_by_name() -> None:
    policy = NifPolicy(sandbox=Sandbox.compute(mode="best_effort"), results="pickle")

    async def main(executor: NifExecutor) -> None:
        getter = await executor.execute_nif(operator.attrgetter, "real")
        assert getter(5) == 5

    with_executor(main, policy=policy)


def test_who_is_cancelled_does_not_wait_for_a_result_that_is_being_read(backend: str) -> None:
    async def main(executor: NifExecutor) -> None:
        await executor.execute_nif(remote.repeat, b"y", 1 << 20)
        before = holdings().descriptors
        for delay in range(30):
            with anyio.move_on_after(delay / 10_000):
                await executor.execute_nif(remote.repeat, b"y", 1 << 20)
        assert len(await executor.execute_nif(remote.repeat, b"y", 1 << 20)) == 1 << 20
        await until(lambda: holdings().descriptors <= before + 4)  # a new worker has some

    with_executor(main, policy=NifPolicy(results="plain"), backend=backend)


_MAIN = """
import asyncio, sys
from aionif import NifExecutor
class Point:
    def __init__(self, x): self.x = x
def make(x): return Point(x)
def bad(): raise Bad("no")
class Bad(Exception): pass
async def main():
    async with NifExecutor(isolation="process", max_workers=1) as executor:
        point = await executor.execute_nif(make, 5)
        assert type(point) is Point and point.x == 5
        assert (await executor.execute_nif(getattr, point, "x")) == 5
        try:
            await executor.execute_nif(bad)
        except Bad:
            print("all well")
if __name__ == "__main__":
    asyncio.run(main())
"""


def test_functions_of_the_main_module(tmp_path: Any) -> None:
    import subprocess

    script = tmp_path / "script.py"
    script.write_text(_MAIN, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, "all well\n"), done.stderr


def test_other_tiers_refuse_them() -> None:
    async def main() -> None:
        async with NifExecutor() as executor:
            with pytest.raises(NifArgumentError, match="not a native function"):
                await executor.execute_nif(remote.process_id)

    run_on("asyncio", main)
