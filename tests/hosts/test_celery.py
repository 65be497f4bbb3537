"""Celery's prefork pool: the application is loaded first, and forks its workers after that."""

from __future__ import annotations

import importlib
import sys
from typing import TYPE_CHECKING, Any

import pytest

from tests import support
from tests.hosts.serving import APPS, ENDS, end, start, stop

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from aionif.policy import Isolation

WORKER = ("-m", "celery", "-A", "tasks", "worker", "--pool", "prefork", "--concurrency", "1")
QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat", "--loglevel", "INFO")


@pytest.fixture
def answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The task, as whoever asks for it imports it."""
    monkeypatch.setenv("AIONIF_TASKS", str(tmp_path))
    monkeypatch.syspath_prepend(str(APPS))
    yield importlib.import_module("tasks").answer
    for name in ("tasks", "work"):
        sys.modules.pop(name, None)


def test_tasks_crash_and_the_same_worker_takes_the_next(
    answer: Any, tmp_path: Path, tier: Isolation
) -> None:
    output = tmp_path / "output"
    with output.open("wb") as file:
        program = start(*WORKER, *QUIET, output=file, cwd=tmp_path)
    try:
        results = [answer.delay(tier, what) for what, _ in ENDS]
        answers = [result.get(timeout=support.DEADLINE) for result in results]
        assert [one["ended"] for one in answers] == [ended for _, ended in ENDS]
        [worker] = {one["pid"] for one in answers}
        assert worker != program.pid
        assert stop(program) == 0
        assert "Traceback" not in output.read_text()
    finally:
        print(output.read_text())
        end(program)
