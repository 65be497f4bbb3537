"""The executor of `aionif.futures`: what the standard one promises too."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import importlib
import multiprocessing
import operator
import os
import sys
import threading
import time
import weakref
from concurrent.futures import (
    FIRST_COMPLETED,
    FIRST_EXCEPTION,
    CancelledError,
    Future,
    as_completed,
    wait,
)
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import aionif
from aionif import NifArgumentError, NifPolicy, NifRemoteError, Sandbox
from aionif.futures import NifProcessPoolExecutor
from aionif.process.remote_errors import RemoteTraceback
from tests import remote
from tests.support import DEADLINE, wait_until
from tests.support.workers import workers_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aionif import NifLibrary


pytestmark = pytest.mark.usefixtures("under_deadline")


# ---- submit ----


def test_sealed_workers_answer_in_plain_data() -> None:
    policy = NifPolicy(sandbox=Sandbox.compute(mode="best_effort"))
    # What is deferred elsewhere, as it takes long, is read by the thread that settles futures.
    words = [str(number) * 50 for number in range(4000)]
    # Sealed, they can import nothing.
    initializer = partial(importlib.import_module, "tests.remote")
    with NifProcessPoolExecutor(1, policy=policy, initializer=initializer) as executor:
        assert list(executor.map(pow, range(9), [2] * 9, chunksize=4)) == [n * n for n in range(9)]
        assert executor.submit(remote.echo, words).result(DEADLINE) == words
        with pytest.raises(NifArgumentError, match=r"it holds operator\.attrgetter"):
            executor.submit(operator.attrgetter, "real").result(DEADLINE)
        with pytest.raises(NifRemoteError, match="StrangeError"):
            executor.submit(remote.fail_strangely).result(DEADLINE)


def test_results_and_keywords(executor: NifProcessPoolExecutor) -> None:
    assert executor.submit(pow, 2, 8).result() == 256
    assert executor.submit(int, "ff", base=16).result() == 255
    assert executor.submit(dict, fn=1, self=2).result() == {"fn": 1, "self": 2}
    with pytest.raises(TypeError):
        executor.submit(fn=pow)  # type: ignore[call-arg]
    assert executor.submit(os.getpid).result() != os.getpid()


def test_exceptions_come_with_their_remote_traceback(executor: NifProcessPoolExecutor) -> None:
    error = executor.submit(remote.fail, "some text").exception()
    assert isinstance(error, ValueError)
    assert error.args == ("some text",)
    assert isinstance(error.__cause__, RemoteTraceback)
    assert "raise ValueError(text)" in str(error.__cause__)


def test_calls_begin_in_the_order_they_were_submitted() -> None:
    with NifProcessPoolExecutor(1) as executor:
        futures = [executor.submit(remote.remember, number) for number in range(500)]
        assert futures[-1].result() == list(range(500))


def test_native_functions(executor: NifProcessPoolExecutor, probe: NifLibrary) -> None:
    assert executor.submit(probe.add, 2, 3).result() == 5
    assert list(executor.map(probe.add, range(50), range(50))) == list(range(0, 100, 2))
    with pytest.raises(aionif.NifArgumentError):
        executor.submit(probe.add, "2", 3).result()


def test_what_can_not_be_pickled_fails_its_future(executor: NifProcessPoolExecutor) -> None:
    for future in (
        executor.submit(lambda: 1),
        executor.submit(remote.make_lambda),
        executor.submit(id, threading.Lock()),
    ):
        with pytest.raises(aionif.NifArgumentError):
            future.result()
    assert executor.submit(pow, 2, 2).result() == 4


def test_large_arguments_and_results(executor: NifProcessPoolExecutor) -> None:
    assert executor.submit(remote.repeat, b"ab" * 500_000, 8).result() == b"ab" * 4_000_000
    blocks = executor.map(remote.repeat, [b"x" * 100_000] * 20, [2] * 20)
    assert all(block == b"x" * 200_000 for block in blocks)


def test_more_calls_than_the_core_has_blocks_for(executor: NifProcessPoolExecutor) -> None:
    assert sum(executor.map(abs, range(-10_000, 0))) == 50_005_000


class _Submits:
    """Submits one more call when it is pickled."""

    def __init__(self, executor: NifProcessPoolExecutor, futures: list[Future[int]]) -> None:
        self.executor, self.futures = executor, futures

    def __reduce__(self) -> Any:
        self.futures.append(self.executor.submit(pow, 3, 2))
        return (int, ("7",))


def test_pickling_may_submit(executor: NifProcessPoolExecutor) -> None:
    futures: list[Future[int]] = []
    assert executor.submit(abs, _Submits(executor, futures)).result() == 7  # type: ignore[arg-type]
    assert futures[0].result() == 9


def test_callbacks_may_submit_and_shut_down(executor: NifProcessPoolExecutor) -> None:
    seen: list[int] = []
    done = threading.Event()

    def note(future: Future[int]) -> None:
        seen.append(future.result())
        if len(seen) < 5:
            executor.submit(abs, -len(seen)).add_done_callback(note)
        else:
            executor.shutdown()  # joins nothing, as it may run on the thread it would join
            done.set()

    executor.submit(abs, 0).add_done_callback(note)
    assert done.wait(DEADLINE)
    assert seen == [0, 1, 2, 3, 4]


def test_several_threads_and_an_event_loop(executor: NifProcessPoolExecutor) -> None:
    sums: list[int] = []

    def work() -> None:
        futures = [executor.submit(abs, -number) for number in range(200)]
        sums.append(sum(future.result() for future in futures))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()

    async def main() -> list[int]:
        loop = asyncio.get_running_loop()
        calls = [loop.run_in_executor(executor, abs, -number) for number in range(100)]
        async with aionif.NifExecutor(isolation="process", max_workers=1) as other:
            assert await other.execute_nif(pow, 2, 3) == 8  # the loop's own port is untouched
        return await asyncio.gather(*calls)

    assert asyncio.run(main()) == list(range(100))
    for thread in threads:
        thread.join()
    assert sums == [199 * 100] * 4


# ---- map ----


def test_map_in_chunks(executor: NifProcessPoolExecutor) -> None:
    expected = list(map(pow, range(40), range(40)))
    for size in (1, 6, 40, 50):
        assert list(executor.map(pow, range(40), range(40), chunksize=size)) == expected
    with pytest.raises(ValueError, match="chunksize"):
        executor.map(pow, range(4), range(4), chunksize=0)


def test_map_raises_where_the_call_failed(executor: NifProcessPoolExecutor) -> None:
    results = executor.map(divmod, [1, 1, 1, 1], [2, 3, 0, 5])
    assert [next(results), next(results)] == [(0, 1), (0, 1)]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_map_times_out(executor: NifProcessPoolExecutor) -> None:
    results = executor.map(time.sleep, [0, 0, 60], timeout=0.5)
    assert [next(results), next(results)] == [None, None]
    with pytest.raises(TimeoutError):
        next(results)
    executor.kill_workers()


@pytest.mark.skipif(sys.version_info < (3, 14), reason="map has no buffersize before 3.14")
def test_map_with_a_buffer(executor: NifProcessPoolExecutor) -> None:
    taken: list[int] = []

    def numbers() -> Iterator[int]:
        for number in range(100):
            taken.append(number)
            yield number

    results = executor.map(abs, numbers(), buffersize=3)
    assert next(results) == 0
    assert len(taken) <= 5


def test_map_keeps_no_result() -> None:
    with NifProcessPoolExecutor(2) as executor:
        for size in (1, 4):
            for result in executor.map(remote.set_of, [1] * 10, chunksize=size):
                reference = weakref.ref(result)
                del result
                wait_until(lambda reference=reference: reference() is None)  # type: ignore[misc]


# ---- wait, as_completed, cancel ----


def test_wait_and_as_completed(executor: NifProcessPoolExecutor) -> None:
    slow: Future[Any] = executor.submit(time.sleep, 0.5)
    quick: Future[Any] = executor.submit(pow, 2, 2)
    assert wait([slow, quick], return_when=FIRST_COMPLETED).done == {quick}
    failing: Future[Any] = executor.submit(remote.fail, "text")
    assert failing in wait([slow, failing], return_when=FIRST_EXCEPTION).done
    late: Future[Any] = executor.submit(time.sleep, 0.5)
    assert list(as_completed([late, quick]))[-1] is late
    with pytest.raises(TimeoutError):
        list(as_completed([executor.submit(time.sleep, 1)], timeout=0.05))


def test_what_waits_can_be_cancelled_and_what_runs_can_not(
    executor: NifProcessPoolExecutor,
) -> None:
    running: list[Future[Any]] = [executor.submit(time.sleep, 0.5) for _ in range(4)]
    waiting: Future[Any] = executor.submit(pow, 2, 2)
    assert running[0].running()
    assert not running[0].cancel()
    assert not waiting.running()
    assert waiting.cancel()
    with pytest.raises(CancelledError):
        waiting.result()
    assert executor.submit(pow, 2, 3).result() == 8
    assert wait([waiting, *running]).not_done == set()


# ---- shutdown ----


def test_shutdown_waits_for_what_was_submitted() -> None:
    executor = NifProcessPoolExecutor(2)
    futures = [executor.submit(time.sleep, 0.02) for _ in range(20)]
    executor.shutdown()
    assert all(future.done() for future in futures)
    executor.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        executor.submit(pow, 2, 2)


def test_shutdown_without_waiting() -> None:
    executor = NifProcessPoolExecutor(2)
    results = executor.map(time.sleep, [0.05] * 6)
    executor.shutdown(wait=False)
    assert list(results) == [None] * 6


def test_shutdown_cancels_what_waits() -> None:
    executor = NifProcessPoolExecutor(2)
    futures = [executor.submit(time.sleep, 0.1) for _ in range(50)]
    executor.shutdown(cancel_futures=True)
    cancelled = [future for future in futures if future.cancelled()]
    assert len(cancelled) >= 40
    assert wait(futures, timeout=5).not_done == set()
    assert all(future.exception() is None for future in futures if future not in cancelled)


def test_an_executor_that_is_forgotten_ends_after_its_calls() -> None:
    executor = NifProcessPoolExecutor(2)
    futures = [executor.submit(time.sleep, 0.05) for _ in range(6)]
    thread = executor._driver._thread
    del executor
    gc.collect()
    assert [future.result() for future in futures] == [None] * 6
    assert thread is not None
    thread.join(DEADLINE)
    assert not thread.is_alive()


def test_an_unused_executor() -> None:
    with NifProcessPoolExecutor(2):
        pass
    NifProcessPoolExecutor(2)
    gc.collect()


@pytest.mark.parametrize("count", [0, 2])
@pytest.mark.parametrize("how", ["kill_workers", "terminate_workers"])
def test_workers_can_be_ended(how: str, count: int) -> None:
    executor = NifProcessPoolExecutor(2)
    futures = [executor.submit(time.sleep, 60) for _ in range(20)]
    wait_until(lambda: len(workers_of(executor)) >= count)
    getattr(executor, how)()
    outcomes = [_outcome(future) for future in futures]
    assert set(outcomes) == {BrokenProcessPool, CancelledError}
    assert outcomes.count(CancelledError) >= 16
    executor.shutdown()
    with pytest.raises(RuntimeError):
        executor.submit(pow, 2, 2)


def _outcome(future: Future[Any]) -> type[BaseException] | None:
    try:
        error = future.exception()
    except CancelledError as cancelled:
        return type(cancelled)
    return None if error is None else type(error)


# ---- settings ----


def test_an_initializer_prepares_each_worker() -> None:
    with NifProcessPoolExecutor(2, initializer=remote.remember, initargs=(7,)) as executor:
        assert executor.submit(remote.remember, 8).result()[:2] == [7, 8]


@pytest.mark.parametrize("initializer", [partial(remote.fail, "no"), os.abort])
def test_a_failing_initializer_breaks_the_pool(initializer: Callable[[], object]) -> None:
    with NifProcessPoolExecutor(2, initializer=initializer) as executor:
        futures: list[Future[int]] = []
        with contextlib.suppress(BrokenProcessPool):  # it may be known before all are submitted
            futures.extend(executor.submit(pow, 2, 2) for _ in range(50))
        assert futures
        for future in futures:
            assert type(future.exception()) is BrokenProcessPool
        with pytest.raises(BrokenProcessPool):
            executor.submit(pow, 2, 2)


def test_workers_are_replaced_after_their_calls() -> None:
    with NifProcessPoolExecutor(1, max_tasks_per_child=3) as executor:
        ids = [executor.submit(os.getpid).result() for _ in range(7)]
    assert ids[0] == ids[1] == ids[2]
    assert len(set(ids)) == 3


def test_contexts() -> None:
    for name in ("spawn", "forkserver"):
        context = multiprocessing.get_context(name)
        with NifProcessPoolExecutor(1, mp_context=context) as executor:
            assert executor.submit(pow, 2, 2).result() == 4
    with pytest.raises(ValueError, match="forkserver"):
        NifProcessPoolExecutor(1, mp_context=multiprocessing.get_context("fork"))


@pytest.mark.parametrize(
    ("settings", "error"),
    [
        ({"max_workers": 0}, ValueError),
        ({"max_workers": -1}, ValueError),
        ({"initializer": 1}, TypeError),
        ({"max_tasks_per_child": 0}, ValueError),
        ({"max_tasks_per_child": "3"}, TypeError),
        ({"policy": 1}, aionif.NifArgumentError),
    ],
)
def test_bad_settings(settings: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        NifProcessPoolExecutor(**settings)


def test_proxies_of_a_manager_connect_in_workers(executor: NifProcessPoolExecutor) -> None:
    with multiprocessing.get_context("spawn").Manager() as manager:
        event = manager.Event()
        executor.submit(event.set).result()
        assert event.is_set()
