"""`CrashReport`: everything that was recorded about one crash, and its text.

The text reads like the tail of a Python traceback: details first, then the frames with the most
recent call last, then one line that says what happened. `frames` itself is innermost first, the
order in which a stack is walked.

A report is recorded with bare addresses, because looking up names takes milliseconds and a
crashing service may never read them. `symbolise()` returns a copy with names and lines; the
symboliser and anyio are imported there and not above, so that a worker process, which raises
these errors but never prints them, does not load either.
"""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass, field, replace
from itertools import groupby
from signal import Signals  # noqa: TC003 - typing.get_type_hints() of a public class
from typing import TYPE_CHECKING

from aionif.crash.frames import Frame  # noqa: TC001 - typing.get_type_hints() of a public class
from aionif.crash.siginfo import code_name, describe_fault
from aionif.system.escape import one_line, printable

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ("CrashReport",)

_REGISTERS_PER_LINE = 4
_STDERR_LINES = 20
_REPEATS_SHOWN = 3  # as many as a Python traceback shows of a recursive call
_SOURCE_LIMIT = 4 << 20  # bytes; a longer source file is generated and its line tells little


@dataclass(frozen=True, slots=True, kw_only=True)
class CrashReport:
    """What is known of one crash.

    signal, code, address: of the fault, as in `siginfo_t`; signal is None for a panic or an
        exit, and a number where it has no name; address is None where the kernel reported none.
    registers: general registers at the fault, by the CPU's own names.
    frames: the native backtrace, innermost frame first.
    backtrace_complete: False where the walk ended before the base of the call was reached.
    thread, thread_name: kernel thread id and name of the worker.
    stack_used, stack_size: bytes; stack_used is the call's depth at the crash.
    taint: what the crash may have left damaged in its process, in words; empty for nothing.
    message: text the program itself left, such as libc's abort message or a panic's reason.
    stderr: the end of what the worker process wrote there.
    duration: seconds from the start of the call to the crash.
    headline: the last line of the rendering; the exception that adopts the report writes it.
    """

    signal: Signals | int | None = None
    code: int = 0
    address: int | None = None
    registers: dict[str, int] = field(default_factory=dict, hash=False)
    frames: tuple[Frame, ...] = ()
    backtrace_complete: bool = True
    thread: int | None = None
    thread_name: str | None = None
    stack_used: int | None = None
    stack_size: int | None = None
    taint: tuple[str, ...] = ()
    message: str | None = None
    stderr: str | None = None
    duration: float | None = None
    headline: str = ""

    @property
    def code_name(self) -> str | None:
        """The name of `code`, such as `SEGV_MAPERR`; None where there was no signal."""
        return None if self.signal is None else code_name(self.signal, self.code)

    @property
    def stacktrace(self) -> tuple[str, ...]:
        """One line of text for each frame, innermost first."""
        return tuple(map(str, self.frames))

    def symbolise(self) -> CrashReport:
        """Return a copy whose frames carry function names, files and lines where they can be had.

        Blocks for some milliseconds, for some 10 seconds if a library's debug information is huge.
        Never raises on account of a frame: one that cannot be looked up is kept as it is.
        """
        from aionif.crash.symbols import symbolise  # noqa: PLC0415 - see the head of this file

        return replace(self, frames=symbolise(self.frames))

    async def symbolise_async(self) -> CrashReport:
        """As `symbolise()`, in a thread, so that the event loop goes on."""
        from anyio.to_thread import run_sync  # noqa: PLC0415 - see the head of this file

        # A lookup has no effect but to fill a cache, so a cancelled caller need not wait for it.
        return await run_sync(self.symbolise, abandon_on_cancel=True)

    def render(self) -> str:
        """Return the whole report as text of several lines, without a newline at the end.

        Reads the source files that the frames name, so call it off the event loop where those
        may lie on a slow disk.
        """
        head = "Native traceback (most recent call last):"
        lines = (*_details(self), head, *_traceback(self))
        return "\n".join(printable(line.expandtabs()) for line in lines)

    def describe(self) -> str:
        """What happened, in one printable line, as far as the report itself knows."""
        message = one_line(self.message or "")
        if self.signal is None:
            return message or "the call crashed"
        text = describe_fault(self.signal, self.code, self.address)
        return f"{text}: {message}" if message else text


def format_size(size: int) -> str:
    """Return a byte count with a binary unit: `512 B`, `1.5 KiB`, `1 MiB`."""
    amount = float(size)
    for unit in ("B", "KiB", "MiB"):
        if abs(amount) < 1024:  # noqa: PLR2004 - the base of the binary units
            return f"{amount:.4g} {unit}"
        amount /= 1024
    return f"{amount:.4g} GiB"


def _details(report: CrashReport) -> Iterator[str]:
    where = "" if report.thread is None else f" in thread {report.thread}"
    if report.thread_name is not None:
        where += f' "{report.thread_name}"'
    after = "" if report.duration is None else f" after {report.duration * 1e3:.4g} ms"
    if where or after:
        yield f"Native crash{where}{after}"
    if report.registers:
        yield "Registers:"
        yield from _register_block(report.registers)
    if report.stack_used is not None or report.stack_size is not None:
        used = "unknown" if report.stack_used is None else format_size(report.stack_used)
        size = "" if report.stack_size is None else f" of {format_size(report.stack_size)}"
        yield f"Stack used: {used}{size}"
    if report.taint:
        yield f"Taint: {', '.join(report.taint)}"
    if report.stderr:
        yield "Worker's stderr:"
        yield from (f"  | {line}" for line in report.stderr.splitlines()[-_STDERR_LINES:])


def _register_block(registers: dict[str, int]) -> Iterator[str]:
    width = max(map(len, registers))
    cells = [f"{name:{width}} {value:016x}" for name, value in registers.items()]
    for start in range(0, len(cells), _REGISTERS_PER_LINE):
        yield "  " + "  ".join(cells[start : start + _REGISTERS_PER_LINE])


def _traceback(report: CrashReport) -> Iterator[str]:
    if not report.backtrace_complete:
        yield "  (outer frames are missing: the stack could not be followed further)"
    sources = _Sources()
    entries = (entry for frame in reversed(report.frames) for entry in _entries(frame, sources))
    for entry, equal in groupby(entries):
        count = sum(1 for _ in equal)
        yield from entry * min(count, _REPEATS_SHOWN)
        if more := count - min(count, _REPEATS_SHOWN):
            yield f"  [Previous frame repeated {more} more time{'s' if more > 1 else ''}]"
    yield report.headline or report.describe()


def _entries(frame: Frame, sources: _Sources) -> Iterator[tuple[str, ...]]:
    """The lines of a frame and of each call inlined into it, outermost first."""
    if frame.file is not None:
        yield _located(frame.file, frame.line, frame.symbol or "?", sources)
    elif frame.module is not None and frame.offset is not None:
        name = "" if frame.symbol is None else f", in {frame.symbol_text}"
        yield (f'  Module "{frame.module_name}" +{frame.offset:#x}{name}',)
    else:
        yield (f"  Address {frame.address:#x}, in {frame.symbol_text or '?'}",)
    for call in reversed(frame.inlined):
        name = f"{call.function or '?'} (inlined)"
        yield _located(call.file or "?", call.line, name, sources)


def _located(file: str, line: int | None, name: str, sources: _Sources) -> tuple[str, ...]:
    text = f'  File "{file}", line {line or "?"}, in {name}'
    source = sources.line(file, line)
    return (text, f"    {source}") if source else (text,)


class _Sources:
    """The source files of one rendering, each read once.

    Not `linecache`: that searches `sys.path` for a relative name, where another file of the same
    name may lie, keeps every file for ever, and shows nothing of a file that is not UTF-8.
    """

    def __init__(self) -> None:
        self._lines: dict[str, list[bytes]] = {}

    def line(self, file: str, number: int | None) -> str:
        """The line without its indentation; empty where it cannot be had."""
        if file not in self._lines:
            self._lines[file] = _read_source(file).split(b"\n")
        lines = self._lines[file]
        if number is None or not 1 <= number <= len(lines):
            return ""
        return lines[number - 1].decode(errors="replace").strip()


def _read_source(file: str) -> bytes:
    try:
        # A name out of debug information may be anything; O_NONBLOCK keeps a FIFO from blocking.
        descriptor = os.open(file, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError):  # ValueError: a NUL or a lone surrogate in the name
        return b""
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode) or status.st_size > _SOURCE_LIMIT:
            return b""
        return os.read(descriptor, status.st_size)
    except OSError:
        return b""
    finally:
        os.close(descriptor)
