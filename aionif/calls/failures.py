"""What the core recorded of a call -> the exception its caller gets.

A report is long (backtrace, registers) and most of them are never read, so the exception keeps the
raw record and makes its report when someone looks.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from signal import Signals
from typing import TYPE_CHECKING, Any, Literal

from aionif.core.native import ffi, lib
from aionif.core.taints import taints
from aionif.crash import confining
from aionif.crash.frames import Frame
from aionif.crash.report import CrashReport
from aionif.crash.siginfo import signal_of
from aionif.errors import (
    NifArgumentError,
    NifCrash,
    NifError,
    NifExit,
    NifLimitExceeded,
    NifPanic,
    NifSignal,
    NifStackOverflow,
    NifSyscallDenied,
    NifTimeout,
    NifWorkerLost,
)
from aionif.filters.syscalls import name_of
from aionif.sealing.confine import confined
from aionif.system.processor import HERE

if TYPE_CHECKING:
    from aionif.binding.plan import Plan

__all__ = ("error_of",)

confining.confine = confined  # of the reports that are made here

_LANGUAGES: tuple[Literal["C", "C++", "Rust"], ...] = ("C", "C++", "Rust")
_LIMITS = {
    lib.AIONIF_LIMIT_ADDRESS_SPACE: "address_space",
    lib.AIONIF_LIMIT_RESIDENT: "resident_memory",
    lib.AIONIF_LIMIT_CPU: "cpu_time",
    lib.AIONIF_LIMIT_OPEN_FILES: "open_files",
    lib.AIONIF_LIMIT_FILE_SIZE: "file_size",
}
_SENT_BY_KERNEL = 0x80  # SI_KERNEL: a fault for which the CPU reported no address


def error_of(
    call: int, plan: Plan, tier: str, timeout: float | None
) -> tuple[NifError, float | None]:
    """Return the exception for a call that did not return, and how many seconds it ran.

    The call is released.

    call: the core's id; 0 for the calling thread's last inline call.
    """
    failure = ffi.new("struct aionif_failure *")
    remains = _Remains(call) if tier == "process" else None
    where: dict[str, Any] = {"function": plan.name, "library": plan.library, "tier": tier}
    if not lib.aionif_failure(call, failure):
        lost = CrashReport(message="no memory was left to record it")
        return NifCrash(report=lost, **where), None
    duration = failure.run_ns / 1e9 or None
    if failure.timed_out or failure.kind == lib.AIONIF_ABORTED:
        return NifTimeout(timeout=float(timeout or 0.0), phase="run", **where), duration
    if failure.limit:
        return NifLimitExceeded(
            limit=_LIMITS[failure.limit], used=_used(failure), **where
        ), duration
    report = partial(_report, failure, remains)
    return _MAKERS[failure.kind](failure, report, where), duration


def _used(failure: Any) -> float | None:
    """Return how much was used of what was limited, in the unit of NifLimits."""
    is_time = failure.limit == lib.AIONIF_LIMIT_CPU
    return (failure.limit_used / 1e9 if is_time else int(failure.limit_used)) or None


class _Remains:
    """What a worker process left besides its record: the files of its frames, its stderr.

    Of a sealed worker, the core has dropped the files that this process does not have itself.
    """

    def __init__(self, call: int) -> None:
        modules = ffi.new("struct aionif_module[]", lib.AIONIF_MODULES)
        of_frames = ffi.new("uint8_t[]", lib.AIONIF_FRAMES)
        count = max(lib.aionif_failure_modules(call, modules, of_frames), 0)
        self._modules = [_read_module(modules[index]) for index in range(count)]
        self._of_frames = bytes(ffi.buffer(of_frames))
        text = ffi.new("char[]", lib.AIONIF_STDERR)
        length = lib.aionif_failure_stderr(call, text, lib.AIONIF_STDERR)
        self.stderr = bytes(ffi.buffer(text, length)).decode("utf-8", "replace")

    def frame(self, index: int, address: int, *, is_return_address: bool) -> Frame:
        """Return a frame whose address is the worker's."""
        of = self._of_frames[index]
        if not of or of > len(self._modules):
            return Frame(address=address, is_return_address=is_return_address)
        return _frame_in(self._modules[of - 1], address, is_return_address=is_return_address)


def _text(field: Any) -> str:
    return bytes(ffi.string(field)).decode("utf-8", "replace")


def _address(failure: Any) -> int | None:
    given = failure.has_address and failure.code != _SENT_BY_KERNEL
    return int(failure.address) if given else None


def _fault(failure: Any) -> dict[str, Any]:
    return {
        "signal": Signals(failure.signal),
        "code": int(failure.code),
        "address": _address(failure),
    }


_Maker = Callable[[Any, Callable[[], CrashReport], dict[str, Any]], NifError]

_MAKERS: dict[int, _Maker] = {
    lib.AIONIF_SIGNAL: lambda failure, report, where: NifSignal.deferred(
        report, **_fault(failure), syscall=None, **where
    ),
    lib.AIONIF_OVERFLOW: lambda failure, report, where: NifStackOverflow.deferred(
        report, **_fault(failure), syscall=None, **where
    ),
    lib.AIONIF_PANIC: lambda failure, report, where: NifPanic.deferred(
        report,
        reason=_text(failure.reason),
        language=_LANGUAGES[failure.language],
        type_name=_text(failure.type_name) or None,
        **where,
    ),
    lib.AIONIF_EXIT: lambda failure, report, where: NifExit.deferred(
        report, status=None if failure.status == lib.AIONIF_NO_STATUS else failure.status, **where
    ),
    lib.AIONIF_DENIED: lambda failure, report, where: NifSyscallDenied.deferred(
        report,
        **_fault(failure),
        syscall=name_of(failure.syscall),
        number=int(failure.syscall) if failure.syscall >= 0 else None,
        **where,
    ),
    lib.AIONIF_WORKER_LOST: lambda failure, _report, where: _lost(failure, where),
    lib.AIONIF_UNLOADED: lambda failure, _report, where: _unloaded(failure, where),
}


def _lost(failure: Any, where: dict[str, Any]) -> NifError:
    status = int(failure.status)
    code = os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else -os.WTERMSIG(status)
    return NifWorkerLost(pid=int(failure.process) or None, exit_code=code, **where)


def _unloaded(failure: Any, where: dict[str, Any]) -> NifError:
    return NifArgumentError(
        argument="fn",
        value=where["function"],
        problem=f"can't be loaded in a worker process: {_text(failure.reason)}",
        remedy="Load the library from a file that workers can open, and that does not change.",
        **where,
    )


def _report(failure: Any, remains: _Remains | None) -> CrashReport:
    signal = signal_of(failure.signal) if failure.signal else None
    registers = ffi.unpack(failure.registers, len(HERE.registers)) if failure.has_registers else ()
    return CrashReport(
        signal=signal,
        code=int(failure.code),
        address=_address(failure),
        registers=dict(zip(HERE.registers, registers, strict=False)),
        frames=_frames(failure, remains),
        stderr=(remains and remains.stderr) or None,
        backtrace_complete=bool(failure.complete),
        thread=int(failure.thread) or None,
        stack_used=int(failure.stack_used) or None,
        stack_size=int(failure.stack_size) or None,
        taint=taints(failure.taint),
        message=_text(failure.reason).strip() or None,
        duration=failure.run_ns / 1e9 or None,
    )


def _frames(failure: Any, remains: _Remains | None) -> tuple[Frame, ...]:
    addresses = ffi.unpack(failure.frames, failure.frame_count)
    exact = int(failure.exact)
    if remains is not None:
        return tuple(
            remains.frame(index, address, is_return_address=not exact >> index & 1)
            for index, address in enumerate(addresses)
        )
    return tuple(
        _frame(address, is_return_address=not exact >> index & 1)
        for index, address in enumerate(addresses)
    )


def _frame(address: int, *, is_return_address: bool) -> Frame:
    module = ffi.new("struct aionif_module *")
    if not lib.aionif_locate(address, module):
        return Frame(address=address, is_return_address=is_return_address)
    return _frame_in(_read_module(module), address, is_return_address=is_return_address)


def _frame_in(
    module: tuple[str, str | None, int], address: int, *, is_return_address: bool
) -> Frame:
    path, build_id, bias = module
    return Frame(
        address=address,
        module=path,
        build_id=build_id,
        offset=address - bias if address >= bias else None,
        is_return_address=is_return_address,
    )


def _read_module(module: Any) -> tuple[str, str | None, int]:
    """Return a module's file, build id and load bias."""
    path = ffi.string(module.path).decode("utf-8", "surrogateescape")
    build_id = bytes(ffi.buffer(module.build_id, module.build_id_length)).hex()
    if not path:  # the program
        program = Path("/proc/self/exe")
        path = str(program.resolve() if program.exists() else sys.executable)
    return path, build_id or None, int(module.bias)
