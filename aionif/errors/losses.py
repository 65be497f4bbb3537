"""The call was ended from outside: its deadline, a limit, the death of its worker."""

# ruff: noqa: N818 - NifCrash is the name of a thing that happened; NifCrashError would say it twice

from __future__ import annotations

from dataclasses import dataclass
from signal import Signals
from typing import Literal

from aionif.errors.base import NifError

__all__ = ("NifLimitExceeded", "NifTimeout", "NifWorkerLost")


@dataclass(kw_only=True, eq=False, repr=False)
class NifTimeout(NifError, TimeoutError):
    """No result came in time.

    timeout: what was allowed, in seconds.
    phase: "queue" if the call had not started and never will, "run" if it was running.
    is_default: the call was given no timeout, so the one of `setting` held.
    setting: what that is, such as "NifExecutor(timeout=...)"; None for the policy's `run_timeout`.
    """

    timeout: float
    phase: Literal["queue", "run"] = "run"
    is_default: bool = False
    setting: str | None = None

    def _what(self) -> str:
        if self.phase == "queue":
            return f"no worker was free within {self.timeout:g} s; the call was not started"
        return f"the call did not return within {self.timeout:g} s"

    def _remedy(self) -> str:
        if self.setting is not None:
            remedy = (
                f"It was given no timeout, so that of {self.setting} held: pass timeout=..., or "
                "change it there; timeout=None is no limit."
            )
            if self.phase == "queue":
                remedy += " Or raise max_workers, or make fewer calls at once."
            return remedy
        if self.phase == "queue":
            return "Raise timeout or max_workers, or make fewer calls at once."
        if self.is_default:
            return (
                "It was given no timeout, so the policy's run_timeout held, which a sandbox sets "
                "by itself: pass timeout=..., or NifPolicy(run_timeout=...); math.inf is no limit."
            )
        return "Raise timeout, or have the function poll aionif_should_stop()."


@dataclass(kw_only=True, eq=False, repr=False)
class NifLimitExceeded(NifError):
    """The call used more than the policy allows.

    limit: which limit, in the policy's own word, such as "memory".
    allowed: its value, in the policy's unit.
    used: how much it was when that was seen, in the same unit; None where it is not known.
    """

    limit: str
    allowed: float | None = None
    used: float | None = None

    def _what(self) -> str:
        allowed = "" if self.allowed is None else f" of {self.allowed:.12g}"
        return f"the call exceeded its {self.limit} limit{allowed}"

    def _remedy(self) -> str:
        return f"Raise the {self.limit} limit in the policy, or give the function less to do."


@dataclass(kw_only=True, eq=False, repr=False)
class NifWorkerLost(NifError):
    """The worker process died under the call, from outside or for a reason not known.

    pid: of the worker. exit_code: as `subprocess` has it, negative for a signal.
    """

    pid: int | None = None
    exit_code: int | None = None

    def _what(self) -> str:
        worker = "the worker process" if self.pid is None else f"worker process {self.pid}"
        return f"{worker} was lost{_how_it_ended(self.exit_code)}"

    def _remedy(self) -> str:
        remedy = "The call may have run in part: repeat it only if that does no harm."
        if self.exit_code == -Signals.SIGKILL:
            remedy += (
                " If the kernel killed it because it was out of memory, its log says so, and "
                "NifLimits(resident_memory=...) ends such a call earlier."
            )
        return remedy


def _how_it_ended(exit_code: int | None) -> str:
    if exit_code is None:
        return ""
    if exit_code >= 0:
        return f" (it exited with status {exit_code})"
    try:
        return f" (killed by {Signals(-exit_code).name})"
    except ValueError:  # a real-time signal has no name of its own
        return f" (killed by signal {-exit_code})"
