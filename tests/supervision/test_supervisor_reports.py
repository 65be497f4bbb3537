"""What supervisors say, to the log and to handlers, and what becomes of handlers that fail."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from aionif import NifArgumentError, NifSupervisor, NifTaskGroup, SupervisorReport, log
from aionif.supervision.supervisor import running
from tests.support.supervising import Boom, Script, settle


def test_fields_of_a_report(run: Any, caplog: Any) -> None:
    async def main() -> None:
        script = Script()
        async with script.supervisor(script.children("a"), name="tree"):
            await script.crash("a")
        assert script.reports == [
            SupervisorReport(
                supervisor="tree",
                error_context="child_terminated",
                reason="Boom: a",
                offender={
                    "id": "a",
                    "start": "Script._work",
                    "restart_type": "permanent",
                    "significant": False,
                    "shutdown": 5.0,
                    "child_type": "worker",
                },
            )
        ]
        assert isinstance(script.reports[0].error, Boom)

    with caplog.at_level(logging.WARNING, "aionif"):
        run(main)
    [line] = caplog.records
    assert line.message.startswith("supervisor_report supervisor='tree' error_context='child_ter")
    assert set(line.nif) == {"supervisor", "error_context", "reason", "offender"}


def test_a_handler_that_raises_is_detached_and_reported(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[tuple[str, dict[str, Any]]] = []
    monkeypatch.setattr(log, "warn", lambda event, **fields: events.append((event, fields)))
    calls = []

    def handler(report: SupervisorReport) -> None:
        calls.append(report)
        raise Boom("handler")

    async def main() -> None:
        script = Script()
        async with script.supervisor(script.children("a"), on_report=handler):
            await script.crash("a")
            await script.crash("a")

    run(main)
    assert len(calls) == 1
    assert [event for event, _ in events] == [
        "supervisor_report",
        "handler_detached",
        "supervisor_report",
    ]
    fields = events[1][1]
    assert fields["kind"] == "on_report"
    assert fields["reason"] == "Boom: handler"
    assert fields["handler"].endswith("handler")


def test_a_log_that_raises_breaks_nothing(
    run: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise Boom("log")

    monkeypatch.setattr(log, "warn", broken)

    async def main() -> None:
        script = Script()
        async with script.supervisor(script.children("a")):
            await script.crash("a")
            await script.crash("a")
        assert len(script.reports) == 2

    run(main)
    assert ["handler_detached" in record.message for record in caplog.records] == [True]


def test_an_error_that_cannot_be_shown(run: Any) -> None:
    class Rude(Exception):  # noqa: N818
        def __str__(self) -> str:
            raise RuntimeError

    async def main() -> None:
        script = Script()
        async with script.supervisor(script.children("a")):
            script.end("a", Rude())
            await settle()
        assert script.reports[0].reason == "Rude: (its text can't be shown)"

    run(main)


async def handle_later(report: Any) -> None:
    del report


def test_a_handler_that_nobody_would_await() -> None:
    with pytest.raises(NifArgumentError, match="coroutine function"):
        NifSupervisor(on_report=handle_later)
    with pytest.raises(NifArgumentError, match="coroutine function"):
        NifTaskGroup(on_failure=handle_later)


def test_restarts_are_counted(run: Any) -> None:
    async def main() -> None:
        script = Script()
        supervisor = script.supervisor(script.children("ab"))
        assert supervisor.restarts == 0
        for rounds in (1, 2):
            async with supervisor:
                assert supervisor in running()
                await script.crash("a")
                await script.crash("b")
                assert supervisor.restarts == 2 * rounds
        assert supervisor.restarts == 4
        assert supervisor not in running()

    run(main)
