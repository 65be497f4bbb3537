"""For tests of your own crash handling: native calls that really crash, and pytest fixtures.

    from aionif.testing import kinds, provoke

    @pytest.mark.parametrize("kind", kinds())
    async def test_service_survives(kind: str) -> None:
        with contextlib.suppress(aionif.NifError):
            await provoke(kind)
        assert await service.is_healthy()

The functions behind `provoke` are native code that is installed with aionif: what they raise went
through the signal, the unwinder or the deadline that a crash of your own library would go through.
Some leave behind what a real crash does: "double_free" and "heap_overrun" taint the process,
"malloc_locked" leaves a lock of libc held for good. Run it last, or in a child.

The fixtures `nif_executor`, `nif_log` and `assert_no_leaks` are there for tests of a project whose
top-level conftest.py says

    pytest_plugins = ["aionif.testing"]

Nothing else here needs pytest. PYTEST_DONT_REWRITE, which pytest looks for in this text:
it would otherwise warn where the module was imported before the plugin is registered.
"""

from __future__ import annotations

import functools
import time
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from aionif.default import execute_nif
from aionif.errors import NifArgumentError, NifRejected
from aionif.inline import call_nif
from aionif.library import NifLibrary, load
from aionif.testing import gallery

if TYPE_CHECKING:
    from collections.abc import Callable

    from aionif.executor import NifExecutor, NifSession
    from aionif.testing.gallery import Specimen

__all__ = (
    "ExecutorFactory",
    "Holdings",
    "NifEvent",
    "assert_no_leaks",
    "holdings",
    "kinds",
    "provoke",
    "provoke_inline",
)

pytest_plugins = ("aionif.testing._fixtures",)  # which pytest loads with this one

_ENDLESS_TIMEOUT = 0.1  # seconds, for kinds that never return

_DEADLY_INLINE = {
    **dict.fromkeys(("exit", "underscore_exit", "quick_exit"), "exit() is not stopped there"),
    "malloc_locked": "it leaves the lock of the caller's own heap held",
    "sleep_forever": "it blocks in the kernel, and the caller's thread can't be abandoned",
}


# ---- crashes on demand ----


def kinds() -> tuple[str, ...]:
    """Return the kinds that `provoke` takes on this machine, in a fixed order.

    The C++ and Rust ones are among them where a compiler for them was found when aionif was
    installed. A few kinds return a value instead of failing, such as "fork_child".
    """
    return tuple(s.name for s in gallery.available() if s.outcome != "death")


async def provoke(
    kind: str,
    *,
    executor: NifExecutor | NifSession | None = None,
    timeout: float | None = None,
) -> Any:
    """Call the native function that fails in the way `kind` names, through `execute_nif`.

    kind: one of `kinds()`, such as "segv_read", "overflow_recursion", "abort", "exit", "spin" or
        "cxx_std_exception".
    executor: an executor with isolation="thread" or a session; None for the loop's default one.
    timeout: seconds. None: no limit, but 0.1 s for the kinds that would never return.

    Returns what the function returns, for the few kinds that do.

    Raises:
        NifSignal, NifStackOverflow, NifPanic, NifExit, NifTimeout: as the kind has it.
        NifArgumentError: there is no such kind, or it was not built.
    """
    specimen = _specimen(kind)
    return await execute_nif(
        _function(specimen),
        *specimen.arguments,
        timeout=_timeout_of(specimen, timeout),
        executor=executor,  # type: ignore[arg-type] # a session has the one method that is needed
    )


def provoke_inline(kind: str, *, timeout: float | None = None) -> Any:
    """As `provoke`, in the calling thread and without an event loop, through `call_nif`.

    timeout: seconds. None: no limit, but 0.1 s for the kinds that would never return.

    Raises:
        NifError: as for `provoke`.
        NifArgumentError: also for a kind that nothing stops in the inline tier.
    """
    specimen = _specimen(kind)
    if kind in _DEADLY_INLINE:
        raise NifArgumentError(
            argument="kind",
            value=kind,
            problem=f"can't be survived inline: {_DEADLY_INLINE[kind]}",
            remedy="Use provoke().",
        )
    return call_nif(
        _function(specimen), *specimen.arguments, timeout=_timeout_of(specimen, timeout)
    )


def _timeout_of(specimen: Specimen, timeout: float | None) -> float | None:
    endless = specimen.outcome == "NifTimeout"
    return _ENDLESS_TIMEOUT if endless and timeout is None else timeout


def _function(specimen: Specimen) -> Any:
    return getattr(_library(specimen.language), specimen.symbol)


@functools.cache
def _library(language: gallery.Language) -> NifLibrary:
    declarations = [s.cdef for s in gallery.available() if s.language == language]
    return load(gallery.library_path(language), "\n".join(declarations))


def _specimen(kind: Any) -> Specimen:
    specimen = gallery.SPECIMENS.get(kind) if isinstance(kind, str) else None
    if specimen is None:
        near = get_close_matches(kind, kinds(), n=1) if isinstance(kind, str) else []
        remedy = f"Did you mean {near[0]!r}?" if near else "aionif.testing.kinds() lists them."
        raise NifArgumentError(
            argument="kind", value=kind, problem="is not a kind of crash", remedy=remedy
        )
    if specimen.outcome == "death":
        raise NifArgumentError(
            argument="kind",
            value=kind,
            problem="would end this process: nothing stops it, here at least",
        )
    try:
        gallery.library_path(specimen.language)
    except FileNotFoundError as missing:
        raise NifArgumentError(
            argument="kind", value=kind, problem=f"is not available: {missing}"
        ) from missing
    return specimen


# ---- leaks ----


class Holdings(NamedTuple):
    """What a process holds: counts of threads, open descriptors and memory mappings."""

    threads: int
    descriptors: int
    mappings: int


def _entries(directory: str) -> int:
    return sum(1 for _ in Path("/proc/self", directory).iterdir())


def holdings() -> Holdings:
    """Count what this process holds now.

    Raises:
        NifRejected: /proc, which tells, is not mounted.
    """
    if not Path("/proc/self/maps").exists():
        raise NifRejected(
            reason="what a process holds is read from /proc, which is not mounted",
            remedy="Mount /proc.",
        )
    mappings = Path("/proc/self/maps").read_bytes().count(b"\n")
    return Holdings(_entries("task"), _entries("fd"), mappings)


_WARM_UP = 3
_SETTLE = 1.0  # seconds; a thread that was joined may be listed for a moment yet
_POLL = 0.01


def assert_no_leaks(action: Callable[[], object], *, times: int = 5) -> None:
    """Call `action` several times and check that threads, descriptors and mappings do not add up.

    action: opens, uses and closes what is to be checked: `lambda: anyio.run(main)`. It is called
        three times first, for what a process makes once and keeps (caches, memory pools).
    times: calls that are then compared. A thread or a descriptor more than before is a leak. The
        allocator and the kernel split and join mappings as they like, so it takes one more for
        every call.

    Raises:
        AssertionError: something leaks; it says what and how many.
    """
    for _ in range(_WARM_UP):
        action()
    before = holdings()
    for _ in range(times):
        action()
    deadline = time.monotonic() + _SETTLE
    while (leaks := _growth(before, holdings(), times)) and time.monotonic() < deadline:
        time.sleep(_POLL)
    if leaks:
        raise AssertionError(f"leaked in {times} calls: {', '.join(leaks)}")


def _growth(before: Holdings, after: Holdings, times: int) -> list[str]:
    allowed = Holdings(threads=0, descriptors=0, mappings=times - 1)
    return [
        f"{now - then} {name} ({then} before, {now} after)"
        for name, then, now, spare in zip(Holdings._fields, before, after, allowed, strict=True)
        if now - then > spare
    ]


# ---- what the fixtures give to a test ----


class ExecutorFactory(Protocol):
    """What the fixture `nif_executor` gives to a test."""

    def __call__(self, *, allow_lost: int = 0, **settings: Any) -> NifExecutor:
        """Return an executor; settings: as for NifExecutor.

        allow_lost: threads that may be abandoned (a call that did not stop) or retired (a crash
            that left a lock held) without failing the test.
        """


class NifEvent(NamedTuple):
    """One log event of aionif, such as ("nif_signal", {"function": "crc32", ...})."""

    event: str
    fields: dict[str, Any]
