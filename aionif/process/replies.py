"""Replies of worker processes to calls of Python callables -> results and exceptions.

A pickle can run code by being read, so replies of sealed workers are plain data, unless the policy
says `results="pickle"`. Which of the two a reply is taken for is decided here, never by the reply.
It comes in the call's block, which the core has copied into memory of ours, or in memory that the
worker was given for large ones, each byte of which is read once. So what is looked at does not
change any more.

What takes longer than a short call is read in another thread, and so is what is large.
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from aionif.core.native import ffi, lib
from aionif.crash.report import CrashReport
from aionif.errors import NifArgumentError, NifError, NifExit, NifLimitExceeded, NifRejected
from aionif.memory.arena import HEADER, SIZE
from aionif.process import message
from aionif.process.packed import Later
from aionif.process.plain_arrays import NumpyWantedError
from aionif.process.plain_reader import BudgetError, decode, most_buffers
from aionif.process.remote_errors import RemoteTraceback, rebuild

if TYPE_CHECKING:
    from collections.abc import Callable

    from aionif.binding.plan import Plan
    from aionif.policy import NifPolicy

__all__ = ("PLAIN", "result")

_ERROR, _ELSEWHERE = 1 << 61, 1 << 62  # as in child_python
PLAIN = 1 << 63
"""In the length of a request: the reply is to be plain data."""

_LENGTH = (1 << 32) - 1
_LONG = 4096  # bytes of a stream, which take about a millisecond
_NO_LIMIT = 1 << 62
_MOST_STATUS = 1 << 32  # what `sys.exit` is given may be larger than a process's status

_SEALED = (
    "What a sealed worker may not read it must have imported before: NifExecutor(preload=(...)), "
    "or Sandbox.allow_read() of where it lies."
)


def result(  # noqa: PLR0913, PLR0917 - what came, whose it is, and who is told
    answer: int,
    packed: Any,
    large: Any,
    plan: Plan,
    policy: NifPolicy,
    failed: Callable[[BaseException], None] = lambda _: None,
) -> Any:
    """Return the result of a call, or a Later that makes it; or raise what the callable raised.

    answer: what the worker has said of its reply. large: the memory it may be in.
    failed: told of what is raised.
    """
    finish = partial(_told, failed, bool(answer & _ERROR), plan, policy)
    if answer & _ELSEWHERE:
        lent = [large] if large != ffi.NULL else []
        read = partial(finish, partial(_read_large, lent, policy))
        return Later(read, partial(_give_back, lent)) if policy.has_plain_results else read()
    length = min((answer & _LENGTH) - HEADER, SIZE - HEADER)
    start = ffi.cast("char *", packed.block.address + HEADER)
    memory = ffi.buffer(start, max(length, 0))
    if not policy.has_plain_results:
        return finish(partial(_read_pickle, memory, policy))
    return _plain_result(bytes(memory), finish, policy)


def _plain_result(memory: bytes, finish: Callable[..., Any], policy: NifPolicy) -> Any:
    try:
        if len(memory) <= _LONG or message.stream_size(memory) <= _LONG:
            return finish(partial(_read_plain, memory, policy, may_import=False))
    except NumpyWantedError:
        pass
    return Later(partial(finish, partial(_read_plain, memory, policy, may_import=True)))


def _told(failed: Callable[[BaseException], None], *of_reply: Any) -> Any:
    try:
        return _finish(*of_reply)
    except NumpyWantedError:  # it is read again
        raise
    except BaseException as error:
        failed(error)
        raise


def _finish(is_error: bool, plan: Plan, policy: NifPolicy, read: Callable[[], Any]) -> Any:  # noqa: FBT001
    try:
        value = read()
        if is_error:
            kind, what, text, *more = _parts(value)
    except NumpyWantedError:
        raise
    except BudgetError as problem:
        most = policy.limits.result_size
        raise NifLimitExceeded(limit="result_size", allowed=most, **_where(plan)) from problem
    except Exception as problem:
        raise NifArgumentError(
            argument="result",
            problem=f"of the worker can't be read: {type(problem).__name__}: {problem}",
            remedy=_remedy(problem, policy),
            **_where(plan),
        ) from problem
    if is_error:
        _raise(kind, what, text, more, plan, policy)
    return value


def _remedy(problem: Exception, policy: NifPolicy) -> str:
    if not policy.has_plain_results:
        return "Return what pickle can copy, and what can be imported here."
    if isinstance(problem, ImportError):
        return "Install it here too, or return something else."
    return "No worker sends that by itself: its call may have been taken over by its input."


def _parts(value: Any) -> Any:
    if len(value) < 3 or type(value[0]) is not str or type(value[2]) is not str:  # noqa: PLR2004
        raise ValueError("an exception without a kind or a traceback")
    return value


# ---- reading ----


def _allowed(size: int, policy: NifPolicy) -> int:
    """Return how many bytes a result may take, of which `size` have come."""
    most = policy.limits.result_size
    if most is None:
        return _NO_LIMIT
    if size > most:
        raise BudgetError(f"{size} bytes")
    return most


def _read_pickle(memory: Any, policy: NifPolicy) -> Any:
    _allowed(len(memory), policy)
    return message.read(memory, _find)


def _read_plain(memory: bytes, policy: NifPolicy, *, may_import: bool) -> Any:
    most = _allowed(len(memory), policy)
    stream, buffers = message.split(memory, most_buffers(most))
    return decode(bytes(stream), buffers, most, may_import=may_import)


def _give_back(lent: list[Any]) -> None:
    """Let the worker have its memory again, unless somebody reads it and will do so."""
    with suppress(IndexError):
        lib.aionif_reply_give_back(lent.pop())


def _read_large(lent: list[Any], policy: NifPolicy) -> Any:
    if not lent:
        raise ValueError("it is said to be in memory that was not free")
    large = lent.pop()
    try:
        with open(lib.aionif_reply_descriptor(large), "rb", closefd=False) as file:
            size = os.fstat(file.fileno()).st_size
            if not policy.has_plain_results:
                return message.read_file(file, size, _find)
            most = _allowed(0, policy)
            stream, buffers = message.split_file(file, size, most_buffers(most))
    finally:
        lib.aionif_reply_give_back(large)
    return decode(stream, buffers, most)


def _find(module: str, name: str) -> Any:
    if module != "__mp_main__":
        return None
    value: Any = sys.modules["__main__"]
    for part in name.split("."):
        value = getattr(value, part)
    return value


# ---- errors ----


def _where(plan: Plan) -> dict[str, Any]:
    return {"function": plan.name, "library": plan.library, "tier": "process"}


def _raise(  # noqa: PLR0913, PLR0917 - what came, and whose it is
    kind: str, what: Any, text: str, more: list[Any], plan: Plan, policy: NifPolicy
) -> None:
    cause = RemoteTraceback(text)
    if kind == "raised":
        if policy.has_plain_results:
            what = rebuild(what, more[0] if more else None, text, _where(plan))
        _raise_as_it_is(what, cause, plan, policy)
    if kind == "too large":
        most = policy.limits.result_size
        used = what if type(what) is int and 0 < what < _NO_LIMIT else None
        raise NifLimitExceeded(limit="result_size", allowed=most, used=used, **_where(plan))
    if kind == "busy":
        raise NifRejected(
            reason="its result is large, and nobody has read the last such result of its worker",
            remedy="Close executors before their loop stops, or give each loop one of its own.",
            **_where(plan),
        )
    if kind == "exit" and isinstance(what, int) and abs(what) < _MOST_STATUS:
        report = CrashReport(message=f"sys.exit({what})")
        raise NifExit(status=what, report=report, **_where(plan)) from cause
    raise _not_passed(kind, what, text, plan, policy) from cause


def _raise_as_it_is(error: Any, cause: RemoteTraceback, plan: Plan, policy: NifPolicy) -> None:
    if not isinstance(error, BaseException):
        return
    limit = _limit_behind(error, policy)
    if limit is None:
        if isinstance(error, ImportError) and policy.sandbox is not None:
            error.add_note(_SEALED)
        raise error from cause
    raise NifLimitExceeded(
        limit=limit, allowed=getattr(policy.limits, limit), **_where(plan)
    ) from error


def _not_passed(kind: str, what: Any, text: str, plan: Plan, policy: NifPolicy) -> NifError:
    problems = {
        "unpicklable": f"can't be pickled: {text}",
        "unplain": f"can't be passed on as plain data: it holds {text}",
        "unreadable": "can't be read in the worker",
        "strange": "is an exception that can't be pickled",
    }
    remedy = "Use functions, arguments and results that pickle can copy."
    if kind == "unplain":
        remedy = (
            "Return numbers, text, bytes, containers of these or arrays; or set "
            'NifPolicy(results="pickle") if you trust all that runs in the worker.'
        )
    if kind == "unreadable" and policy.sandbox is not None:
        remedy = _SEALED
    return NifArgumentError(
        argument="fn" if kind == "unreadable" else "result",
        value=what,
        problem=problems.get(kind, "is of an unknown kind"),
        remedy=remedy,
        **_where(plan),
    )


def _limit_behind(error: BaseException, policy: NifPolicy) -> str | None:
    limits = policy.limits
    number = getattr(error, "errno", None) if isinstance(error, OSError) else None
    if limits.address_space is not None and (
        isinstance(error, MemoryError) or number == errno.ENOMEM
    ):
        return "address_space"
    if limits.open_files is not None and number == errno.EMFILE:
        return "open_files"
    if limits.file_size is not None and number == errno.EFBIG:
        return "file_size"
    return None
