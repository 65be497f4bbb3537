"""aionif: await native functions that may crash, hang or throw, and go on running."""

from __future__ import annotations

from importlib import resources as _resources

from aionif._binding import NifFunction
from aionif._learn import Lesson, learn_sandbox
from aionif._seal import SealNote, SealReport, seal_process
from aionif._series import FunctionStatistics, Histogram
from aionif.buffer import Buffer
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
    NifSignal,
    NifStackOverflow,
    NifSyscallDenied,
    NifTimeout,
    NifWorkerLost,
)
from aionif.executor import NifExecutor, NifSession, Statistics, execute_nif
from aionif.inline import call_nif
from aionif.library import NifLibrary, load
from aionif.policy import NifLimits, NifPolicy
from aionif.sandbox import Limits, Sandbox

__all__ = (
    "Buffer",
    "CrashReport",
    "Frame",
    "FunctionStatistics",
    "Histogram",
    "Lesson",
    "Limits",
    "NifArgumentError",
    "NifClosed",
    "NifCrash",
    "NifError",
    "NifExecutor",
    "NifExit",
    "NifFunction",
    "NifLibrary",
    "NifLimitExceeded",
    "NifLimits",
    "NifPanic",
    "NifPolicy",
    "NifRejected",
    "NifSession",
    "NifSignal",
    "NifStackOverflow",
    "NifSyscallDenied",
    "NifTimeout",
    "NifWorkerLost",
    "Sandbox",
    "SealNote",
    "SealReport",
    "Statistics",
    "call_nif",
    "execute_nif",
    "get_include",
    "learn_sandbox",
    "load",
    "seal_process",
)

__version__ = "0.1.0"


def get_include() -> str:
    """Return the directory of `aionif.h`, which NIF authors may include."""
    return str(_resources.files("aionif") / "include")
