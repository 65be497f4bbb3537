"""Scripts that tests run as processes of their own, because they are meant to die, or to fork.

A script prints markers as it goes, so that one that died too early does not pass for one that died
as expected. `run` and `start` are how tests run them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

from tests.support import DEADLINE, no_core_dump

HERE = Path(__file__).parent


class Ending(NamedTuple):
    """How a child ended: exit status (negative: a signal), and all it wrote."""

    status: int
    output: str
    errors: str

    @property
    def lines(self) -> list[str]:
        return self.output.splitlines()

    def comparable(self) -> Ending:
        """The same without what differs from run to run, and the list of compiled modules."""
        errors = re.sub(r"0x[0-9a-f]+", "0x", self.errors)
        errors = re.sub(r"\n+Extension modules: .*", "", errors)
        return Ending(self.status, self.output, errors)


def start(script: str, *arguments: object, options: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """Start `script` with core dumps off, and nothing in its environment to enable faulthandler."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONFAULTHANDLER"}
    return subprocess.Popen(
        [sys.executable, *options, str(HERE / script), *map(str, arguments)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        preexec_fn=no_core_dump,  # noqa: PLW1509 - one system call, and no thread holds a lock of it
    )


def finish(child: subprocess.Popen[str], deadline: float = DEADLINE) -> Ending:
    """Wait for the end of `child`; kill it if that takes too long."""
    with child:
        try:
            output, errors = child.communicate(timeout=deadline)
        finally:
            child.kill()
    return Ending(child.returncode, output, errors)


def run(
    script: str, *arguments: object, options: tuple[str, ...] = (), deadline: float = DEADLINE
) -> Ending:
    """Run `script` to its end."""
    return finish(start(script, *arguments, options=options), deadline)
