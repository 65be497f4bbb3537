"""Names, files and lines for the frames of a backtrace, looked up long after the crash.

Purpose. A crash is recorded as bare addresses in microseconds. Here they become functions, source
lines and inlined calls, which takes milliseconds; so it happens when somebody asks, in the
asking thread, and each answer is kept.

How. The symbol tables of the module (`_elf`) give the function and the distance from its start.
One run of `addr2line`, or of `llvm-symbolizer` where that is missing or fails, gives source lines
and inlined calls for all addresses of a module at once. Without either tool there are names only.

Guarantees.
- No wrong line. A module whose build id is not the frame's has been replaced since it was loaded:
  its frames stay as they are. So they do if the file changes during the lookup. (A frame without
  a build id cannot be checked; the file at its path is taken to be the one that was loaded.)
- Nothing raises on account of a frame, a file or a tool. A tool that fails is logged as
  `symbolise_failed`, and the names of the symbol table are used.
- Bounded: 10 seconds of tool time for one request, a fixed number of answers kept. A tool has
  limits of memory, CPU time and what it may write, set before it is told any address.
- Confined: a tool reads what it is given, and a library's debug information can be anything, also
  the name of another file. So it is started sealed (`confining`). Where the system lacks the
  means it has this process's rights, so only files that this process has loaded are named to it.

Not done. Nothing is fetched from a debuginfod server: that a crash report sends build ids over the
network, and waits for an answer, must not come as a surprise. The DWARF is not read in Python: it
was measured to take 5 to 10 times as long as the tools.

Known faults of the tools. `addr2line` names the innermost inlined call after the function it was
inlined into where the compiler wrote no linkage name (C++ lambdas, static functions); such a name
is dropped. Both guess the nearest symbol for an address in a stripped part; a name without a line
is therefore not taken as true.

Known limits. Names are demangled by the C++ runtime, which is reached through `dlopen`: if a crash
inside the dynamic loader left its lock held, that waits for ever, as any `dlopen` of the process
does. Rust's v0 names are demangled by the tools only.
"""

from __future__ import annotations

import ctypes
import functools
import os
import re
import resource
import shutil
import stat
import subprocess
import threading
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from aionif.crash import confining, elf
from aionif.crash.elf import build_id
from aionif.crash.frames import Frame, Inlined
from aionif.log import warn

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterator, Sequence

__all__ = ("build_id", "symbolise")

_TOOL_SECONDS = 10.0
_TOOL_LIMITS = (
    (resource.RLIMIT_AS, 8 << 30),  # bytes
    (resource.RLIMIT_CPU, int(_TOOL_SECONDS)),
    (resource.RLIMIT_FSIZE, 1 << 20),  # bytes; it has nothing to write
    (resource.RLIMIT_CORE, 0),
)
_CACHE_SIZE = 4096  # locations; about 1 KiB each with inlined calls
_MANGLED_LIMIT = 16 << 10  # characters; the demangler recurses on its input

# Both print, for each address read from stdin, the address; then for each call, innermost first,
# one line with the function and one with "file:line".
_TOOLS = (
    ("addr2line", ("-a", "-f", "-C", "-i", "-e")),
    ("llvm-symbolizer", ("--output-style=GNU", "-a", "-f", "-C", "-i", "--obj")),
)

# LD_PRELOAD is the program's, often a sanitizer; DEBUGINFOD_URLS: see above.
_NOT_INHERITED = frozenset({"LD_PRELOAD", "DEBUGINFOD_URLS"})


class _Location(NamedTuple):
    """What is known of an address of a module. `start` is the symbol's own address."""

    symbol: str | None = None
    start: int | None = None
    file: str | None = None
    line: int | None = None
    inlined: tuple[Inlined, ...] = ()


def symbolise(frames: Sequence[Frame]) -> tuple[Frame, ...]:
    """Return the frames with function, file, line and inlined calls filled in where they are known.

    Blocks for some milliseconds per module the first time; tools get 10 seconds in all.
    """
    deadline = time.monotonic() + _TOOL_SECONDS
    modules: dict[tuple[str, str | None], set[int]] = {}
    for frame in frames:
        if (address := _lookup_address(frame)) is not None and frame.module is not None:
            modules.setdefault((frame.module, frame.build_id), set()).add(address)
    located = {
        (path, expected_id): _locate(path, expected_id, addresses, deadline)
        for (path, expected_id), addresses in modules.items()
    }
    return tuple(_filled_in(frame, located) for frame in frames)


def _lookup_address(frame: Frame) -> int | None:
    """The address to look up; None for a frame that has no use for it."""
    if frame.file is not None or not isinstance(frame.offset, int):
        return None
    address = frame.offset - frame.is_return_address
    return address if 0 <= address < 1 << 64 else None


def _filled_in(frame: Frame, located: dict[tuple[str, str | None], dict[int, _Location]]) -> Frame:
    address = _lookup_address(frame)
    if address is None or frame.module is None or frame.offset is None:
        return frame
    location = located[frame.module, frame.build_id].get(address)
    if location is None or (location.symbol is None and location.file is None):
        return frame
    start = location.start
    return replace(
        frame,
        symbol=location.symbol,
        symbol_offset=None if start is None else frame.offset - start,
        file=location.file,
        line=location.line,
        inlined=location.inlined,
    )


_cache: dict[tuple[Hashable, int], _Location] = {}
_cache_lock = threading.Lock()


def _locate(
    path: str, expected_id: str | None, addresses: set[int], deadline: float
) -> dict[int, _Location]:
    identity = _identity(path)
    if identity is None or (expected_id is not None and identity[1] != expected_id.lower()):
        return {}
    with _cache_lock:
        known = {a: _cache[identity, a] for a in addresses if (identity, a) in _cache}
    missing = sorted(addresses - known.keys())
    if not missing:
        return known
    symbols = elf.symbols_at(path, missing)
    calls = _ask_tools(path, missing, deadline)
    if _identity(path) != identity:
        return known
    found = {a: _merged(symbols.get(a), (calls or {}).get(a, [])) for a in missing}
    if calls is not None:  # a tool that failed today may answer tomorrow
        _remember({(identity, a): location for a, location in found.items()})
    return known | found


def _remember(answers: dict[tuple[Hashable, int], _Location]) -> None:
    with _cache_lock:
        _cache.update(answers)
        while len(_cache) > _CACHE_SIZE:
            del _cache[next(iter(_cache))]  # a dict is in order of insertion: the oldest goes


def _identity(path: str) -> tuple[str, str | None, int, int, int, int] | None:
    """What tells two states of a file apart; None if there is no such regular file.

    The build id alone would not do: a stripped copy has that of the original.
    """
    try:
        status = Path(path).stat()
    except (OSError, ValueError):
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    identity = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
    return (path, build_id(path), *identity)


def _merged(symbol: elf.Symbol | None, calls: list[Inlined]) -> _Location:
    """Put together the symbol table's answer and the tool's chain of calls, innermost first."""
    name = None if symbol is None else _demangled(symbol.name)
    if all(call.line is None for call in calls):
        calls = []
    *inlined, outer = calls or [Inlined()]
    if inlined and inlined[0].function in {name, outer.function}:
        inlined[0] = replace(inlined[0], function=None)
    if name is None or name.startswith(("_Z", "_R")):
        name = outer.function or name
    start = None if symbol is None else symbol.value
    return _Location(name, start, outer.file, outer.line, tuple(inlined))


def _ask_tools(path: str, addresses: list[int], deadline: float) -> dict[int, list[Inlined]] | None:
    """Ask the first tool that answers. Empty if there is no tool, None if none succeeded."""
    failed = False
    for name, options in _TOOLS:
        if (executable := shutil.which(name)) is None:
            continue
        try:
            with confining.confine(executable, path) as means:
                command = [*means.prefix, executable, *options, path]
                return _run(command, addresses, deadline, means.descriptors)
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            failed = True
            output = getattr(error, "stderr", None) or b""
            warn(
                "symbolise_failed",
                tool=name,
                module=path,
                reason=str(error),
                stderr=output.decode(errors="replace").strip()[-200:],
            )
    return None if failed else {}


def _run(
    command: list[str], addresses: list[int], deadline: float, descriptors: tuple[int, ...] = ()
) -> dict[int, list[Inlined]]:
    seconds = deadline - time.monotonic()
    if seconds <= 0:
        raise subprocess.TimeoutExpired(command, _TOOL_SECONDS)
    environment = {k: v for k, v in os.environ.items() if k not in _NOT_INHERITED}
    with subprocess.Popen(  # noqa: S603 - no shell; the addresses go to its stdin
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment | {"LC_ALL": "C"},
        pass_fds=descriptors,
    ) as tool:
        try:
            _limit(tool.pid)
            wanted = "".join(f"{address:#x}\n" for address in addresses).encode()
            output, errors = tool.communicate(wanted, timeout=seconds)
        except BaseException:
            tool.kill()
            raise
    if tool.returncode:
        raise subprocess.CalledProcessError(tool.returncode, command, output, errors)
    answers = list(_parsed(output.decode(errors="replace")))
    if len(answers) != len(addresses):
        raise ValueError(f"{len(answers)} answers for {len(addresses)} addresses")
    return dict(zip(addresses, answers, strict=True))


def _limit(pid: int) -> None:
    """Bound what a tool may use: a library's debug information can be anything."""
    for limit, most in _TOOL_LIMITS:
        with suppress(OSError, ValueError):  # it has ended, or has less
            resource.prlimit(pid, limit, (most, most))


_ADDRESS_LINE = re.compile(r"0x[0-9a-fA-F]+")
_PLACE_LINE = re.compile(r"(.*):(\d+|\?)(?: \(discriminator \d+\))?")


def _parsed(output: str) -> Iterator[list[Inlined]]:
    """Yield the calls of each address; raise ValueError if the output has another form."""
    calls: list[Inlined] | None = None
    lines = iter(output.split("\n"))
    for line in lines:
        if _ADDRESS_LINE.fullmatch(line):
            if calls is not None:
                yield calls
            calls = []
        elif line:
            place = _PLACE_LINE.fullmatch(next(lines, ""))
            if calls is None or place is None:
                raise ValueError(f"unexpected line {line[:80]!r}")
            calls.append(_call(line, place[1], place[2]))
    if calls is not None:
        yield calls


def _call(function: str, file: str, line: str) -> Inlined:
    return Inlined(
        function=None if function == "??" else _tidied(function),
        file=None if file == "??" else file,
        line=int(line) or None if line.isdigit() else None,
    )


def _demangled(name: str) -> str:
    if name.startswith("_Z") and len(name) <= _MANGLED_LIMIT and (demangle := _demangler()):
        name = demangle(name.encode()) or name
    return _tidied(name)


@functools.cache
def _demangler() -> Callable[[bytes], str | None] | None:
    """The C++ runtime's own demangler, if there is a C++ runtime."""
    for library in ("libstdc++.so.6", "libc++abi.so.1"):
        try:
            function = ctypes.CDLL(library)["__cxa_demangle"]
            free = ctypes.CDLL(None)["free"]
        except (OSError, AttributeError):
            continue
        function.argtypes = [ctypes.c_char_p, *[ctypes.c_void_p] * 3]
        function.restype = ctypes.c_void_p
        free.argtypes = [ctypes.c_void_p]
        free.restype = None

        def demangle(name: bytes) -> str | None:
            status = ctypes.c_int()
            text = function(name, None, None, ctypes.addressof(status))  # noqa: B023 - returned below
            if not text:
                return None
            try:
                return ctypes.string_at(text).decode(errors="replace")
            finally:
                free(text)  # noqa: B023

        return demangle
    return None


_RUST_HASH = re.compile(r"::h[0-9a-f]{16}$")
_RUST_ESCAPE = re.compile(r"\$(SP|BP|RF|LT|GT|LP|RP|C|u[0-9a-f]{1,6})\$")
_RUST_NAMED = ("SP", "BP", "RF", "LT", "GT", "LP", "RP", "C")
_RUST_CHARACTERS = dict(zip(_RUST_NAMED, "@*&<>(),", strict=True))


def _tidied(name: str) -> str:
    """Rust's older mangling is C++'s with a hash at the end and escapes that C++ does not know."""
    path, hashes = _RUST_HASH.subn("", name)
    if not hashes:
        return name
    path = re.sub(r"(^|::)_\$", r"\1$", path).replace("..", "::")
    return _RUST_ESCAPE.sub(_unescaped, path)


def _unescaped(escape: re.Match[str]) -> str:
    code = escape[1]
    return _RUST_CHARACTERS.get(code) or chr(int(code[1:], 16))
