"""Each specimen of the crash gallery kills an unprotected process with exactly its signal.

Every other crash test says that aionif survived; this one says that there was something to survive.
The calls here go through plain cffi, in a child process that imports nothing of aionif.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from aionif.testing import gallery

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from aionif.testing.gallery import Specimen

DEADLINE = 30.0
"""Seconds for a child that has to end by itself."""

STILL_RUNNING = 0.5
"""Seconds after which a call that has not returned counts as endless."""

# The 1 MiB stack makes the specimen with a 4 MiB frame overflow here too, and recursion end early.
# The marker is written before the call: a child that died earlier does not pass for a crash.
CHILD = """
import json, resource, sys
import cffi
path, symbol, cdef, arguments = json.loads(sys.argv[1])
resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
resource.setrlimit(resource.RLIMIT_STACK, (1 << 20, 1 << 20))
ffi = cffi.FFI()
ffi.cdef(cdef)
function = getattr(ffi.dlopen(path), symbol)
arguments = [a.encode() if isinstance(a, str) else a for a in arguments]
print("calling", flush=True)
result = function(*arguments)
print("returned", result, ffi.errno, flush=True)
"""


@contextlib.contextmanager
def unprotected_call(specimen: Specimen) -> Iterator[subprocess.Popen[bytes]]:
    """A child process that is about to call `specimen`, past its marker."""
    arguments = [a.decode() if isinstance(a, bytes) else a for a in specimen.arguments]
    path = str(gallery.library_path(specimen.language))
    call = json.dumps([path, specimen.symbol, specimen.cdef, arguments])
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONFAULTHANDLER"}
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, call],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        bufsize=0,  # or readline() would swallow what communicate() is to return
        env=environment,
    )
    with child:
        try:
            assert child.stdout is not None
            assert child.stdout.readline() == b"calling\n"
            yield child
        finally:
            child.kill()


def ends(specimen: Specimen) -> tuple[int, str]:
    """The wait status (negative: a signal) of an unprotected call, and what it printed last."""
    with unprotected_call(specimen) as child:
        output, _ = child.communicate(timeout=DEADLINE)
        return child.returncode, output.decode()


def specimens(chosen: Callable[[Specimen], bool]) -> pytest.MarkDecorator:
    rows = [specimen for specimen in gallery.available() if chosen(specimen)]
    return pytest.mark.parametrize("specimen", rows, ids=lambda row: row.name)


@specimens(lambda row: row.signal is not None)
def test_kills_the_process_with_exactly_its_signal(specimen: Specimen) -> None:
    assert specimen.signal is not None
    assert ends(specimen) == (-specimen.signal, "")


@specimens(lambda row: row.signal is None and row.outcome in ("NifExit", "NifPanic", "death"))
def test_ends_the_process_with_its_status(specimen: Specimen) -> None:
    status = 5 if specimen.name == "quick_exit" else specimen.value
    assert ends(specimen) == (status, "")


@specimens(lambda row: row.outcome == "NifTimeout")
def test_never_returns(specimen: Specimen) -> None:
    with unprotected_call(specimen) as child:
        with pytest.raises(subprocess.TimeoutExpired):
            child.wait(STILL_RUNNING)
        child.kill()
        assert child.wait(DEADLINE) == -signal.SIGKILL


@specimens(lambda row: row.outcome == "result")
def test_returns(specimen: Specimen) -> None:
    status, output = ends(specimen)
    assert status == 0
    word, result, errno = output.split()
    assert (word, result) == ("returned", str(specimen.value))
    if specimen.name == "errno_setter":
        assert errno == str(specimen.arguments[0])


def test_the_c_part_is_always_built() -> None:
    assert gallery.library_path("c").is_file()


def test_a_part_that_is_missing_names_its_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["aionif"], "__path__", [])
    assert gallery.available() == []
    with pytest.raises(FileNotFoundError, match=r"'rust'.*install rustc"):
        gallery.library_path("rust")


def test_every_name_leads_to_its_own_specimen() -> None:
    assert all(name == specimen.name for name, specimen in gallery.SPECIMENS.items())
    assert len({specimen.symbol for specimen in gallery.SPECIMENS.values()}) == len(
        gallery.SPECIMENS
    )
