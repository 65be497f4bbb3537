"""gunicorn, which forks its workers: loaded in them or before, with threads, with an event loop."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest

from tests import support
from tests.hosts.serving import family, living, serving

if TYPE_CHECKING:
    from aionif.policy import Isolation

GUNICORN = ("-m", "gunicorn", "--bind", "unix:{path}", "--workers", "1")

KINDS = {
    "sync": ("--worker-class", "sync", "wsgi:application"),
    "gthread": ("--worker-class", "gthread", "--threads", "4", "wsgi:application"),
    "uvicorn": ("--worker-class", "uvicorn_worker.UvicornWorker", "asgi:application"),
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> tuple[str, ...]:
    return KINDS[request.param]


@pytest.fixture(params=[(), ("--preload",)], ids=["each loads", "preload"])
def loading(request: pytest.FixtureRequest) -> tuple[str, ...]:
    options: tuple[str, ...] = request.param
    return options


def test_requests_crash_and_the_same_worker_answers_the_next(
    kind: tuple[str, ...], loading: tuple[str, ...], tier: Isolation
) -> None:
    with serving(*GUNICORN, *loading, *kind) as server:
        worker = server.crash_and_go_on(tier)
        assert worker != server.process.pid
        assert server.crash_and_go_on(tier) == worker
        assert server.stop() == 0


def test_a_worker_that_was_killed_is_replaced_by_one_that_works(
    kind: tuple[str, ...], loading: tuple[str, ...], tier: Isolation
) -> None:
    with serving(*GUNICORN, *loading, *kind) as server:
        worker = server.crash_and_go_on(tier)
        left = family(worker)
        os.kill(worker, signal.SIGKILL)
        support.wait_until(lambda: not living(left), support.SETTLING)
        assert server.crash_and_go_on(tier) != worker
        assert server.stop() == 0


def test_a_call_under_way_is_answered_before_the_server_stops(
    kind: tuple[str, ...], loading: tuple[str, ...], tier: Isolation
) -> None:
    with serving(*GUNICORN, *loading, *kind) as server:
        status, answer = server.stop_during(tier, "brief")
        assert (status, answer and answer["ended"]) == (0, "0")


def test_a_call_that_never_ends_does_not_keep_the_server(
    kind: tuple[str, ...], loading: tuple[str, ...], tier: Isolation
) -> None:
    with serving(*GUNICORN, "--graceful-timeout", "1", *loading, *kind) as server:
        status, answer = server.stop_during(tier, "endless")
        assert (status, answer) == (0, None)
