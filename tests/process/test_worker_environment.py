"""What of the program's environment, and of its keys, worker processes have."""

from __future__ import annotations

import os
import random
import re
from multiprocessing import current_process
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aionif import NifExecutor, NifPolicy, Sandbox
from aionif.process.setup import Setup
from tests.support import run_child, run_on

if TYPE_CHECKING:
    from collections.abc import Callable

_PATTERN = re.compile(rb"TOKEN-[0-9]{24}")  # it does not match itself

found_in_memory: list[int] = []


def look_through_memory() -> None:
    """Note how often the secret is in this process's memory. An initializer may look yet."""
    found_in_memory.append(0)
    maps = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    with Path("/proc/self/mem").open("rb", buffering=0) as memory:
        for line in maps:
            low, high = (int(number, 16) for number in line.split()[0].split("-"))
            if line.split()[1].startswith("rw") and high - low < 1 << 28:
                try:
                    memory.seek(low)
                    content = memory.read(high - low)
                except (OSError, ValueError, OverflowError):
                    continue
                found_in_memory[0] += len(_PATTERN.findall(content))


def seen() -> tuple[str | None, str | None, str | None, int]:
    value = os.environ.get("APP_TOKEN")
    return value, os.environ.get("APP_MODE"), os.environ.get("PATH"), found_in_memory[0]


def ask(policy: NifPolicy, function: Callable[[], Any]) -> Any:
    async def main() -> Any:
        async with NifExecutor(
            isolation="process",
            max_workers=1,
            policy=policy,
            initializer=look_through_memory,
            preload=(__name__,),
        ) as executor:
            return await executor.execute_nif(function)

    return run_on("asyncio", main)


def test_a_sealed_worker_has_no_secret_of_the_environment() -> None:
    secret = f"TOKEN-{random.randrange(10**24):024}"
    child = run_child(show_environments, APP_TOKEN=secret, APP_MODE="fast")
    assert (child.returncode, child.stdout) == (0, "all well\n"), child.stderr


def show_environments() -> None:
    path = os.environ["PATH"]
    open_ = ask(NifPolicy(), seen)
    assert open_[:3] == (os.environ["APP_TOKEN"], "fast", path)
    assert open_[3] > 0, "it is found where it is"
    for profile in (Sandbox.compute(), Sandbox.python()):
        assert ask(NifPolicy(sandbox=profile), seen) == (None, None, path, 0)
        policy = NifPolicy(sandbox=profile.allow_environment("APP_MODE", "APP_NONE"))
        assert ask(policy, seen) == (None, "fast", path, 0)
    print("all well")


def test_a_sealed_worker_has_no_key_of_multiprocessing() -> None:
    key = bytes(current_process().authkey).hex()
    setup = Setup()
    assert key.encode() in setup.document(NifPolicy(), ())
    # Its text alone: that of the arguments may be anywhere.
    assert b"authkey" not in setup.document(NifPolicy(sandbox=Sandbox.python()), ())


@pytest.mark.parametrize("name", ["", "A=B", "A\0", 3])
def test_names_of_variables_are_checked(name: Any) -> None:
    with pytest.raises(ValueError, match="not the name of an environment variable"):
        Sandbox.compute().allow_environment(name)


def test_a_policy_shows_the_variables_that_it_lets_through() -> None:
    policy = Sandbox.compute().allow_environment("APP_MODE")
    assert repr(policy) == "Sandbox.compute().allow_environment('APP_MODE')"
