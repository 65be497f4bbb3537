"""The executor of `aionif.futures` where things break or end: crashes, kills, exits, references."""

from __future__ import annotations

import os
import pickle
import random
import signal
import sys
import threading
import time
import weakref
from concurrent.futures import (
    Future,
    wait,
)
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

import aionif
from aionif.futures import NifProcessPoolExecutor
from tests import remote
from tests.support import assert_nothing_leaks, load_gallery, run_child, wait_until
from tests.support.workers import left_of_zygote, workers_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


pytestmark = pytest.mark.usefixtures("under_deadline")


def _lives(executor: NifProcessPoolExecutor) -> bool:
    return executor.submit(pow, 2, 2).exception() is None


# ---- the end of the interpreter; each of these runs in one of its own ----


def pending_at_exit(how: str) -> None:
    executor = NifProcessPoolExecutor(2)
    for _ in range(6):
        executor.submit(time.sleep, 0.05)
    executor.submit(print, "the last call", flush=True)
    if how == "shut":
        executor.shutdown(wait=False)


@pytest.mark.parametrize("how", ["open", "shut"])
def test_pending_calls_end_before_the_interpreter_does(how: str) -> None:
    done = run_child(pending_at_exit, how)
    assert (done.returncode, done.stdout, done.stderr) == (0, "the last call\n", "")


def submit_at_exit() -> None:
    import atexit

    executor = NifProcessPoolExecutor(2)
    print(executor.submit(pow, 2, 2).result(), flush=True)
    atexit.register(_submit_late, executor)


def _submit_late(executor: NifProcessPoolExecutor) -> None:
    try:
        executor.submit(pow, 2, 2)
    except RuntimeError as error:
        print(error, flush=True)


def test_nothing_is_taken_when_the_interpreter_ends() -> None:
    done = run_child(submit_at_exit)
    text = "cannot schedule new futures after interpreter shutdown"
    assert (done.returncode, done.stdout, done.stderr) == (0, f"4\n{text}\n", "")


def fork_with_an_executor() -> None:
    executor = NifProcessPoolExecutor(2)
    print(executor.submit(pow, 2, 2).result(), flush=True)
    child = os.fork()
    if child == 0:
        try:
            executor.submit(pow, 2, 2)
        except RuntimeError:
            with NifProcessPoolExecutor(1) as own:
                os._exit(own.submit(pow, 3, 2).result())
        os._exit(1)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    print(executor.submit(pow, 2, 3).result(), flush=True)


def test_a_fork_has_no_part_in_its_parents_executor() -> None:
    done = run_child(fork_with_an_executor)
    assert (done.returncode, done.stdout, done.stderr) == (0, "4\n9\n8\n", "")


# ---- what breaks the standard one ----

FATAL: list[tuple[Callable[..., Any], tuple[Any, ...], type[aionif.NifError]]] = [
    (remote.crash, ("",), aionif.NifSignal),
    (os.abort, (), aionif.NifSignal),
    (os._exit, (3,), aionif.NifExit),
    (sys.exit, (3,), aionif.NifExit),
]


@pytest.mark.parametrize(("function", "arguments", "kind"), FATAL)
def test_a_crash_fails_its_own_future(
    function: Callable[..., Any], arguments: tuple[Any, ...], kind: type[aionif.NifError]
) -> None:
    with NifProcessPoolExecutor(2) as executor:
        for _ in range(2):
            before = [executor.submit(time.sleep, 0.05) for _ in range(5)]
            fatal = executor.submit(function, *arguments)
            after = [executor.submit(abs, -number) for number in range(20)]
            assert type(fatal.exception()) is kind
            assert [future.result() for future in before] == [None] * 5
            assert [future.result() for future in after] == list(range(20))


def test_crashes_of_native_functions(executor: NifProcessPoolExecutor) -> None:
    gallery = load_gallery()
    for _ in range(2):
        error = executor.submit(gallery.gallery_segv_read).exception()
        assert isinstance(error, aionif.NifSignal)
        assert error.signal is signal.SIGSEGV
        assert isinstance(pickle.loads(pickle.dumps(error)), aionif.NifSignal)
        assert executor.submit(pow, 2, 2).result() == 4


def test_killed_workers_cost_one_call_each(executor: NifProcessPoolExecutor) -> None:
    lost: list[BaseException] = []
    for _ in range(8):
        futures = [executor.submit(time.sleep, 0.1) for _ in range(8)]
        wait_until(lambda: len(workers_of(executor)) == 2)
        time.sleep(0.05)
        os.kill(workers_of(executor)[0], signal.SIGKILL)
        errors = [error for future in futures if (error := future.exception()) is not None]
        assert len(errors) <= 1  # none, where the worker had not begun with its call
        lost += errors
    assert lost
    assert all(isinstance(error, aionif.NifWorkerLost) for error in lost), lost


def test_kills_at_any_moment_lose_nothing_and_repeat_nothing(tmp_path: Path) -> None:
    log = tmp_path / "log"
    chance = random.Random(1)
    with NifProcessPoolExecutor(2) as executor:
        futures: list[Future[Any]] = []

        def work(first: int) -> None:
            for number in range(first, first + 150):
                futures.append(executor.submit(remote.note, str(log), number))
                time.sleep(0.002)

        threads = [threading.Thread(target=work, args=(first,)) for first in (0, 1000)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            for pid in workers_of(executor)[:1]:
                with suppress(ProcessLookupError):  # it has just died
                    os.kill(pid, signal.SIGKILL)
            time.sleep(chance.uniform(0.005, 0.03))
        errors = [future.exception() for future in futures]
    noted = [int(line) for line in log.read_text().split()]
    assert len(set(noted)) == len(noted)
    assert all(isinstance(error, aionif.NifWorkerLost | None) for error in errors)
    returned = {future.result() for future, error in zip(futures, errors, strict=True) if not error}
    assert returned <= set(noted)
    assert len(futures) == 300
    assert len(returned) >= 150


def test_the_zygote_can_be_killed_too(executor: NifProcessPoolExecutor) -> None:
    from aionif.process import zygote

    assert executor.submit(pow, 2, 2).result() == 4
    before = zygote.of().pid
    assert before is not None
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: _lives(executor) and zygote.of().pid != before)
    assert executor.submit(pow, 2, 3).result() == 8


def test_no_thread_can_be_started(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with NifProcessPoolExecutor(1) as executor:
        with monkeypatch.context() as patch:
            patch.setattr(threading.Thread, "start", refuse)
            with pytest.raises(RuntimeError, match="new thread"):
                executor.submit(pow, 2, 2)
        assert executor.submit(pow, 2, 3).result() == 8


def test_a_limit_fails_its_own_future() -> None:
    policy = aionif.NifPolicy(limits=aionif.NifLimits(address_space=64 << 20))
    with NifProcessPoolExecutor(1, policy=policy) as executor:
        error = executor.submit(remote.take_memory, 1 << 30).exception()
        assert isinstance(error, aionif.NifLimitExceeded)
        assert executor.submit(pow, 2, 2).result() == 4


# ---- nothing is kept ----


class Held:
    """Can be pickled and weakly referenced."""

    def __reduce__(self) -> Any:
        return (object, ())

    def method(self) -> None:
        """Do nothing."""


@pytest.mark.parametrize("fails", [False, True])
def test_arguments_are_let_go_of(executor: NifProcessPoolExecutor, fails: bool) -> None:
    held = Held()
    reference = weakref.ref(held)
    function: Callable[..., Any] = remote.fail if fails else id
    future = executor.submit(function, held)
    del held
    wait([future])
    wait_until(lambda: reference() is None)
    assert future.done()


def test_callables_are_let_go_of(executor: NifProcessPoolExecutor) -> None:
    for make in (partial(partial, id), lambda held: held.method):
        held = Held()
        reference = weakref.ref(held)
        executor.submit(make(held))
        del held
        wait_until(lambda reference=reference: reference() is None)  # type: ignore[misc]


def test_results_are_let_go_of(executor: NifProcessPoolExecutor) -> None:
    result = executor.submit(remote.set_of, 1).result()
    reference = weakref.ref(result)
    del result
    wait_until(lambda: reference() is None)  # whoever delivered it may be about to return yet


def test_nothing_leaks() -> None:
    def use() -> None:
        with NifProcessPoolExecutor(2) as executor:
            assert list(executor.map(abs, range(-20, 0)))
            assert executor.submit(os._exit, 1).exception()
            executor.submit(remote.fail, "text").exception()

    assert_nothing_leaks(use)
    wait_until(lambda: not left_of_zygote())
