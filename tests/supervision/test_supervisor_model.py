"""Any sequence of ends and requests, against a model of OTP's supervisor of thirty lines."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aionif import NifArgumentError, NifShutdown
from tests.support import run_on
from tests.support.supervising import Boom, Script, settle, states

NAMES = "abcde"
RESTARTS = ("permanent", "transient", "temporary")
STEPS = ("normal", "shutdown", "abnormal", "start", "terminate", "restart", "delete")


class Model:
    """What the log and the states have to be. children: name -> (restart, whether it runs)."""

    def __init__(self, strategy: str, children: dict[str, str]) -> None:
        self.strategy = strategy
        self.kinds = dict(children)
        self.running = dict.fromkeys(children, True)
        self.log = [f"+{name}" for name in children]

    def stop(self, names: list[str]) -> None:
        for name in reversed(names):
            if self.running[name]:
                self.log.append(f"-{name}")
            self.running[name] = False
            if self.kinds[name] == "temporary":
                del self.running[name]

    def start(self, names: list[str]) -> None:
        for name in names:
            if name in self.running:
                self.log.append(f"+{name}")
                self.running[name] = True

    def end(self, name: str, how: str) -> None:
        self.log.append(f"-{name}")
        self.running[name] = False
        kind = self.kinds[name]
        if kind == "permanent" or (kind == "transient" and how == "abnormal"):
            names = list(self.running)
            group = {
                "one_for_one": [name],
                "one_for_all": names,
                "rest_for_one": names[names.index(name) :],
            }[self.strategy]
            self.stop(group)
            self.start(group)
        elif kind == "temporary":
            del self.running[name]

    def request(self, step: str, name: str, kind: str) -> bool:
        """Do what is asked for; False if OTP refuses it."""
        known, runs = name in self.running, self.running.get(name, False)
        if step == "start" and not known:
            self.kinds[name] = kind
            self.running[name] = True
            self.log.append(f"+{name}")
        elif step == "terminate" and known:
            self.stop([name])
        elif step == "restart" and known and not runs:
            self.start([name])
        elif step == "delete" and known and not runs:
            del self.running[name]
        else:
            return False
        return True


HOW = {"normal": None, "shutdown": NifShutdown, "abnormal": Boom}

cases = {
    "strategy": st.sampled_from(["one_for_one", "one_for_all", "rest_for_one"]),
    "first": st.dictionaries(st.sampled_from(NAMES), st.sampled_from(RESTARTS), max_size=4),
    "steps": st.lists(
        st.tuples(st.sampled_from(STEPS), st.sampled_from(NAMES), st.sampled_from(RESTARTS)),
        max_size=12,
    ),
    "slow": st.booleans(),
}


async def follow(strategy: Any, first: Any, steps: Any, *, slow: bool) -> None:
    script, model = Script(), Model(strategy, first)
    child = script.slow_child if slow else script.child
    specs = [child(name, restart=kind) for name, kind in first.items()]
    async with script.supervisor(specs, strategy=strategy, max_restarts=1000) as supervisor:
        requests = {
            "terminate": supervisor.terminate_child,
            "restart": supervisor.restart_child,
            "delete": supervisor.delete_child,
        }
        for step, name, kind in steps:
            if step in HOW:
                if not model.running.get(name):
                    continue
                how = HOW[step]
                model.end(name, step)
                script.end(name, how and how(name))
            else:
                allowed = model.request(step, name, kind)
                try:
                    if step == "start":
                        await supervisor.start_child(child(name, restart=kind))
                    else:
                        await requests[step](name)
                except NifArgumentError:
                    assert not allowed
                else:
                    assert allowed
            for _ in (0, *model.running):  # each of them may be ended and started again
                await settle()
            assert script.log == model.log
            assert states(supervisor) == {
                name: "running" if runs else "stopped" for name, runs in model.running.items()
            }
            assert list(states(supervisor)) == list(model.running)
    model.stop(list(model.running))
    assert script.log == model.log


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
@settings(max_examples=100, deadline=None)
@given(**cases)
def test_it_does_as_the_model(backend: str, **case: Any) -> None:
    async def main() -> None:
        await follow(**case)

    run_on(backend, main)
