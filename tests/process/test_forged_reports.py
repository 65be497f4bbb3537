"""Reports of a worker under foreign control: read without harm, and nothing it names is opened."""

from __future__ import annotations

import random
import shutil
import sys
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest

from aionif import (
    CrashReport,
    NifCrash,
    NifError,
    NifExecutor,
    NifPanic,
    NifPolicy,
    NifSignal,
    Sandbox,
    load,
)
from aionif.calls import failures
from aionif.core.native import ffi, lib
from aionif.testing import gallery
from tests.process.test_hostile import DENIED, EXIT, OVERFLOW, PANIC, SIGNAL, UNLOADED
from tests.support import load_gallery, run_child, run_on

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

CDEF = "int forge(unsigned long, unsigned, int, int, const char *);"
SEALED = NifPolicy(sandbox=Sandbox.compute())


def forged(hostile_path: str, cases: list[tuple[int, int, int, str]]) -> list[NifError]:
    """Have a sealed worker make up each failure; return what its caller gets."""
    forge = load(hostile_path, CDEF).forge

    async def main() -> list[NifError]:
        found = []
        async with NifExecutor(isolation="process", max_workers=1, policy=SEALED) as executor:
            for case in cases:
                window = lib.aionif_window(0, 0) or await opened(executor)
                *numbers, path = case
                with pytest.raises(NifError) as caught:
                    await executor.execute_nif(forge, window, *numbers, path.encode(), timeout=20)
                found.append(caught.value)
        return found

    found: list[NifError] = run_on("asyncio", main)
    return found


async def opened(executor: NifExecutor) -> int:
    await executor.execute_nif(load("libc.so.6", "int abs(int);").abs, 1)
    return int(lib.aionif_window(0, 0))


def look_at(error: NifError) -> str:
    """Have everything of it shown that can be."""
    shown = [str(error), repr(error)]
    if isinstance(error, NifCrash):
        report = error.report
        shown += [repr(report), report.describe(), *report.stacktrace, str(error.as_term())]
        shown += [report.render(), report.symbolise().render(), str(report.code_name)]
    return "\n".join(shown)


def opened_by(function: Callable[[], object]) -> list[Any]:
    """Call it; return what it has opened and started. In a child: a hook stays for good."""
    seen: list[Any] = []
    is_on = [True]

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if is_on and event in {"open", "subprocess.Popen", "os.posix_spawn", "os.exec"}:
            seen.append((event, arguments[0]))

    sys.addaudithook(hook)
    try:
        function()
    finally:
        is_on.clear()
    return seen


def test_a_forged_report_never_raises_and_opens_nothing(hostile_path: str, tmp_path: Path) -> None:
    named = tmp_path / "named\n\x1b[31m.so"  # a real library, with all that can be looked up
    shutil.copy(hostile_path, named)
    child = run_child(forge_and_look, hostile_path, str(named))
    assert (child.returncode, child.stdout) == (0, "all well\n"), child.stderr


def forge_and_look(hostile_path: str, named: str) -> None:
    cases = [
        (seed, kind, sig, named)
        for kind in (SIGNAL, OVERFLOW, PANIC, EXIT, DENIED, UNLOADED)
        for seed, sig in ((1, 11), (2, 11 if kind in {SIGNAL, OVERFLOW, DENIED} else 99))
    ]
    errors = forged(hostile_path, cases)
    look_at(NifSignal(signal=11, report=CrashReport()))  # type: ignore[arg-type] # imports
    for error in errors:
        assert opened_by(partial(look_at, error)) == []
        assert all(char.isprintable() or char == "\n" for char in look_at(error))
        if isinstance(error, NifCrash):
            assert len(error.report.frames) == lib.AIONIF_FRAMES
            assert all(frame.module is None for frame in error.report.frames)
            assert error.report.signal in {None, 11}
    print("all well")


def test_a_signal_that_does_not_exist_is_no_obstacle(hostile_path: str) -> None:
    (error,) = forged(hostile_path, [(3, PANIC, 99, "/nowhere")])
    assert isinstance(error, NifPanic)
    assert error.report.signal is None
    assert CrashReport(signal=99, code=-77).describe() == "signal 99 (si_code -77)"
    assert (
        CrashReport(signal=0, address=1 << 64).describe() == "signal 0 (SI_USER) at 0x1" + "0" * 16
    )


def test_a_module_is_believed_by_path_and_build(hostile_path: str) -> None:
    """The library is loaded here too, but the build that the worker names is another one."""
    (error,) = forged(hostile_path, [(5, PANIC, 0, hostile_path)])
    assert isinstance(error, NifPanic)
    assert {frame.module for frame in error.report.frames} == {None}


def test_an_honest_crash_of_a_sealed_worker_keeps_its_modules() -> None:
    crash = load_gallery().gallery_segv_read

    async def main() -> None:
        async with NifExecutor(isolation="process", max_workers=1, policy=SEALED) as executor:
            with pytest.raises(NifSignal) as caught:
                await executor.execute_nif(crash)
        innermost = caught.value.report.symbolise().frames[0]
        assert innermost.module == str(gallery.library_path("c"))
        assert innermost.symbol == "gallery_segv_read"

    run_on("asyncio", main)


@pytest.mark.parametrize("seed", range(40))
def test_records_of_random_bytes_become_errors(seed: int) -> None:
    """Whatever stands in a record: what is made of it does not raise, and is printable text."""
    draw = random.Random(seed)
    failure = ffi.new("struct aionif_failure *")
    ffi.memmove(
        failure, draw.randbytes(ffi.sizeof("struct aionif_failure")), len(ffi.buffer(failure))
    )
    failure.frame_count = draw.randint(0, lib.AIONIF_FRAMES)
    failure.language = draw.randint(0, 2)
    failure.signal = draw.choice([0, 1, 11, 35, 64, 65, 99, -1, 2**31 - 1])
    report = failures._report(failure, None)
    text = "\n".join((report.render(), report.describe(), repr(report)))
    assert all(char.isprintable() or char == "\n" for char in text)
