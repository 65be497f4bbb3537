"""Child processes that measure: started, waited for, and ended with all that they have started.

Each is the leader of a session of its own. Whatever becomes of it, all processes of its session are
killed before the next one starts: a worker that outlives its pool would be measured with the next
subject.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
from anyio import to_thread

from aionif.bench import _tree

if TYPE_CHECKING:
    from anyio.abc import Process

__all__ = ("Ending", "run_child")

_LONGEST_NOTE = 200


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """What came of a child.

    lines: that it wrote, each an object. status: of its process; negative: the signal's number;
    None: it was killed at its bound. complaint: the last line of its stderr.
    """

    lines: tuple[dict[str, Any], ...]
    status: int | None
    complaint: str = ""

    @property
    def note(self) -> str:
        """How it ended, in words."""
        if self.status is None:
            return "killed at its bound"
        if self.status < 0:
            return f"the process was ended by {signal.Signals(-self.status).name}"
        said = f": {self.complaint}" if self.complaint else ""
        return f"the process ended with status {self.status}{said}"


async def run_child(module: str, order: dict[str, Any], *, bound: float) -> Ending:
    """Run `main` of a module of this package in a child process, with an order to read.

    bound: seconds after which it is killed if it has not written another line.
    """
    with tempfile.TemporaryDirectory(prefix="aionif-bench-") as directory:
        source, output, errors = (Path(directory, name) for name in ("order", "lines", "errors"))
        source.write_text(json.dumps(order), encoding="utf-8")
        command = [sys.executable, "-P", "-c", f"import {module} as m; m.main()"]
        # Files, not pipes: a worker that outlives the child would hold the other end of a pipe.
        with errors.open("wb") as stderr:
            process = await anyio.open_process(
                [*command, str(source), str(output)],
                stdin=subprocess.DEVNULL,
                stdout=stderr,
                stderr=stderr,
                start_new_session=True,
            )
            try:
                in_time = await _wait(process, output, bound)
            finally:
                with anyio.CancelScope(shield=True):
                    await to_thread.run_sync(_tree.kill, process.pid)
                    await process.wait()
        return Ending(
            lines=_lines(output),
            status=process.returncode if in_time else None,
            complaint=_last_line(errors),
        )


async def _wait(process: Process, output: Path, bound: float) -> bool:
    """Wait for the end of a child; return False if it stands still before."""
    seen = 0
    while True:
        with anyio.move_on_after(bound):
            await process.wait()
            return True
        written = len(_lines(output))
        if written == seen:
            return False
        seen = written


def _lines(file: Path) -> tuple[dict[str, Any], ...]:
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:  # it died before it had anything to write
        return ()
    whole, _, _ = text.rpartition("\n")  # the last line may be torn
    return tuple(json.loads(line) for line in whole.splitlines())


def _last_line(file: Path) -> str:
    lines = file.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1].strip()[:_LONGEST_NOTE] if lines else ""
