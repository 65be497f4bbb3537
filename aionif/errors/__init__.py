"""What can go wrong with a call, as exceptions that carry data.

    NifError
    +-- NifCrash                 the native code ended the call; has a report
    |   +-- NifSignal            a fault, or a signal the code raised itself
    |   |   +-- NifStackOverflow
    |   |   +-- NifSyscallDenied
    |   +-- NifPanic             a C++ exception, a Rust panic, a forced unwind
    |   +-- NifExit              the code tried to end the process
    +-- NifTimeout               also TimeoutError
    +-- NifLimitExceeded         a resource limit of the policy
    +-- NifWorkerLost            the worker process died for no reason of its own
    +-- NifRemoteError           a callable in a sealed worker raised what is not built in
    +-- NifRejected              not accepted: queue full, breaker open, too many threads retired
    +-- NifClosed                the executor, session or library is closed
    +-- NifArgumentError         also TypeError and ValueError; nothing was submitted
    +-- NifCancelled             } of supervision, in
    +-- MaxRestartsExceeded      } aionif.supervision.errors

Guarantees, each held by a test over every class:

- All state is in attributes. `str()` is made from them when asked for, so that an executor can
  fill in `function`, `library` and `tier` of an error that was made below it.
- Pickle, `copy` and `deepcopy` keep the type, every attribute and the notes. The usual way for
  exceptions, to call the class again with `args`, cannot carry keyword-only attributes; here
  `args` stays empty and the state travels on its own.
- `str()` is one or two lines: what happened and where; what the caller can do.

Every class is built with keywords only. The common ones, `function`, `library` and `tier`, say
which call it was, and are None where that is not known.
"""

from __future__ import annotations

from aionif.crash.frames import Frame, Inlined
from aionif.crash.report import CrashReport
from aionif.errors.base import NifError
from aionif.errors.crashes import (
    NifCrash,
    NifExit,
    NifPanic,
    NifSignal,
    NifStackOverflow,
    NifSyscallDenied,
)
from aionif.errors.losses import NifLimitExceeded, NifTimeout, NifWorkerLost
from aionif.errors.refusals import NifArgumentError, NifClosed, NifRejected
from aionif.errors.remote import NifRemoteError

__all__ = (
    "CrashReport",
    "Frame",
    "Inlined",
    "NifArgumentError",
    "NifClosed",
    "NifCrash",
    "NifError",
    "NifExit",
    "NifLimitExceeded",
    "NifPanic",
    "NifRejected",
    "NifRemoteError",
    "NifSignal",
    "NifStackOverflow",
    "NifSyscallDenied",
    "NifTimeout",
    "NifWorkerLost",
)

# Tracebacks and pickles name them as users do.
for _name in __all__:
    if _name.startswith("Nif"):
        globals()[_name].__module__ = __name__
