"""How often is too often: the window of restarts, on a clock the tests set; and the backoff."""

from __future__ import annotations

import itertools
import math
from typing import Any

import anyio
import pytest

from aionif import Backoff, MaxRestartsExceeded, NifArgumentError
from aionif.telemetry import registry
from tests.support import until
from tests.support.supervising import Boom, Clock, Script, settle, states


def test_as_many_as_allowed_then_one_more(run: Any) -> None:
    async def main() -> None:
        script, clock = Script(), Clock()
        children = script.children("ab")
        supervisor = script.supervisor(children, clock=clock, name="tree")
        with pytest.raises(MaxRestartsExceeded) as raised:
            async with supervisor:
                for _ in range(5):  # as the window slides, for ever
                    for name in "aba":
                        clock.now += 1.75
                        await script.crash(name)
                clock.now += 100
                for name in "aba":
                    await script.crash(name)
                clock.now += 5.0  # which is still inside
                script.end("b", Boom("last"))
                await anyio.sleep_forever()
        error = raised.value
        assert (error.supervisor, error.child) == ("tree", "b")
        assert (error.max_restarts, error.max_seconds) == (3, 5.0)
        assert [entry.child for entry in error.history] == ["a", "b", "a", "b"]
        assert [entry.at for entry in error.history] == [226.25] * 3 + [231.25]
        assert error.history[-1].reason == "Boom: last"
        assert isinstance(error.__cause__, Boom)
        assert script.contexts()[-2:] == [("child_terminated", "b"), ("shutdown", "b")]
        assert script.reports[-1].reason == "reached_max_restart_intensity"
        assert not script.alive

    run(main)


def test_restarts_of_all_supervisors_are_counted_for_metrics(run: Any) -> None:
    async def main() -> None:
        before = registry.supervisor_restarts()
        script = Script()
        async with (
            script.supervisor(script.children("ab"), strategy="one_for_all") as one,
            script.supervisor(script.children("c")) as other,
        ):
            for name in "abc":
                await script.crash(name)
            assert (one.restarts, other.restarts) == (2, 1)
            assert registry.supervisor_restarts() - before == 3
        assert registry.supervisor_restarts() - before == 3

    run(main)


def test_intensity_nought_restarts_nothing(run: Any) -> None:
    async def main() -> None:
        script = Script()
        with pytest.raises(MaxRestartsExceeded):
            async with script.supervisor(script.children("ab"), max_restarts=0):
                script.take()
                script.end("a")  # permanent: a normal end counts as well
                await anyio.sleep_forever()
        assert script.take() == "-a -b"

    run(main)


def test_those_that_are_not_restarted_do_not_count(run: Any) -> None:
    async def main() -> None:
        script = Script()
        children = [script.child(name, restart="temporary") for name in "abc"]
        async with script.supervisor(children, max_restarts=0) as supervisor:
            for name in "abc":
                script.end(name, Boom())
            await settle()
            assert states(supervisor) == {}

    run(main)


def test_the_last_words_of_the_block_are_kept(run: Any) -> None:
    """The supervisor's error wins; what the block raised meanwhile is its context."""

    async def main() -> None:
        script = Script()
        with pytest.raises(MaxRestartsExceeded) as raised:
            async with script.supervisor(script.children("a"), max_restarts=0):
                script.end("a", Boom())
                try:
                    await anyio.sleep_forever()
                finally:
                    raise KeyError
        assert isinstance(raised.value.__cause__, Boom)
        assert isinstance(raised.value.__context__, KeyError)

    run(main)


# ---- backoff ----


def test_delays() -> None:
    backoff = Backoff(initial=0.1, factor=2.0, maximum=1.0, jitter=0.5)
    assert [round(backoff.delay(n, 0.0), 9) for n in range(1, 7)] == [0.1, 0.2, 0.4, 0.8, 1.0, 1.0]
    assert backoff.delay(1, 1.0) == pytest.approx(0.05)
    assert backoff.delay(10**6, 0.0) == 1.0
    assert Backoff(initial=0.5, factor=1.0, jitter=0.0).delay(1000, 1.0) == pytest.approx(0.5)
    assert Backoff(initial=1, maximum=1e300, factor=1e300).delay(5000, 0.0) == 1e300


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *itertools.product(("initial", "maximum", "factor"), (0, -1, math.nan, math.inf, "1")),
        ("jitter", 1.5),
        ("jitter", -0.5),
        ("reset_after", -1),
        ("maximum", 0.01),
        ("factor", 0.5),
    ],
)
def test_bad_backoff(field: str, value: Any) -> None:
    with pytest.raises(NifArgumentError) as raised:
        Backoff(**{field: value})
    assert raised.value.argument in {field, "maximum"}  # which must be at least `initial`


@pytest.mark.parametrize("strategy", ["one_for_one", "one_for_all", "rest_for_one"])
def test_requests_are_served_while_a_restart_waits(run: Any, strategy: Any) -> None:
    async def main() -> None:
        script = Script()
        backoff = Backoff(initial=0.05, maximum=0.05)
        children = script.children("abc")
        async with script.supervisor(children, strategy=strategy, backoff=backoff) as supervisor:
            script.take()
            script.end("b", Boom())
            await settle()
            assert states(supervisor)["b"] == "restarting"
            await supervisor.start_child(script.child("d"))
            await until(lambda: "+b" in script.log)
            await settle()
            assert set(states(supervisor).values()) == {"running"}
            assert (
                script.take()
                == {
                    "one_for_one": "-b +d +b",
                    # what was started meanwhile is one of the group, too
                    "one_for_all": "-b -c -a +d -d +a +b +c +d",
                    "rest_for_one": "-b -c +d -d +b +c +d",
                }[strategy]
            )
        assert not script.alive

    run(main)


def test_a_child_that_ran_for_long_begins_anew(run: Any) -> None:
    async def main() -> None:
        script, clock = Script(), Clock()
        backoff = Backoff(initial=0.001, maximum=3600, factor=1e6, jitter=0, reset_after=10)
        supervisor = script.supervisor(script.children("a"), clock=clock, backoff=backoff)
        async with supervisor:
            for _ in range(3):
                await script.crash("a")  # a second one in a row would be waited for, for an hour
                clock.now += 10
            clock.now -= 0.1
            script.end("a", Boom())
            await anyio.sleep(0.01)
            assert states(supervisor) == {"a": "restarting"}

    run(main)
