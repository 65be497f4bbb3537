"""Supervisors of supervisors, significant children, native calls as children."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from aionif import (
    ChildInfo,
    ChildSpec,
    MaxRestartsExceeded,
    NifArgumentError,
    NifSignal,
    NifSupervisor,
    load,
)
from aionif.testing.gallery import library_path
from tests.support import until
from tests.support.supervising import Boom, Script, settle, states


def test_a_tree_starts_and_stops_in_order(run: Any) -> None:
    async def main() -> None:
        script = Script()
        inner = script.supervisor(script.children("bc"), name="inner")
        children = [script.child("a"), ChildSpec(id="inner", start=inner), script.child("d")]
        async with script.supervisor(children) as outer:
            assert script.take() == "+a +b +c +d"
            assert outer.which_children()[1] == ChildInfo(
                id="inner", state="running", type="supervisor", supervisor=inner
            )
            assert (outer.count_children().supervisors, outer.count_children().workers) == (1, 2)
            await inner.start_child(script.child("x"))
            await settle()
            await outer.terminate_child("inner")
            assert script.take() == "+x -x -c -b"
            assert await outer.restart_child("inner") is inner
            assert script.take() == "+b +c"  # what was added to it is not in its specification
        assert script.take() == "-d -c -b -a"
        assert not script.reports

    run(main)


def test_escalation(run: Any) -> None:
    """An inner supervisor that gives up is a failed child of the outer one, up to the top."""

    async def main() -> None:
        script = Script()
        inner = script.supervisor(script.children("x"), name="inner", max_restarts=1)
        outer = script.supervisor(
            [script.child("a"), ChildSpec(id="inner", start=inner)], name="outer", max_restarts=1
        )
        with pytest.raises(MaxRestartsExceeded) as raised:
            async with outer:
                for _ in range(3):
                    await script.crash("x")
                script.end("x", Boom())
                await anyio.sleep_forever()
        assert script.take() == "+a +x -x +x -x +x -x +x -x -a"
        error = raised.value
        assert (error.supervisor, error.child) == ("outer", "inner")
        assert isinstance(error.__cause__, MaxRestartsExceeded)
        assert error.__cause__.supervisor == "inner"
        assert isinstance(error.__cause__.__cause__, Boom)
        said = [(r.supervisor, r.error_context, r.offender["id"]) for r in script.reports]
        once = [("inner", "child_terminated", "x")] * 2 + [("inner", "shutdown", "x")]
        again = [*once, ("outer", "child_terminated", "inner")]
        assert said == [*again, *again, ("outer", "shutdown", "inner")]

    run(main)


@pytest.mark.parametrize("restart", ["transient", "temporary"])
def test_a_supervisor_that_gives_up_ends_with_shutdown(run: Any, restart: Any) -> None:
    """As in OTP: so a transient one is not restarted."""

    async def main() -> None:
        script = Script()
        inner = script.supervisor(script.children("x"), max_restarts=0)
        async with script.supervisor(
            [ChildSpec(id="inner", start=inner, restart=restart)]
        ) as outer:
            script.end("x", Boom())
            await settle()
            assert states(outer) == ({"inner": "stopped"} if restart == "transient" else {})

    run(main)


def test_an_inner_supervisor_that_fails_to_start(run: Any) -> None:
    async def main() -> None:
        script = Script()
        script.fails_to_start["y"] = 1
        inner = script.supervisor([script.child("x"), script.slow_child("y")])
        with pytest.raises(Boom):
            async with script.supervisor([script.child("a"), ChildSpec(id="i", start=inner)]):
                pytest.fail("the block was entered")
        assert script.take() == "+a +x !y -x -a"

    run(main)


def test_one_supervisor_in_two_places(run: Any) -> None:
    async def main() -> None:
        inner = NifSupervisor()
        children = [ChildSpec(id=name, start=inner) for name in "ab"]
        with pytest.raises(RuntimeError, match="running already"):
            async with NifSupervisor(children):
                pytest.fail("the block was entered")

    run(main)


# ---- significant children ----


@pytest.mark.parametrize(
    ("auto_shutdown", "restart", "how", "ends_after"),
    [
        ("any_significant", "transient", None, "s"),
        ("any_significant", "temporary", None, "s"),
        ("any_significant", "temporary", Boom, "s"),
        ("any_significant", "transient", Boom, None),  # it is restarted
        ("all_significant", "transient", None, "t"),
        ("all_significant", "temporary", Boom, "t"),
        ("never", "transient", None, None),
    ],
)
def test_auto_shutdown(
    run: Any, auto_shutdown: Any, restart: Any, how: Any, ends_after: Any
) -> None:
    async def main() -> None:
        script = Script()
        significant = {"restart": restart, "significant": auto_shutdown != "never"}
        children = [script.child("a"), *script.children("st", **significant)]
        went_on = False
        async with script.supervisor(children, auto_shutdown=auto_shutdown):
            for name in "st":
                script.end(name, how and how())
                await settle()
                if name == ends_after:
                    await anyio.sleep_forever()
            went_on = True
        assert went_on is (ends_after is None)
        assert not script.alive

    run(main)


def test_what_does_not_count_for_auto_shutdown(run: Any) -> None:
    """Being stopped by request, or with a sibling; and who is not significant."""

    async def main() -> None:
        script = Script()
        children = [
            script.child("a"),
            script.child("s", restart="transient", significant=True),
            script.child("i", restart="temporary"),
        ]
        async with script.supervisor(
            children, strategy="one_for_all", auto_shutdown="any_significant"
        ) as supervisor:
            await supervisor.terminate_child("s")
            await supervisor.restart_child("s")
            await script.crash("a")
            assert states(supervisor) == {"a": "running", "s": "running"}
            await supervisor.start_child(script.child("j", restart="temporary"))
            await settle()
            script.end("j", Boom())
            await settle()
            assert states(supervisor) == {"a": "running", "s": "running"}

    run(main)


def test_significant_where_nobody_looks(run: Any) -> None:
    async def main() -> None:
        async with NifSupervisor() as supervisor:
            with pytest.raises(NifArgumentError, match="means nothing"):
                await supervisor.start_child(
                    Script().child("a", restart="transient", significant=True)
                )

    run(main)


def test_auto_shutdown_of_an_inner_supervisor(run: Any) -> None:
    """It ends with `shutdown`; a significant one takes the outer one along."""

    async def main() -> None:
        script = Script()
        inner = script.supervisor(
            [script.child("s", restart="transient", significant=True)],
            auto_shutdown="any_significant",
        )
        outer = script.supervisor(
            [ChildSpec(id="i", start=inner, restart="transient", significant=True)],
            auto_shutdown="all_significant",
        )
        async with outer:
            script.end("s")
            await anyio.sleep_forever()
        assert not script.reports
        with pytest.raises(MaxRestartsExceeded):
            async with script.supervisor([ChildSpec(id="i", start=inner)], max_restarts=0):
                script.end("s")
                await anyio.sleep_forever()

    run(main)


# ---- native calls ----


def test_a_native_call_as_a_child_is_made_once(run: Any) -> None:
    gallery = load(library_path("c"), "int gallery_segv_read(void);")

    async def main() -> None:
        script = Script()
        spec = ChildSpec(id="n", start=gallery.gallery_segv_read)
        assert (spec.kind, spec.restart) == ("nif", "temporary")
        async with script.supervisor([script.child("a")]) as supervisor:
            await supervisor.start_child(spec)
            await until(lambda: len(script.reports) == 1)
            assert isinstance(script.reports[0].error, NifSignal)
            assert script.reports[0].offender["start"] == "gallery_segv_read"
            assert states(supervisor) == {"a": "running"}

    run(main)


def test_a_native_call_is_repeated_where_its_spec_says_so(run: Any) -> None:
    gallery = load(library_path("c"), "int gallery_segv_read(void);")
    spec = ChildSpec(id="n", start=gallery.gallery_segv_read, restart="transient")

    async def main() -> None:
        with pytest.raises(MaxRestartsExceeded) as raised:
            async with NifSupervisor([spec], max_restarts=2):
                await anyio.sleep_forever()
        assert len(raised.value.history) == 3
        assert isinstance(raised.value.__cause__, NifSignal)

    run(main)


def test_a_native_call_is_stopped(run: Any, gate: Any, probe: Any) -> None:
    async def main() -> None:
        spec = ChildSpec(id="n", start=probe.wait_at_gate, args=(1,))
        with anyio.fail_after(30):
            async with NifSupervisor([spec]):
                await until(lambda: bool(gate.count_at_gate()))

    run(main)
