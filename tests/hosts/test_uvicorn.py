"""uvicorn with two workers: each goes on after a crash and a timeout, and they stop when told."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hosts.serving import serving

if TYPE_CHECKING:
    from aionif.policy import Isolation

UVICORN = ("-m", "uvicorn", "asgi:application", "--workers", "2", "--uds", "{path}")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_requests_crash_and_the_same_worker_answers_the_next(loop: str, tier: Isolation) -> None:
    with serving(*UVICORN, "--loop", loop) as server:
        server.crash_and_go_on(tier)
        assert server.stop() == 0


def test_a_call_under_way_is_answered_before_the_server_stops(tier: Isolation) -> None:
    with serving(*UVICORN) as server:
        status, answer = server.stop_during(tier, "brief")
        assert (status, answer and answer["ended"]) == (0, "0")


def test_a_call_that_never_ends_does_not_keep_the_server(tier: Isolation) -> None:
    with serving(*UVICORN, "--timeout-graceful-shutdown", "1") as server:
        status, answer = server.stop_during(tier, "endless")
        assert (status, answer) == (0, None)
