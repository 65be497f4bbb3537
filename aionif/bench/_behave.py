"""Main of the child processes in which one call goes wrong, beside calls that do not.

What is found is written a line at a time, so that a child that dies or hangs has said how far it
came. Nothing here knows what to expect of any subject.
"""

from __future__ import annotations

import json
import mmap
import re
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio

from aionif.bench._case import Case
from aionif.bench._cell import leave, prepare
from aionif.bench._timing import warm_up
from aionif.bench.subjects import SUBJECTS
from aionif.bench.workload import Work, built_in

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("DEADLINE", "Trial", "main")

DEADLINE = 0.25  # seconds that the call that hangs is given
_LONG, _SHORT = 150_000, 2_000  # microseconds of work of bystanders: running, and queued
_QUEUED = 10
_PATIENCE = 2.0  # seconds, for anything that may never come, on a machine that does nothing else
_MARGIN = 2.0  # what is seen of a machine's load is that of a moment
_GRACE = 0.9  # seconds until native code that still runs is taken to run on
_SILENCE = 0.25  # seconds without a beat: longer than it may wait for a CPU
_LOOK = 0.02  # seconds between two looks at what has no event


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What a child is to try: an event, of one subject."""

    subject: str
    event: str
    workers: int
    turns: float


def main() -> None:
    """Read the trial from the file that is the first argument, and write to the second."""
    source, output = sys.argv[1:]
    trial = Trial(**json.loads(Path(source).read_text(encoding="utf-8")))
    prepare(())
    subject = SUBJECTS[trial.subject]
    with Path(output).open("w", encoding="utf-8", buffering=1) as lines:
        case = Case(subject=subject, workers=trial.workers, budget=0.01, turns=trial.turns)
        beats = Path(output).with_name("beats")
        beats.write_bytes(bytes(mmap.PAGESIZE))
        doing = _Doing(
            case, trial.event, beats, lambda **found: lines.write(json.dumps(found) + "\n")
        )
        anyio.run(doing.go, backend=subject.backend)
    leave()


class _Doing:
    """One trial."""

    def __init__(self, case: Case, event: str, beats: Path, tell: Callable[..., object]) -> None:
        self.case = case
        self.event = event
        self.tell = tell
        self.ended = 0  # bystanders with a result
        self.slow = 1.0  # how much longer than alone things take here and now
        self._path = bytes(beats)
        with beats.open("r+b") as file:
            self._beats = mmap.mmap(file.fileno(), mmap.PAGESIZE)

    async def go(self) -> None:
        """Have one call go wrong, and look at all that comes of it."""
        case = self.case
        async with case.open() as bind:
            await warm_up(case, bind(case.work(0)))
            await self._look_at_the_machine(bind(case.work(_LONG)))
            first, rest = self._bystanders(bind)
            self.tell(bystanders=len(first) + len(rest))
            async with anyio.create_task_group() as group:
                with anyio.move_on_after(2 * _PATIENCE * self.slow):
                    for call in first:
                        group.start_soon(self._bystander, call)
                    await anyio.sleep(_LOOK)
                    group.start_soon(self._all, rest)
                    await self._go_wrong(bind)
                    await self._settled(len(first) + len(rest))
                    self.tell(bystanders_lost=len(first) + len(rest) - self.ended)
                    if self.event != "crash":
                        self.tell(stopped=await self._has_stopped())
                    self.tell(usable=await self._is_usable(bind))
                leave()  # what still waits would be waited for

    async def _look_at_the_machine(self, call: Callable[[], Any]) -> None:
        """See how long known work takes: on a busy machine everything else takes longer, too."""
        start = time.perf_counter()
        result = call()
        if not self.case.subject.synchronous:
            await result
        self.slow = max(1.0, _MARGIN * (time.perf_counter() - start) / (_LONG / 1e6))

    def _bystanders(self, bind: Any) -> tuple[list[Any], list[Any]]:
        """Return calls that leave one worker free, and calls that wait in the queue."""
        if self.case.subject.synchronous:
            return [], []
        running = [bind(self.case.work(_LONG)) for _ in range(self.case.workers - 1)]
        return running, [bind(self.case.work(_SHORT)) for _ in range(_QUEUED)]

    async def _all(self, calls: list[Any]) -> None:
        await anyio.sleep(0.005)  # behind the call that goes wrong
        async with anyio.create_task_group() as group:
            for call in calls:
                group.start_soon(self._bystander, call)

    async def _bystander(self, call: Callable[[], Any]) -> None:
        try:
            await call()
        except Exception as error:  # noqa: BLE001 - each library has its own
            self.tell(bystander_was_told=type(error).__name__)
        else:
            self.ended += 1

    async def _settled(self, count: int) -> None:
        """Wait for the bystanders, but not for ever."""
        end = time.monotonic() + _PATIENCE / 2 * self.slow
        while self.ended < count and time.monotonic() < end:  # noqa: ASYNC110 - a look is enough
            await anyio.sleep(_LOOK)

    # ---- the event ----

    async def _go_wrong(self, bind: Any) -> None:
        wrong = built_in("crash") if self.event == "crash" else built_in("beat", self._path)
        if self.event == "cancel":
            await self._cancelled(bind(wrong))
            return
        timeout = DEADLINE if self.event == "hang" else None
        call = bind(wrong, timeout=timeout)
        start = time.perf_counter() + (timeout or 0.0)
        with anyio.move_on_after(DEADLINE + _PATIENCE * self.slow):
            await self._await(call, start)

    async def _await(self, call: Callable[[], Any], start: float) -> None:
        try:
            result = call()
            if not self.case.subject.synchronous:
                await result
        except Exception as error:  # noqa: BLE001 - each library has its own
            late = max(0.0, time.perf_counter() - start)
            self.tell(told=type(error).__name__, signal=_signal_in(error), seconds=late)

    async def _cancelled(self, call: Callable[[], Any]) -> None:
        asked = 0.0

        async def victim() -> None:
            try:
                result = call()
                if not self.case.subject.synchronous:
                    await result
            except BaseException as error:
                late = time.perf_counter() - asked
                self.tell(told=type(error).__name__, seconds=late)
                raise

        with anyio.move_on_after(_PATIENCE * self.slow):
            async with anyio.create_task_group() as group:
                group.start_soon(victim)
                while not self._count():  # noqa: ASYNC110 - memory sets no event
                    await anyio.sleep(_LOOK / 4)
                asked = time.perf_counter()
                group.cancel_scope.cancel()

    # ---- what came of it ----

    def _count(self) -> int:
        return int.from_bytes(self._beats[:8], "little")

    async def _has_stopped(self) -> bool | None:
        """Tell whether the native code has ended; None: it never ran."""
        if not self._count():
            return None
        end = time.monotonic() + _GRACE
        while time.monotonic() < end:
            before = self._count()
            await anyio.sleep(_SILENCE)
            if self._count() == before:
                return True
        return False

    async def _is_usable(self, bind: Any) -> bool:
        with anyio.move_on_after(_PATIENCE / 2 * self.slow):
            try:
                work: Work = built_in("read", b"x", 1)
                result = bind(work)()
                if not self.case.subject.synchronous:
                    result = await result
            except Exception:  # noqa: BLE001 - whatever it is, the pool is not usable
                return False
            return bool(result == 2 * ord("x"))
        return False


def _signal_in(error: BaseException) -> str | None:
    """Return the name of the signal that an exception tells of, wherever it does."""
    named = getattr(error, "signal", None)
    if isinstance(named, signal.Signals):
        return named.name
    code = getattr(error, "exitcode", None)
    if isinstance(code, int) and code < 0:
        return signal.Signals(-code).name
    found = re.search(r"\bSIG[A-Z]{3,}\b", str(error))
    return found.group() if found else None
