"""Reports, from a worker's memory to text: the core's checks, then what Python makes of the rest.

The inputs are those of the C target `lane`. What comes out of tests/c/fuzz/play.c is handed to the
very functions that otherwise ask the core for it.
"""

from __future__ import annotations

import ctypes
import functools
import os
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

from aionif.calls import failures
from aionif.core.native import ffi, lib
from aionif.errors import NifCrash
from aionif.loops import core_events
from aionif.process import zygote
from aionif.sealing.seal import read_report, refusal
from tests.fuzz.bounds import FindingError, bounded

if TYPE_CHECKING:
    from aionif import NifError

__all__ = ("read_lane",)

_CHECKOUT = Path(__file__).parents[2]
_ROOMS = ("", "system", "threads", "lanes", "faults", "sealing", "workers", "processes")
_PLAN: Any = SimpleNamespace(name="function", library=None)


class _Failed(ctypes.Structure):
    _fields_ = (
        ("failure", ctypes.c_void_p),
        ("modules", ctypes.c_void_p),
        ("of_frames", ctypes.c_void_p),
        ("text", ctypes.c_void_p),
        ("module_count", ctypes.c_int32),
        ("text_length", ctypes.c_int32),
        ("sealed", ctypes.c_int32),
    )


_ON_FAILED = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Failed))
_ON_NOTICE = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_ON_SEALED = ctypes.CFUNCTYPE(None, ctypes.c_int, ctypes.c_void_p)


class _Eyes(ctypes.Structure):
    _fields_ = (("failed", _ON_FAILED), ("noticed", _ON_NOTICE), ("sealed", _ON_SEALED))


def _compiled() -> Path:
    """Return the inputs' player, with a core of its own that knows nothing of Python."""
    core = [file for room in _ROOMS for file in sorted((_CHECKOUT / "csrc" / room).glob("*.c"))]
    fuzz = _CHECKOUT / "tests/c/fuzz"
    sources = [*core, _CHECKOUT / "csrc/arch/x86_64.S", fuzz / "play.c", fuzz / "hostile.c"]
    library = _CHECKOUT / "build/play.so"
    newest = max(file.stat().st_mtime for file in (*sources, *_CHECKOUT.glob("csrc/**/*.h")))
    if not library.exists() or library.stat().st_mtime < newest:
        library.parent.mkdir(exist_ok=True)
        own = library.with_suffix(f".{os.getpid()}")
        command = ["gcc", "-O1", "-w", "-shared", "-fPIC", "-fvisibility=hidden", "-D_GNU_SOURCE"]
        command += ["-pthread", "-fexceptions", "-ftls-model=initial-exec"]
        for place in ("csrc", "csrc/include"):
            command += ["-iquote", str(_CHECKOUT / place)]
        subprocess.run([*command, *sources, "-o", own], check=True)
        own.replace(library)
    return library


@functools.cache
def _player() -> Any:
    play = ctypes.CDLL(str(_compiled())).play
    play.argtypes = (ctypes.c_char_p, ctypes.c_size_t, ctypes.POINTER(_Eyes))
    play.restype = None
    return play


def _struct(kind: str, address: int, count: int = 1) -> Any:
    """Return a copy of C's structs, as Python knows them."""
    found = ffi.new(f"{kind}[]", max(count, 1))
    ffi.memmove(found, ffi.cast("char *", address), count * ffi.sizeof(kind))
    return found


class _Core:
    """The core, with one failed call, or one event."""

    def __init__(self, failed: Any = None, event: int = 0) -> None:
        self._failed = failed
        self._event = event

    def aionif_failure_modules(self, _: int, out: Any, of_frames: Any) -> int:
        count = int(self._failed.module_count)
        modules = _struct("struct aionif_module", self._failed.modules, count)
        ffi.memmove(out, modules, count * ffi.sizeof("struct aionif_module"))
        ffi.memmove(of_frames, ffi.cast("char *", self._failed.of_frames), lib.AIONIF_FRAMES)
        return count

    def aionif_failure_stderr(self, _: int, out: Any, __: int) -> int:
        ffi.memmove(out, ffi.cast("char *", self._failed.text), self._failed.text_length)
        return int(self._failed.text_length)

    def aionif_failure(self, _: int, out: Any) -> bool:
        out[0] = _struct("struct aionif_failure", self._failed.failure)[0]
        return True

    def aionif_take_core_event(self, out: Any) -> bool:
        address, self._event = self._event, 0
        if address:
            out[0] = _struct("struct aionif_core_event", address)[0]
        return bool(address)

    def __getattr__(self, name: str) -> Any:
        return getattr(lib, name)


def _ensure_shown(*texts: str) -> None:
    for text in texts:
        if not all(char.isprintable() or char == "\n" for char in text):
            raise FindingError(f"shown as it is: {text[:200]!r}")


def _look_at_failure(failed: Any) -> None:
    with patch.object(failures, "lib", _Core(failed)):
        error, _ = failures.error_of(1, _PLAN, "process", 1.0)
    _look_at_error(error)


def _look_at_error(error: NifError) -> None:
    _ensure_shown(str(error), repr(error))
    if isinstance(error, NifCrash):
        report = error.report
        _ensure_shown(report.render(), report.describe(), *report.stacktrace, repr(report))
        _ensure_shown(str(error.as_term()), str(report.code_name))


def _look_at_event(address: int) -> None:
    said: list[Any] = []
    with (
        patch.object(core_events, "lib", _Core(event=address)),
        patch.object(core_events, "warn", lambda name, **fields: said.append((name, fields))),
        patch.object(core_events, "log_missing", lambda *words: said.append(words)),
        patch.object(zygote, "numbered", lambda _: zygote.Zygote(0, zygote.NO_TEMPLATE)),
        patch.object(zygote.Zygote, "revive", lambda _: None),
    ):
        core_events.report_all({})
    str(said)


def _look_at_seal(address: int) -> None:
    report = read_report(_struct("struct aionif_seal_result", address)[0], is_sealed=False)
    _ensure_shown(str(refusal(report)), repr(report))


def read_lane(data: bytes) -> None:
    """Play it out; raise the first thing that went wrong in what C called back."""
    problems: list[BaseException] = []

    def kept(look: Any) -> Any:
        def call(*arguments: Any) -> None:
            try:
                bounded(lambda: look(*arguments), 1 << 16, ())
            except BaseException as problem:  # noqa: BLE001 - C can't pass it on
                problems.append(problem)

        return call

    eyes = _Eyes(
        _ON_FAILED(kept(lambda failed: _look_at_failure(failed.contents))),
        _ON_NOTICE(kept(_look_at_event)),
        _ON_SEALED(kept(lambda _, address: _look_at_seal(address))),
    )
    _player()(data, len(data), ctypes.byref(eyes))
    if problems:
        raise problems[0]
