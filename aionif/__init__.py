"""aionif: await native functions that may crash, hang or throw, and go on running."""

from __future__ import annotations

from pathlib import Path as _Path

from aionif.binding.plan import NifFunction
from aionif.breaker import NifBreaker
from aionif.buffer import Buffer
from aionif.calls.breakers import BreakerStatistics
from aionif.default import execute_nif
from aionif.errors import (
    CrashReport,
    Frame,
    NifArgumentError,
    NifClosed,
    NifCrash,
    NifError,
    NifExit,
    NifLimitExceeded,
    NifPanic,
    NifRejected,
    NifRemoteError,
    NifSignal,
    NifStackOverflow,
    NifSyscallDenied,
    NifTimeout,
    NifWorkerLost,
)
from aionif.executor import NifExecutor, NifSession, Statistics
from aionif.inline import call_nif
from aionif.library import NifLibrary, load
from aionif.limits import NifLimits
from aionif.policy import NifPolicy
from aionif.sandbox import Sandbox
from aionif.sealing.learn import Lesson, learn_sandbox
from aionif.sealing.seal import SealNote, SealReport, seal_process
from aionif.supervision._child import NifShutdown, shutdown_scope
from aionif.supervision._report import SupervisorReport
from aionif.supervision.errors import MaxRestartsExceeded, NifCancelled, RestartRecord
from aionif.supervision.spec import Backoff, ChildCounts, ChildInfo, ChildSpec
from aionif.supervision.supervisor import NifSupervisor
from aionif.supervision.task_group import NifHandle, NifTaskGroup
from aionif.telemetry.series import FunctionStatistics, Histogram

__all__ = (
    "Backoff",
    "BreakerStatistics",
    "Buffer",
    "ChildCounts",
    "ChildInfo",
    "ChildSpec",
    "CrashReport",
    "Frame",
    "FunctionStatistics",
    "Histogram",
    "Lesson",
    "MaxRestartsExceeded",
    "NifArgumentError",
    "NifBreaker",
    "NifCancelled",
    "NifClosed",
    "NifCrash",
    "NifError",
    "NifExecutor",
    "NifExit",
    "NifFunction",
    "NifHandle",
    "NifLibrary",
    "NifLimitExceeded",
    "NifLimits",
    "NifPanic",
    "NifPolicy",
    "NifRejected",
    "NifRemoteError",
    "NifSession",
    "NifShutdown",
    "NifSignal",
    "NifStackOverflow",
    "NifSupervisor",
    "NifSyscallDenied",
    "NifTaskGroup",
    "NifTimeout",
    "NifWorkerLost",
    "RestartRecord",
    "Sandbox",
    "SealNote",
    "SealReport",
    "Statistics",
    "SupervisorReport",
    "call_nif",
    "execute_nif",
    "get_include",
    "learn_sandbox",
    "load",
    "seal_process",
    "shutdown_scope",
)

__version__ = "0.1.0"


def get_include() -> str:
    """Return the directory of `aionif.h`, which NIF authors may include."""
    return str(_Path(__file__).parent / "include")
