"""`aionif demo`: native code crashes in every way there is, in a process that goes on.

One event loop, one executor, one process. A task ticks on the loop from the first call to the last,
so that it shows whether the crashes held anything up. What comes out is a list of rows, printed as
they come, and a summary; `--json` prints the same as one document.
"""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import sys
from collections import Counter
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, NoReturn

import anyio

import aionif
from aionif.cli import _specimens
from aionif.cli._real_work import WORK, Work
from aionif.cli._stderr import kept_stderr
from aionif.cli._table import Table, format_seconds
from aionif.cli._ticker import Ticker

if TYPE_CHECKING:
    from aionif.cli._calls import Row

__all__ = ("leave", "run")

_PERIOD = 0.005  # seconds between two ticks
_SAMPLE = "qsort_comparator"  # its backtrace goes through libc and names source lines of our own
_CANNOT_START = 2
_REAL_WORK = "Real work"


def run(*, backend: str, as_json: bool, verbose: bool) -> int:
    """Run the demonstration and return an exit status, as `aionif demo --help` explains it."""
    if backend != "asyncio" and importlib.util.find_spec(backend) is None:
        print(f"{backend} is not installed: pip install 'aionif[{backend}]'", file=sys.stderr)
        return _CANNOT_START
    demonstration = _Demonstration(backend, silent=as_json)
    with kept_stderr() as stderr:
        anyio.run(
            demonstration.main,
            backend="trio" if backend == "trio" else "asyncio",
            backend_options={"use_uvloop": True} if backend == "uvloop" else {},
        )
        noise = stderr()
    if as_json:
        print(json.dumps(demonstration.document(noise), indent=2))
    else:
        demonstration.summarise(noise, verbose=verbose)
    return 0 if demonstration.succeeded else 1


def leave(status: int) -> NoReturn:
    """End the process at once, with `status`.

    Not through `exit()`: the gallery has run the exit handlers already, and has left locks of libc
    held that some versions of libc want in order to flush stdio.
    """
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except BrokenPipeError:
        status = status or 1
    os._exit(status)


class _Demonstration:
    def __init__(self, backend: str, *, silent: bool) -> None:
        self.backend = backend
        self.pid = os.getpid()
        self.ticker = Ticker(_PERIOD)
        self.rows: list[tuple[str, Row]] = []
        self.statistics: aionif.Statistics | None = None
        self.report = aionif.CrashReport()
        self._work = [(work, work.load()) for work in WORK]
        self._specimens = _specimens.runnable()
        self._functions = _specimens.functions(self._specimens)
        width = max(len(specimen.name) for specimen in self._specimens)
        self._table = Table(width)
        self._silent = silent
        self._section = ""

    # ---- running ----

    async def main(self) -> None:
        if not self._silent:
            self._greet()
        async with anyio.create_task_group() as group:
            group.start_soon(self.ticker.run)
            async with aionif.NifExecutor() as executor:
                for work, library in self._work:
                    await self._perform(work, library, executor)
                await self._crash(executor)
                self.statistics = executor.statistics()
            group.cancel_scope.cancel()
        self.report = await self.report.symbolise_async()

    async def _perform(
        self, work: Work, library: aionif.NifLibrary | Row, executor: aionif.NifExecutor
    ) -> None:
        if isinstance(library, aionif.NifLibrary):
            await work.perform(library, executor, lambda row: self._show(_REAL_WORK, row))
        else:
            self._show(_REAL_WORK, library)

    async def _crash(self, executor: aionif.NifExecutor) -> None:
        for specimen in self._specimens:
            function = self._functions[specimen.name]
            row, error = await _specimens.call(specimen, function, executor)
            self._show(_specimens.section(specimen), row)
            if specimen.name == _SAMPLE and isinstance(error, aionif.NifCrash):
                self.report = error.report

    def _show(self, section: str, row: Row) -> None:
        self.rows.append((section, row))
        if self._silent:
            return
        if section != self._section:
            self._section = section
            self._table.section(section)
        self._table.row(row)

    # ---- what came out ----

    @property
    def succeeded(self) -> bool:
        return not any(row.problem for _, row in self.rows) and os.getpid() == self.pid

    @property
    def _failures(self) -> Counter[str]:
        """Calls of the gallery that ended with an exception, by its class."""
        return Counter(row.error for part, row in self.rows if row.error and part != _REAL_WORK)

    def document(self, noise: str) -> dict[str, Any]:
        """Return everything for `--json`."""
        return {
            "ok": self.succeeded,
            "aionif": aionif.__version__,
            "python": platform.python_version(),
            "platform": platform.platform(),
            "backend": self.backend,
            "pid": {"before": self.pid, "after": os.getpid()},
            "calls": [{"section": section, **asdict(row)} for section, row in self.rows],
            "contained": dict(self._failures),
            "ticks": asdict(self.ticker),
            "statistics": None if self.statistics is None else asdict(self.statistics),
            "not_built": _specimens.missing(),
            "sample_report": self.report.render(),
            "stderr": noise,
        }

    def _greet(self) -> None:
        line = self._table.line
        line(f"aionif {aionif.__version__}: native code crashes, the program goes on")
        line(
            f"CPython {platform.python_version()} on {platform.system()} {platform.machine()}, "
            f"{self.backend}, process {self.pid}; a task ticks every {_PERIOD * 1e3:g} ms\n"
        )
        self._table.head()

    def summarise(self, noise: str, *, verbose: bool) -> None:
        line = self._table.line
        self._table.section("Afterwards")
        for sentence in self._sentences(noise, verbose=verbose):
            line(f"  {sentence}")
        self._table.section(f"One of the crash reports ({_SAMPLE}): exc.report.render()")
        line(self.report.render())
        if verbose:
            self._table.section("What was written to stderr meanwhile")
            line(noise)

    def _sentences(self, noise: str, *, verbose: bool) -> list[str]:
        wrong = sum(bool(row.problem) for _, row in self.rows)
        count = sum(row.seconds is not None for _, row in self.rows)
        kinds = ", ".join(f"{n} {name}" for name, n in self._failures.most_common())
        ticker, tainted = self.ticker, self.statistics.tainted if self.statistics else ()
        process = "the same process" if os.getpid() == self.pid else "NOT the process"
        hidden = "" if verbose else "; --verbose shows them"
        return [
            f"{count - wrong} of {count} came out as expected.",
            f"{self._failures.total()} failures of native code were contained: {kinds}.",
            (
                f"{ticker.late} of {ticker.count} ticks were late by {_PERIOD * 1e3:g} ms or more; "
                f"the largest delay was {format_seconds(ticker.largest_delay)}."
            ),
            f"This is process {os.getpid()}, {process} that began.",
            f"What it is left with, and knows of: {', '.join(tainted) or 'nothing'}.",
            (
                f"{len(noise.splitlines())} lines went to stderr meanwhile, by native code "
                f"and the log{hidden}."
            ),
            (
                "Not called: crash_in_thread. A fault on a thread that native code starts itself "
                "still ends the process."
            ),
            *(f"Not called: {sentence}." for sentence in _specimens.missing()),
        ]
