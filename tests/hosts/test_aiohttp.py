"""A program that serves by aiohttp."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.hosts.serving import APPS, serving

if TYPE_CHECKING:
    from aionif.policy import Isolation


@pytest.mark.parametrize("stopped_by", [signal.SIGTERM, signal.SIGINT])
def test_requests_crash_and_the_program_answers_the_next(
    stopped_by: signal.Signals, tier: Isolation
) -> None:
    with serving(str(APPS / "aiohttp_program.py"), "{path}") as server:
        assert server.crash_and_go_on(tier) == server.process.pid
        assert server.stop(stopped_by) == 0
