"""OTP's grid: who is restarted after which end, in which order, and what is said about it."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from aionif import (
    ChildCounts,
    ChildInfo,
    ChildSpec,
    MaxRestartsExceeded,
    NifArgumentError,
    NifClosed,
    NifRejected,
    NifShutdown,
    NifSupervisor,
)
from tests.support.supervising import Boom, Script, settle, states

ENDS = {"normal": None, "shutdown": NifShutdown, "abnormal": Boom}
RESTARTED = {("permanent", end) for end in ENDS} | {("transient", "abnormal")}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("restart", ["permanent", "transient", "temporary"])
@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_grid(run: Any, strategy: Any, restart: Any, end: str) -> None:
    async def main() -> None:
        script = Script()
        children = [script.child("a"), script.child("x", restart=restart), script.child("c")]
        async with script.supervisor(children, strategy=strategy) as supervisor:
            assert script.take() == "+a +x +c"
            how = ENDS[end]
            script.end("x", how and how("done"))
            await settle()
            is_restarted = (restart, end) in RESTARTED
            again = {
                "one_for_one": "-x +x",
                "one_for_all": "-x -c -a +a +x +c",
                "rest_for_one": "-x -c +x +c",
            }[strategy]
            assert script.take() == (again if is_restarted else "-x")
            left = {"a": "running", "x": "running", "c": "running"}
            if not is_restarted:
                left["x"] = "stopped"
                if restart == "temporary":
                    del left["x"]
            assert states(supervisor) == left
            is_reported = end == "abnormal" or restart == "permanent"
            assert script.contexts() == [("child_terminated", "x")] * is_reported
        assert script.take() == ("-c -x -a" if is_restarted else "-c -a")
        assert not script.alive

    run(main)


@pytest.mark.parametrize("strategy", ["one_for_all", "rest_for_one"])
@pytest.mark.parametrize("restart", ["transient", "temporary"])
def test_siblings_that_are_not_permanent(run: Any, strategy: Any, restart: Any) -> None:
    """A transient sibling is started again, a temporary one is gone."""

    async def main() -> None:
        script = Script()
        children = [script.child("a"), script.child("b", restart=restart), script.child("c")]
        async with script.supervisor(children, strategy=strategy) as supervisor:
            script.take()
            await script.crash("a")
            again = "+a +b +c" if restart == "transient" else "+a +c"
            assert script.take() == f"-a -c -b {again}"
            assert ("b" in states(supervisor)) is (restart == "transient")

    run(main)


def test_all_are_started_again_also_those_stopped_by_hand(run: Any) -> None:
    async def main() -> None:
        script = Script()
        async with script.supervisor(script.children("abc"), strategy="one_for_all") as supervisor:
            await supervisor.terminate_child("b")
            script.take()
            await script.crash("c")
            assert script.take() == "-c -a +a +b +c"

    run(main)


def test_several_fail_at_once(run: Any) -> None:
    async def main() -> None:
        script = Script()
        async with script.supervisor(script.children("abc"), strategy="one_for_all") as supervisor:
            script.take()
            script.end("a", Boom())
            script.end("c", Boom())
            await settle()
            assert script.log[-3:] == ["+a", "+b", "+c"]
            # the second was gone when its turn came to be stopped: one restart, not two
            assert script.contexts() == [("child_terminated", "a"), ("shutdown_error", "c")] or (
                script.contexts() == [("child_terminated", "c"), ("shutdown_error", "a")]
            )
            assert set(states(supervisor).values()) == {"running"}

    run(main)


# ---- starting ----


def test_a_failed_start_undoes_those_before(run: Any) -> None:
    async def main() -> None:
        script = Script()
        script.fails_to_start["b"] = 1
        children = [script.slow_child(name) for name in "abc"]
        with pytest.raises(Boom) as raised:
            async with script.supervisor(children):
                pytest.fail("the block was entered")
        assert raised.value.__notes__ == ["'b' failed to start in 'supervisor'"]
        assert script.take() == "+a !b -a"
        assert script.contexts() == [("start_error", "b")]

    run(main)


def test_each_has_started_before_the_next(run: Any) -> None:
    async def main() -> None:
        script = Script()
        children = [script.slow_child("a"), script.child("b"), script.slow_child("c")]
        async with script.supervisor(children):
            assert script.take() == "+a +b +c"

    run(main)


def test_a_failing_restart_counts_and_is_tried_again(run: Any) -> None:
    async def main() -> None:
        script = Script()
        children = [script.slow_child(name) for name in "abc"]
        async with script.supervisor(children, strategy="rest_for_one") as supervisor:
            script.take()
            script.fails_to_start["b"] = 2
            await script.crash("a")
            await settle()
            assert script.take() == "-a -c -b +a !b !b +b +c"
            assert set(states(supervisor).values()) == {"running"}
            assert script.contexts() == [
                ("child_terminated", "a"),
                ("start_error", "b"),
                ("start_error", "b"),
            ]

    run(main)


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_restarts_that_keep_failing_end_the_supervisor(run: Any, strategy: Any) -> None:
    async def main() -> None:
        script = Script()
        children = [script.slow_child(name) for name in "ab"]
        with pytest.raises(MaxRestartsExceeded) as raised:
            async with script.supervisor(children, strategy=strategy):
                script.fails_to_start["b"] = 100
                script.end("b", Boom("first"))
                await anyio.sleep_forever()
        assert script.log.count("!b") == 3
        assert [record.reason for record in raised.value.history] == ["Boom: first"] + [
            "Boom: b"
        ] * 3
        assert isinstance(raised.value.__cause__, Boom)
        assert not script.alive

    run(main)


def test_a_child_that_does_not_want_to_start(run: Any) -> None:
    async def ignore(*, task_status: Any) -> None:
        del task_status

    async def main() -> None:
        kept = ChildSpec(id="kept", start=ignore)
        gone = ChildSpec(id="gone", start=ignore, restart="temporary")
        async with NifSupervisor([kept, gone]) as supervisor:
            assert states(supervisor) == {"kept": "stopped"}
            assert await supervisor.start_child(gone) is None
            assert await supervisor.restart_child("kept") is None
            assert states(supervisor) == {"kept": "stopped"}

    run(main)


# ---- requests ----


def test_children_come_and_go(run: Any) -> None:
    async def main() -> None:
        script = Script()
        async with script.supervisor(script.children("a")) as supervisor:
            assert await supervisor.start_child(script.slow_child("b")) == "B"
            assert await supervisor.start_child(script.child("c", restart="temporary")) is None
            assert supervisor.count_children() == ChildCounts(
                specs=3, active=3, supervisors=0, workers=3
            )
            await supervisor.terminate_child("b")
            assert states(supervisor) == {"a": "running", "b": "stopped", "c": "running"}
            await supervisor.terminate_child("b")
            assert await supervisor.restart_child("b") == "B"
            await supervisor.terminate_child("c")
            assert "c" not in states(supervisor)
            await supervisor.terminate_child("b")
            await supervisor.delete_child("b")
            assert supervisor.which_children() == (
                ChildInfo(id="a", state="running", type="worker"),
            )
        assert script.take().endswith("-a")
        assert not script.reports

    run(main)


def test_what_a_request_is_refused_for(run: Any) -> None:
    async def main() -> None:
        script = Script()
        supervisor = script.supervisor([*script.children("ab"), script.slow_child("c")])
        wrong: Any = []
        async with supervisor:
            await supervisor.terminate_child("b")
            for request, problem in (
                (supervisor.start_child(script.child("a")), "is running already"),
                (supervisor.start_child(script.slow_child("b")), "is stopped already"),
                (supervisor.restart_child("a"), "is running"),
                (supervisor.delete_child("a"), "is running"),
                (supervisor.terminate_child("z"), "is not a child"),
                (supervisor.delete_child("z"), "is not a child"),
                (supervisor.start_child(wrong), "is not a ChildSpec"),
                (supervisor.terminate_child(wrong), "is not a child"),
            ):
                with pytest.raises(NifArgumentError, match=problem):
                    await request
            script.fails_to_start.update(c=1, d=1)
            with pytest.raises(Boom):
                await supervisor.start_child(script.slow_child("d"))
            await supervisor.terminate_child("c")
            with pytest.raises(Boom):
                await supervisor.restart_child("c")
            assert states(supervisor) == {"a": "running", "b": "stopped", "c": "stopped"}
        for late in (
            supervisor.start_child(script.child("x")),
            supervisor.terminate_child("a"),
        ):
            with pytest.raises(NifClosed, match="supervisor is closed"):
                await late
        assert supervisor.which_children() == ()

    run(main)


def test_max_children(run: Any) -> None:
    async def main() -> None:
        script = Script()
        async with script.supervisor(script.children("a"), max_children=2) as supervisor:
            await supervisor.start_child(script.child("b", restart="temporary"))
            for spec in (script.child("c"), script.slow_child("c")):
                with pytest.raises(NifRejected, match="has its 2 children"):
                    await supervisor.start_child(spec)
            await settle()
            script.end("b")
            await settle()
            await supervisor.start_child(script.child("c"))

    run(main)


def test_a_child_may_ask_for_its_own_end(run: Any) -> None:
    async def main() -> None:
        async def suicide() -> None:
            await supervisor.terminate_child("s")
            pytest.fail("it lives on")

        supervisor = NifSupervisor([ChildSpec(id="s", start=suicide)])
        async with supervisor:
            await settle()
            assert states(supervisor) == {"s": "stopped"}

    run(main)


def test_a_restart_that_is_due_can_be_called_off(run: Any) -> None:
    async def main() -> None:
        script = Script()
        backoff = {"initial": 3600.0, "maximum": 3600.0, "jitter": 0.0}
        from aionif import Backoff

        supervisor = script.supervisor(script.children("ab"), backoff=Backoff(**backoff))
        async with supervisor:
            script.end("a", Boom())
            await settle()
            assert states(supervisor) == {"a": "restarting", "b": "running"}
            for request in (supervisor.restart_child("a"), supervisor.delete_child("a")):
                with pytest.raises(NifArgumentError, match="is restarting"):
                    await request
            await supervisor.terminate_child("a")
            assert states(supervisor) == {"a": "stopped", "b": "running"}
            await supervisor.restart_child("a")
            script.end("b", Boom())
            await settle()

    run(main)


# ---- specifications ----


async def worker() -> None:
    """Do nothing."""


def generator() -> Any:
    yield


@pytest.mark.parametrize(
    ("settings", "argument"),
    [
        ({"id": ""}, "id"),
        ({"id": 3}, "id"),
        ({"start": 3}, "start"),
        ({"start": generator}, "start"),
        ({"args": "abc"}, "args"),
        ({"restart": "always"}, "restart"),
        ({"restart": ["permanent"]}, "restart"),
        ({"shutdown": -1}, "shutdown"),
        ({"shutdown": "kill"}, "shutdown"),
        ({"shutdown": float("nan")}, "shutdown"),
        ({"shutdown": float("inf")}, "shutdown"),
        ({"significant": True}, "significant"),
    ],
)
def test_bad_children(settings: dict[str, Any], argument: str) -> None:
    with pytest.raises(NifArgumentError) as raised:
        ChildSpec(**{"id": "a", "start": worker, **settings})
    assert raised.value.argument == argument
    assert raised.value.remedy


SPEC = ChildSpec(id="a", start=worker)


@pytest.mark.parametrize(
    ("children", "settings", "argument"),
    [
        ([SPEC, SPEC], {}, "id"),
        ([worker], {}, "child"),
        (3, {}, "children"),
        ([SPEC], {"max_children": 0}, "max_children"),
        ([ChildSpec(id="a", start=worker, restart="temporary", significant=True)], {},
         "significant"),
        ([], {"strategy": "all"}, "strategy"),
        ([], {"auto_shutdown": "always"}, "auto_shutdown"),
        ([], {"max_restarts": -1}, "max_restarts"),
        ([], {"max_restarts": 1.5}, "max_restarts"),
        ([], {"max_seconds": 0}, "max_seconds"),
        ([], {"max_seconds": -1}, "max_seconds"),
        ([], {"backoff": 1.0}, "backoff"),
        ([], {"on_report": 1}, "on_report"),
        ([], {"clock": 1}, "clock"),
        ([], {"name": ""}, "name"),
    ],
)  # fmt: skip
def test_bad_settings(children: Any, settings: dict[str, Any], argument: str) -> None:
    with pytest.raises(NifArgumentError) as raised:
        NifSupervisor(children, **settings)
    assert raised.value.argument == argument


def test_defaults_are_otps() -> None:
    assert (SPEC.restart, SPEC.shutdown, SPEC.significant, SPEC.type) == (
        "permanent", 5.0, False, "worker",
    )  # fmt: skip
    nested = ChildSpec(id="s", start=NifSupervisor())
    assert (nested.restart, nested.shutdown, nested.type) == (
        "permanent", "infinity", "supervisor",
    )  # fmt: skip


def test_entering_twice(run: Any) -> None:
    async def main() -> None:
        script = Script()
        supervisor = script.supervisor(script.children("a"))
        for _ in range(2):
            async with supervisor:
                with pytest.raises(RuntimeError, match="running already"):
                    await supervisor.__aenter__()
        assert script.take() == "+a -a +a -a"

    run(main)
