"""The standard library's own tests of its process pool, on ours.

Where Python was installed without its package `test`, there is nothing to collect here;
`test_futures.py` has the same cases. What is left out looks into the private attributes of the
standard executor, passes it semaphores, or expects a crash to break the pool.
"""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from aionif.futures import NifProcessPoolExecutor
from tests.support import DEADLINE

_PACKAGE = "test.test_concurrent_futures"


def _is_there() -> bool:
    try:
        return importlib.util.find_spec(f"{_PACKAGE}.executor") is not None
    except ImportError:
        return False


pytestmark = pytest.mark.usefixtures("under_deadline")


if _is_there():
    from test import support  # type: ignore[import-not-found]
    from test.test_concurrent_futures import (  # type: ignore[import-not-found]
        test_as_completed,
        test_deadlock,
        test_init,
        test_process_pool,
        test_shutdown,
        test_wait,
        util,
    )

    support.use_resources = ("walltime",)

    class _Ours(util.ExecutorMixin):  # type: ignore[misc]
        """What those tests run on."""

        executor_type = NifProcessPoolExecutor
        ctx = "spawn"

    def _cases(bases: tuple[Any, ...], *, without: tuple[str, ...] = ()) -> Any:
        left_out = dict.fromkeys(without)
        return type("Cases", (*bases, util.BaseTestCase), {"__module__": __name__, **left_out})

    TestInitializer = _cases((test_init.InitializerMixin, _Ours))
    TestWait = _cases((_Ours, test_wait.WaitTests))
    TestAsCompleted = _cases((_Ours, test_as_completed.AsCompletedTests))
    TestShutdown = _cases(
        (_Ours, test_shutdown.ExecutorShutdownTest),
        without=(  # their programs import the executor from concurrent.futures
            "test_interpreter_shutdown",
            "test_submit_after_interpreter_shutdown",
            "test_hang_gh83386",
            "test_hang_gh94440",
        ),
    )
    TestProcessPool = _cases(
        (_Ours, test_process_pool.ProcessPoolExecutorTest),
        without=(
            "test_killed_child",  # expects that it breaks the pool
            "test_traceback",  # asks for the private type of the cause
            "test_saturation",
            "test_idle_process_reuse_one",
            "test_idle_process_reuse_multiple",
            "test_max_tasks_per_child",
            "test_max_tasks_per_child_defaults_to_spawn_context",
            "test_python_finalization_error",
        ),
    )

    class TestDeadlock(_Ours, util.BaseTestCase):  # type: ignore[misc]
        """The objects of `test_deadlock`, which fail at each step of a call."""

        def fail(self, function: Any, *arguments: Any) -> BaseException | None:
            future = self.executor.submit(function, *arguments)
            error: BaseException | None = future.exception(timeout=DEADLINE)
            assert self.executor.submit(pow, 2, 2).result(timeout=DEADLINE) == 4
            return error

        def test_arguments(self) -> None:
            assert self.fail(id, test_deadlock.ErrorAtPickle()) is not None
            for kind in ("ErrorAtUnpickle", "ExitAtUnpickle", "CrashAtUnpickle"):
                assert self.fail(id, getattr(test_deadlock, kind)()) is not None, kind

        def test_functions(self) -> None:
            for name in ("_crash", "_exit", "_raise_error"):
                function = getattr(test_deadlock, name)
                arguments = (RuntimeError,) if name == "_raise_error" else ()
                assert self.fail(function, *arguments) is not None, name

        def test_results(self) -> None:
            for kind in ("CrashAtPickle", "ExitAtPickle", "ErrorAtPickle", "ErrorAtUnpickle"):
                wanted = getattr(test_deadlock, kind)
                make = test_deadlock._return_instance
                assert self.fail(make, wanted) is not None, kind
