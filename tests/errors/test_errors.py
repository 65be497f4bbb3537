"""The error family and the text of a crash report."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from pathlib import Path
from signal import Signals
from typing import TYPE_CHECKING, TypedDict

import pytest

from aionif import errors
from aionif.errors import (
    CrashReport,
    Frame,
    Inlined,
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
from aionif.supervision import errors as supervision_errors
from aionif.supervision.errors import MaxRestartsExceeded, NifCancelled, RestartRecord

if TYPE_CHECKING:
    from collections.abc import Callable


class Call(TypedDict):
    function: str
    library: str
    tier: str


CALL: Call = {"function": "crash_here", "library": "/opt/lib/libgallery.so", "tier": "thread"}
WHERE = "crash_here in libgallery.so (thread tier): "

FRAMES = (
    Frame(
        address=0x7F0000001139,
        module="/opt/lib/libgallery.so",
        build_id="c0ffee",
        offset=0x1139,
        symbol="crash_here",
        symbol_offset=0x9,
        inlined=(Inlined(function="poke", file="poke.h", line=3),),
    ),
    Frame(address=0x1000, is_return_address=True),
)
REPORT = CrashReport(
    signal=Signals.SIGSEGV,
    code=1,
    address=0x10,
    registers={"rax": 1, "rip": 0x7F0000001139},
    frames=FRAMES,
    backtrace_complete=False,
    thread=4242,
    thread_name="aionif-0",
    stack_used=1536,
    stack_size=1 << 20,
    taint=("heap",),
    message="something",
    stderr="out of cheese\n",
    duration=0.0125,
)

# Every class once, with no attribute at its default.
FULL = (
    NifError(**CALL),
    NifCrash(**CALL, report=REPORT),
    NifSignal(**CALL, report=REPORT, signal=Signals.SIGBUS, code=2, address=64, syscall="read"),
    NifStackOverflow(**CALL, report=REPORT, code=2, address=0x7FFF0000, syscall="none"),
    NifSyscallDenied(**CALL, report=REPORT, syscall="socket", number=41, code=1, address=8),
    NifPanic(**CALL, report=REPORT, reason="boom", language="C++", type_name="std::logic_error"),
    NifExit(**CALL, report=REPORT, status=3),
    NifTimeout(**CALL, timeout=0.5, phase="queue", is_default=True, setting="a policy"),
    NifLimitExceeded(**CALL, limit="memory", allowed=65536, used=65600),
    NifWorkerLost(**CALL, pid=77, exit_code=-9),
    NifRejected(
        **CALL,
        reason="too many threads retired",
        remedy="Restart the process.",
        retry_after=2.5,
    ),
    NifRemoteError(**CALL, type_name="app.Bad", text="so it is", traceback="Traceback ..."),
    NifClosed(**CALL, resource="session", reason="a call has ended it"),
    NifArgumentError(
        **CALL, argument="timeout", value=-1.5, problem="is negative", remedy="Give seconds."
    ),
    NifCancelled(**CALL),
    MaxRestartsExceeded(
        **CALL,
        supervisor="tree",
        child="worker",
        max_restarts=3,
        max_seconds=5.0,
        history=(RestartRecord(at=1.5, child="worker", reason="ValueError: bad"),),
    ),
)

# Every class with no more than it must be given.
BARE = (
    NifError(),
    NifCrash(),
    NifSignal(signal=Signals.SIGSEGV),
    NifStackOverflow(),
    NifSyscallDenied(),
    NifPanic(language="Rust"),
    NifExit(status=0),
    NifTimeout(timeout=1),
    NifLimitExceeded(limit="cpu"),
    NifWorkerLost(),
    NifRejected(),
    NifRemoteError(type_name="Other"),
    NifClosed(),
    NifArgumentError(argument=0),
    NifCancelled(),
    MaxRestartsExceeded(supervisor="supervisor"),
)


HOMES = (errors.__name__, supervision_errors.__name__)


def name_of(error: NifError) -> str:
    return type(error).__name__


def family(cls: type[NifError] = NifError) -> set[type[NifError]]:
    ours = {sub for sub in cls.__subclasses__() if sub.__module__ in HOMES}
    return {cls}.union(*map(family, ours))


def test_the_examples_cover_the_family() -> None:
    assert {type(error) for error in FULL} == {type(error) for error in BARE} == family()
    others = {"CrashReport", "Frame", "Inlined", "RestartRecord", "describe"}
    offered = {*errors.__all__, *supervision_errors.__all__}
    assert {cls.__name__ for cls in family()} | others == offered
    for full, bare in zip(FULL, BARE, strict=True):
        unset = {name for name, value in vars(full).items() if vars(bare)[name] == value}
        assert unset <= {"signal", "_shown"}, "an example leaves an attribute at its default"


def assert_same(clone: NifError, error: NifError) -> None:
    assert type(clone) is type(error)
    assert clone is not error
    assert vars(clone) == vars(error)
    assert str(clone) == str(error)
    assert repr(clone) == repr(error)
    assert clone.args == error.args


@pytest.mark.parametrize("error", [*FULL, *BARE], ids=name_of)
@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_pickle_keeps_everything(error: NifError, protocol: int) -> None:
    assert_same(pickle.loads(pickle.dumps(error, protocol)), error)


@pytest.mark.parametrize("error", [*FULL, *BARE], ids=name_of)
@pytest.mark.parametrize("clone", [copy.copy, copy.deepcopy])
def test_copies_keep_everything(error: NifError, clone: Callable[[NifError], NifError]) -> None:
    assert_same(clone(error), error)


@pytest.mark.parametrize("error", FULL, ids=name_of)
def test_notes_travel_and_are_not_shared(error: NifError) -> None:
    noted = copy.copy(error)
    noted.add_note("while serving /index")
    for clone in (
        copy.copy(noted),
        copy.deepcopy(noted),
        pickle.loads(pickle.dumps(noted)),
    ):
        assert clone.__notes__ == ["while serving /index"]
        clone.add_note("on the copy")
        assert noted.__notes__ == ["while serving /index"]
    assert not hasattr(error, "__notes__")


def test_a_subclass_of_the_user_travels_too() -> None:
    error = UserError(function="f", limit="disk", tenant="acme")
    clone = pickle.loads(pickle.dumps(error))
    assert (clone.tenant, clone.limit, clone.function) == ("acme", "disk", "f")


class UserError(NifLimitExceeded):
    def __init__(self, *, tenant: str, limit: str, function: str | None) -> None:
        super().__init__(limit=limit, function=function)
        self.tenant = tenant


@pytest.mark.parametrize("cls", sorted(family(), key=str))
def test_construction_is_by_keyword(cls: type[NifError]) -> None:
    with pytest.raises(TypeError, match="positional"):
        cls("text")  # type: ignore[call-arg]


def test_deep_copy_of_a_report_is_independent() -> None:
    error = copy.deepcopy(FULL[1])
    assert isinstance(error, NifCrash)
    error.report.registers["rax"] = 2
    assert REPORT.registers["rax"] == 1
    assert hash(REPORT) == hash(copy.deepcopy(REPORT))


def test_builtin_families() -> None:
    assert isinstance(NifTimeout(timeout=1), TimeoutError)
    assert isinstance(NifArgumentError(argument=0), TypeError)
    assert isinstance(NifArgumentError(argument=0), ValueError)
    with pytest.raises(ExceptionGroup) as group:
        raise ExceptionGroup("calls", [FULL[2], ValueError()])
    matched, rest = group.value.split(NifSignal)
    assert matched is not None
    assert matched.exceptions == (FULL[2],)
    assert rest is not None


MESSAGES = {
    "NifError": "the call failed",
    "NifCrash": (
        "SIGSEGV (SEGV_MAPERR) at 0x10 (null pointer): something\n"
        "This process may be damaged (heap): restart it when you can."
    ),
    "NifSignal": (
        "SIGSEGV (SEGV_MAPERR) at 0x10 (null pointer): something\n"
        "This process may be damaged (heap): restart it when you can."
    ),
    "NifStackOverflow": (
        "stack overflow at 0x7fff0000 (stack of 1 MiB)\n"
        "Bound the recursion or the arrays on the stack, or raise stack_size."
    ),
    "NifSyscallDenied": (
        "system call socket (number 41) is denied by the policy\n"
        "Allow it in the policy if the function needs it; exc.report.render() shows where."
    ),
    "NifPanic": (
        "C++ exception std::logic_error: boom\n"
        "Catch it inside the native function to keep it; exc.report.render() shows where."
    ),
    "NifExit": (
        "the call tried to exit the process with status 3\n"
        "Have the function return an error instead; exc.report.render() shows where."
    ),
    "NifTimeout": (
        "no worker was free within 0.5 s; the call was not started\n"
        "It was given no timeout, so that of a policy held: pass timeout=..., or change it there; "
        "timeout=None is no limit. Or raise max_workers, or make fewer calls at once."
    ),
    "NifLimitExceeded": (
        "the call exceeded its memory limit of 65536\n"
        "Raise the memory limit in the policy, or give the function less to do."
    ),
    "NifRemoteError": (
        "the callable raised app.Bad: so it is\n"
        "exc.traceback shows where; have it raise a built-in exception with plain arguments to get "
        'that, or set NifPolicy(results="pickle") if you trust all that runs in the worker.'
    ),
    "NifWorkerLost": (
        "worker process 77 was lost (killed by SIGKILL)\n"
        "The call may have run in part: repeat it only if that does no harm. If the kernel killed "
        "it because it was out of memory, its log says so, and NifLimits(resident_memory=...) ends "
        "such a call earlier."
    ),
    "NifRejected": "the call was rejected: too many threads retired\nRestart the process.",
    "NifClosed": (
        "the session is closed: a call has ended it\n"
        "Make the call while the session is open, or open a new one."
    ),
    "NifArgumentError": "argument 'timeout' is negative: got -1.5\nGive seconds.",
    "NifCancelled": (
        "the call was cancelled\n"
        "Look at handle.outcome before awaiting a handle that may be cancelled."
    ),
    "MaxRestartsExceeded": (
        "supervisor 'tree' reached its limit of restarts (3 in 5 s), last of 'worker': "
        "ValueError: bad\n"
        "exc.history has the restarts; repair what fails, or raise max_restarts."
    ),
}


@pytest.mark.parametrize("error", FULL, ids=name_of)
def test_message(error: NifError) -> None:
    assert str(error) == WHERE + MESSAGES[name_of(error)]
    assert repr(error) == f"{name_of(error)}({str(error)!r})"


@pytest.mark.parametrize("error", BARE, ids=name_of)
def test_message_without_details(error: NifError) -> None:
    text = str(error)
    assert text
    assert "None" not in text.removesuffix("got None")  # which is what the argument was
    assert len(text.splitlines()) <= 2


def test_message_follows_the_attributes() -> None:
    error = NifTimeout(timeout=2.5)
    assert str(error).startswith("the call did not return within 2.5 s\n")
    error.function, error.tier = "crc32", "inline"
    assert str(error).startswith("crc32 (inline tier): the call did not return within 2.5 s\n")


def test_remedy_of_a_crash_depends_on_the_tier() -> None:
    process = NifSignal(signal=Signals.SIGSEGV, tier="process")
    assert "worker process was replaced" in str(process)
    thread = NifSignal(signal=Signals.SIGSEGV, tier="thread")
    assert "exc.report.render() shows where" in str(thread)


def test_a_long_reason_is_clipped_in_the_message_only() -> None:
    reason = "line one\nline two " + "x" * 10_000
    error = NifPanic(language="Rust", reason=reason)
    first, second = str(error).splitlines()
    assert first.startswith("Rust panic: line one line two xxx")
    assert first.endswith("...")
    assert len(first) == 300
    assert second
    assert error.reason == reason
    shown = reason.replace("\n", "\\n")
    assert error.report.render().endswith(f"NifPanic: Rust panic: {shown}")


@pytest.mark.parametrize(
    ("exit_code", "text"),
    [(None, "lost"), (3, "status 3"), (-11, "SIGSEGV"), (-41, "signal 41")],
)
def test_how_a_worker_ended(exit_code: int | None, text: str) -> None:
    assert text in str(NifWorkerLost(exit_code=exit_code)).splitlines()[0]


def test_terms() -> None:
    crash, signal, overflow, denied, panic, status = (
        error.as_term() for error in FULL if isinstance(error, NifCrash)
    )
    assert crash == ("nif_crash", "SIGSEGV (SEGV_MAPERR) at 0x10 (null pointer): something")
    assert signal == ("nif_signal", 7)
    assert overflow == ("nif_signal", 11)
    assert denied == ("nif_signal", 31)
    assert panic == (
        "nif_panic",
        "boom",
        ("crash_here+0x9 (libgallery.so+0x1139)", "? (0x1000)"),
    )
    assert status == ("nif_exit", 3)


def test_an_error_completes_its_report() -> None:
    report = NifSignal(signal=Signals.SIGBUS, code=2, address=64).report
    assert (report.signal, report.code_name, report.address) == (Signals.SIGBUS, "BUS_ADRERR", 64)
    assert report.headline == "NifSignal: SIGBUS (BUS_ADRERR) at 0x40"
    assert NifPanic(language="Rust", reason="boom").report.message == "boom"
    assert NifExit(status=3).report.headline.startswith("NifExit: ")
    assert REPORT.headline == "", "the report given is not changed"


def test_the_errors_load_nothing_heavy() -> None:
    # A worker process imports them; the stand-in keeps the package's own __init__ from running.
    program = """
import sys, types
package = types.ModuleType("aionif")
package.__path__ = [sys.argv[1]]
sys.modules["aionif"] = package
import aionif.errors
print({"anyio", "structlog", "subprocess", "asyncio", "ctypes", "cffi"} & sys.modules.keys())
"""
    output = subprocess.run(
        [sys.executable, "-c", program, str(Path(errors.__file__).parents[1])],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert output == "set()\n"
