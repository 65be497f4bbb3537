"""hypercorn, which serves on trio too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.hosts.serving import serving

if TYPE_CHECKING:
    from aionif.policy import Isolation


@pytest.mark.parametrize("loop", ["trio", "asyncio"])
def test_requests_crash_and_the_same_worker_answers_the_next(loop: str, tier: Isolation) -> None:
    command = ("-m", "hypercorn", "-k", loop, "--bind", "unix:{path}", "asgi:application")
    with serving(*command) as server:
        worker = server.crash_and_go_on(tier)
        assert server.crash_and_go_on(tier) == worker
        assert server.stop() == 0
