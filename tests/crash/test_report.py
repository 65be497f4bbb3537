"""The text of a crash report."""

from __future__ import annotations

import os
import typing
from pathlib import Path
from signal import Signals

import pytest

from aionif.errors import CrashReport, Frame, Inlined, NifSignal


@pytest.mark.parametrize(
    ("signal", "code", "address", "text"),
    [
        (Signals.SIGSEGV, 1, 0, "SIGSEGV (SEGV_MAPERR) at 0x0 (null pointer)"),
        (Signals.SIGSEGV, 2, 0x5000, "SIGSEGV (SEGV_ACCERR) at 0x5000"),
        (
            Signals.SIGSEGV,
            0x80,
            None,
            (
                "SIGSEGV (SI_KERNEL) at an address the CPU does not report "
                "(often a non-canonical pointer)"
            ),
        ),
        (Signals.SIGFPE, 1, 0x1139, "SIGFPE (FPE_INTDIV) at 0x1139"),
        (Signals.SIGILL, 2, 0x1139, "SIGILL (ILL_ILLOPN) at 0x1139"),
        (Signals.SIGTRAP, 0x80, None, "SIGTRAP (SI_KERNEL)"),
        (Signals.SIGABRT, -6, None, "SIGABRT (SI_TKILL)"),
        (Signals.SIGSYS, 1, 0x1139, "SIGSYS (SYS_SECCOMP) at 0x1139"),
        (Signals.SIGBUS, 99, None, "SIGBUS (si_code 99)"),
    ],
)
def test_a_fault_in_words(signal: Signals, code: int, address: int | None, text: str) -> None:
    assert CrashReport(signal=signal, code=code, address=address).describe() == text


def test_rendering(tmp_path: Path) -> None:
    source = tmp_path / "crash.c"
    source.write_bytes(b"int poke(int *p)\n{\n    return *p; /* \xff */\n}\n")
    frames = (
        Frame(
            address=0x7F0000001139,
            module="/opt/lib/libgallery.so",
            offset=0x1139,
            symbol="crash_here",
            symbol_offset=9,
            file="gone/crash.c",
            line=12,
            inlined=(
                Inlined(function="poke", file=str(source), line=3),
                Inlined(file="gone/crash.h", line=7),
            ),
        ),
        Frame(
            address=0x7F0000002234,
            module="/lib/libz.so.1",
            offset=0x1234,
            symbol="crc32",
            symbol_offset=0x12,
        ),
        Frame(address=0x7F0000003000, module="/lib/libz.so.1", offset=0x2000),
        Frame(address=0x7F0000004000),
    )
    report = CrashReport(
        signal=Signals.SIGSEGV,
        code=1,
        address=0,
        registers={"rax": 0, "rbx": 1, "rcx": 2, "rdx": 3, "rip": 0x7F0000001139},
        frames=frames,
        backtrace_complete=False,
        thread=4242,
        thread_name="aionif-0",
        stack_used=1536,
        stack_size=1 << 20,
        taint=("heap", "locks"),
        stderr="first\n\x1b[31msecond\n",
        duration=0.0125,
    )
    error = NifSignal(signal=Signals.SIGSEGV, code=1, address=0, report=report)
    assert error.report.render() == (
        f"""\
Native crash in thread 4242 "aionif-0" after 12.5 ms
Registers:
  rax 0000000000000000  rbx 0000000000000001  rcx 0000000000000002  rdx 0000000000000003
  rip 00007f0000001139
Stack used: 1.5 KiB of 1 MiB
Taint: heap, locks
Worker's stderr:
  | first
  | \\x1b[31msecond
Native traceback (most recent call last):
  (outer frames are missing: the stack could not be followed further)
  Address 0x7f0000004000, in ?
  Module "libz.so.1" +0x2000
  Module "libz.so.1" +0x1234, in crc32+0x12
  File "gone/crash.c", line 12, in crash_here
  File "gone/crash.h", line 7, in ? (inlined)
  File "{source}", line 3, in poke (inlined)
    return *p; /* \N{REPLACEMENT CHARACTER} */
NifSignal: SIGSEGV (SEGV_MAPERR) at 0x0 (null pointer)"""
    )


def test_rendering_of_an_empty_report() -> None:
    expected = "Native traceback (most recent call last):\nthe call crashed"
    assert CrashReport().render() == expected


def test_rendering_of_deep_recursion() -> None:
    frame = Frame(address=1, module="a.so", offset=1, symbol="f", symbol_offset=1)
    lines = CrashReport(frames=(frame,) * 64).render().splitlines()
    assert lines[1:-1] == [
        *['  Module "a.so" +0x1, in f+0x1'] * 3,
        "  [Previous frame repeated 61 more times]",
    ]


@pytest.mark.parametrize("name", ["fifo", "directory", "large", "missing", "nul\0", "lone\udc80"])
def test_rendering_with_an_unreadable_source(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("aionif.crash.report._SOURCE_LIMIT", 100)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "directory").mkdir()
    (tmp_path / "large").write_text("x\n" * 100)
    descriptors = len(list(Path("/proc/self/fd").iterdir()))
    frame = Frame(address=1, symbol="f", file=f"{tmp_path}/{name}", line=1)
    lines = CrashReport(frames=(frame,), headline="end").render().splitlines()
    assert len(lines) == 3
    assert lines[1].endswith(", line 1, in f")
    assert len(list(Path("/proc/self/fd").iterdir())) == descriptors


def test_type_hints_of_the_data_classes_resolve() -> None:
    assert typing.get_type_hints(CrashReport)["frames"] == tuple[Frame, ...]
    assert typing.get_type_hints(Frame)["inlined"] == tuple[Inlined, ...]
