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
