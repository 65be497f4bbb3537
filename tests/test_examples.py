"""Every example runs, ends well, prints what it promises, and its log and stderr are empty."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parent.parent / "examples"
DEADLINE = 60.0  # seconds; each takes less than one on an idle machine

PRINTED = {
    "survive_everything.py": (
        "strlen: strlen in libc.so.6 (thread tier): SIGSEGV",
        "overflow_recursion: NifStackOverflow",
        "underscore_exit: NifExit",
        "spin: NifTimeout",
        "still here, and strlen works: 5",
    ),
    "zlib_service.py": (
        "good: 200 unpacked to 320000 bytes",
        "garbage: 400 not zlib data",
        "lies: 500 NifSignal: SIGSEGV",
        "too much: 503 gave up",
        "good, again: 200 unpacked to 320000 bytes",
    ),
    "sqlite_session.py": (
        "[('Gjoa', 1872), ('Fram', 1892), ('Maud', 1916)]",
        "crashed in sqlite3_step: SIGSEGV",
        "broken: True",
        "[('ships afloat', 3)]",
    ),
    "ctypes_and_cffi.py": (
        "div(17, 5) = 3 remainder 2",
        "hypot(3, 4) = 5.0",
        "crc32 of a bytearray = 0xd7aa7d9c",
        "inline: 0xd7aa7d9c",
        "strlen(0x10) is SIGSEGV at 0x10",
        "argument 1: Pass bytes",
        "ctypes again: 10",
    ),
    "cooperative_stop/main.py": (
        "primes below a million: 78498",
        "did not return within 0.05 s",
        "it looked at some numbers: True",
        "buffers in use: 0",
        "aborted: 0, threads abandoned: 0",
    ),
    "untrusted_images.py": (
        "good: 3145728 bytes",
        "garbage: no image (-3)",
        "a bomb: no image (-5)",
        "good, again: 2097152 bytes",
        "the exploit phones home: socket is denied",
        "the exploit starts a shell: 127",
    ),
    "sandbox_walkthrough.py": (
        "open a file        failed: Permission denied",
        "open a socket      denied: system call socket",
        "start a program    denied: system call execve",
        "trace the parent   denied: system call ptrace",
        "fork               failed: Operation not permitted",
        "kill the parent    denied: system call kill",
        "map code           denied: system call mmap",
        "hog memory         the call exceeded its address_space limit of 1073741824",
        "hog the CPU        the call exceeded its cpu_time limit of 0.5",
        "compute again      returned 2187",
    ),
    "http_service/main.py": (
        '5 times good: 200 {"mean": 200.0}',
        '5 times garbage: 400 {"error": "not a picture"}',
        '5 times malicious: 500 {"error": "NifSignal"}',
        'outcome="crashed",pool="pictures"} 5.0',
        'aionif_crashes_total{signal="SIGSEGV"} 5.0',
    ),
    "crash_reports.py": (
        "Native traceback (most recent call last):",
        "in gallery_qsort_comparator",
        "NifSignal: SIGSEGV (SEGV_MAPERR) at 0x40",
        "as_term: ('nif_signal', 11)",
        '"event": "nif_signal"',
        "pickled and back: True",
    ),
}


def test_every_example_is_tested() -> None:
    scripts = {*EXAMPLES.glob("*.py"), *EXAMPLES.glob("*/main.py")}
    assert {str(script.relative_to(EXAMPLES)) for script in scripts} == set(PRINTED)


@pytest.mark.parametrize("name", PRINTED)
def test_example_runs(name: str) -> None:
    done = subprocess.run(
        [sys.executable, EXAMPLES / name],
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
    )
    assert (done.returncode, done.stderr) == (0, "")
    for text in PRINTED[name]:
        assert text in done.stdout
