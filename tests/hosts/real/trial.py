"""Trials of aionif beside a real library: each in a process of its own, shown as a table.

A script lists its trials. A trial is a coroutine function that gets a Caller of one tier and the
path of what was built, and prints what it sees; how its process ends is part of what is seen. What
was seen is held against what the script expects, which is what docs/guarantees.md says.
"""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

MISSING = 77
"""The exit status of a script whose library is not installed."""

SECONDS = 20
"""That one trial may take before it counts as one that hangs."""

_ROOT = Path(__file__).parents[3]
# At the end: aionif is the one that is installed.
_CHILD = f"""
import sys
sys.path.append({str(_ROOT)!r})
from tests.hosts.real import trial
trial.serve()
"""


class Trial(NamedTuple):
    """A function of the script, the tier it is tried on, and what is to be seen.

    tier: its name, and fields of a NifPolicy: "thread stack=thread".
    expected: a pattern; `*` stands where it is not the same each time.
    """

    function: Callable[..., Awaitable[None]]
    tier: str
    expected: str
    arguments: tuple[str, ...] = ()


class Caller:
    """Makes calls on one tier and says in a few words what came of them."""

    def __init__(self, tier: str, executor: Any, policy: Any = None) -> None:
        self.tier = tier
        self._executor = executor
        self.policy = policy

    async def __call__(
        self, function: Any, *arguments: Any, timeout: float | None = None, policy: Any = None
    ) -> str:
        """Return "result", or the name of the error and of its signal."""
        import aionif

        policy = policy or self.policy
        try:
            if self.tier == "inline":
                result = aionif.call_nif(function, *arguments, timeout=timeout, policy=policy)
            else:
                execute = self._executor.execute_nif
                result = await execute(function, *arguments, timeout=timeout, policy=policy)
        except aionif.NifError as error:
            sign = getattr(error, "signal", None)
            return f"{type(error).__name__} {sign.name}" if sign else type(error).__name__
        return str(result)


def missing(what: str) -> NoReturn:
    """End the script: what it needs is not installed."""
    print(f"missing: {what}")
    sys.exit(MISSING)


def build(
    directory: Path, source: str, *flags: str, compiler: str = "gcc", package: str = ""
) -> Path:
    """Compile `source` into a library in `directory`; end the script where that cannot be done."""
    code, library = directory / "tried.c", directory / "libtried.so"
    code.write_text(source, encoding="utf-8")
    command: list[Any] = [
        compiler,
        "-O1",
        "-g",
        "-shared",
        "-fPIC",
        "-pthread",
        code,
        "-o",
        library,
        *flags,
    ]
    if not shutil.which(compiler):
        missing(f"{compiler} (apt-get install {package or compiler})")
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=SECONDS)
    if done.returncode:
        first = next((line for line in done.stderr.splitlines() if "error" in line), done.stderr)
        missing(f"{package} (apt-get install {package}): {first.strip()}")
    return library


def serve() -> None:
    """Run one trial, in the process of its own."""
    module, name, tier, path, *arguments = sys.argv[1:]
    function = getattr(importlib.import_module(module), name)
    asyncio.run(_serve(function, tier, path, arguments))


async def _serve(function: Any, tier: str, path: str, arguments: list[str]) -> None:
    if "caller" not in inspect.signature(function).parameters:
        await function(path, *arguments)  # imports aionif when its time has come
        return
    import aionif

    isolation: Any
    isolation, *fields = tier.split()
    chosen: dict[str, Any] = dict(field.split("=") for field in fields)
    policy = aionif.NifPolicy(**chosen)
    if isolation == "inline":
        await function(Caller(isolation, None, policy), path, *arguments)
        return
    async with aionif.NifExecutor(isolation=isolation, policy=policy) as executor:
        await function(Caller(isolation, executor, policy), path, *arguments)


def _ending(status: int) -> str:
    if status < 0:
        return f"died of {signal.Signals(-status).name}"
    return "went on" if status == 0 else f"exited with {status}"


def _try(trial: Trial, path: Path, environment: Mapping[str, str], log: Any) -> str:
    script = sys.modules["__main__"].__spec__.name  # type: ignore[union-attr]
    command = [sys.executable, "-P", "-c", _CHILD, script, trial.function.__name__]
    with subprocess.Popen(
        [*command, trial.tier, path, *trial.arguments],
        stdout=subprocess.PIPE,
        stderr=log,
        text=True,
        env={**os.environ, **environment},
        start_new_session=True,
    ) as child:
        try:
            output, _ = child.communicate(timeout=SECONDS)
            ending = _ending(child.returncode)
        except subprocess.TimeoutExpired:
            os.killpg(child.pid, signal.SIGKILL)  # its worker processes end with it
            output, _ = child.communicate()
            ending = "hung"
    return ", ".join([*output.splitlines(), ending])


def run(
    trials: tuple[Trial, ...],
    path: Path,
    environment: Mapping[str, str] | None = None,
    heading: str = "",
) -> int:
    """Try them all and print a row for each; return 1 if any differs from what is expected.

    What the children say on stderr is kept in a file whose name is printed where they differ.
    """
    chosen = [t for t in trials if all(word in str(t) for word in sys.argv[1:])]
    different = 0
    for trial in chosen:
        with tempfile.NamedTemporaryFile("w+", delete=False, suffix=".stderr") as log:
            seen = _try(trial, path, environment or {}, log)
        name = (
            " ".join([heading, trial.function.__name__, *trial.arguments]).replace("_", " ").strip()
        )
        is_as_expected = fnmatchcase(seen, trial.expected)
        print(f"{'ok ' if is_as_expected else 'NOT'} {name} | {trial.tier} | {seen}", flush=True)
        if is_as_expected:
            Path(log.name).unlink()
        else:
            different += 1
            print(f"    expected: {trial.expected}\n    its stderr: {log.name}", flush=True)
    return 1 if different else 0
