"""Calls that exit, make system calls that the policy forbids, or start other programs."""

from __future__ import annotations

import errno
import os
from signal import Signals
from typing import TYPE_CHECKING, Any

import cffi
import pytest

from aionif import NifExecutor, NifExit
from aionif.testing.gallery import SPECIMENS
from tests import children, support

if TYPE_CHECKING:
    from pathlib import Path

STOPPED = SPECIMENS["exit"].outcome == "NifExit"
"""Whether exit() can be stopped with this libc; _exit() always can."""

STATUS = 23
"""What the programs of exits.py exit with themselves."""

SOURCE = r"""
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static void handler(void) { if (write(1, "library's handler\n", 18)) {} }

void register_handlers(void) {
    atexit(handler);
}

int open_socket(void) { return socket(AF_UNIX, SOCK_STREAM, 0); }
int own_pid(void) { return getpid(); }

/* The child's errno of the same call. */
int socket_in_child(void) {
    int status;
    pid_t child = fork();
    if (child == 0)
        _exit(open_socket() < 0 ? errno : 0);
    return waitpid(child, &status, 0) == child && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}
"""

PROGRAMS = [
    "fork_child 9",
    "fork_child_exit 9",
    "spawn_true 0",
    f"run_system {7 << 8}",
    f"run_system {int(Signals.SIGKILL)}",
]
PYTHONS = [f"run_system {8 << 8}", f"run_system {6 << 8}"]


needs_exit_stopped = pytest.mark.skipif(not STOPPED, reason="this libc's exit() holds a lock")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return support.build_library(tmp_path_factory.mktemp("leaver"), SOURCE, name="leaver")


@pytest.mark.skipif(STOPPED, reason="this libc lets exit() be stopped")
@pytest.mark.parametrize(("kind", "status"), [("exit", 3), ("quick_exit", 5)])
def test_an_exit_that_holds_a_lock_to_its_end_goes_through(kind: str, status: int) -> None:
    ending = children.run("exits.py", "contained", "underscore_exit", kind)
    assert (ending.status, ending.lines) == (status, ["underscore_exit 4"])


@needs_exit_stopped
def test_an_exit_ends_the_call_and_not_the_process() -> None:
    ending = children.run("exits.py", "contained", "exit", "underscore_exit", "quick_exit")
    assert ending.status == STATUS
    assert ending.lines == ["exit 3", "underscore_exit 4", "quick_exit None"] * 2 + ["alive 5"]


@pytest.mark.parametrize(("kind", "status"), [("exit", 3), ("underscore_exit", 4)])
def test_contain_exit_false_lets_it_through(kind: str, status: int) -> None:
    assert children.run("exits.py", "not_contained", kind) == (status, "calling\n", "")


@needs_exit_stopped
def test_exit_handlers_run_once_and_at_the_processs_own_exit(library: Path) -> None:
    ending = children.run("exits.py", "with_handlers", library)
    assert ending.status == STATUS
    assert ending.lines == ["alive", "python's handler", "library's handler"]


def test_programs_that_a_call_starts_keep_their_statuses() -> None:
    ending = children.run("exits.py", "statuses")
    assert (ending.status, ending.lines) == (STATUS, PROGRAMS + PYTHONS)
    assert ending.errors == ""


def test_a_denied_system_call_ends_the_call(library: Path) -> None:
    ending = children.run("exits.py", "denied", library)
    assert ending.status == STATUS
    assert ending.lines == [
        *["socket 41 SIGSYS"] * 2,
        f"child {errno.EPERM}",
        "allowed True",
        "alive True",
    ]


@pytest.mark.skipif(os.getuid() != 0, reason="the whole suite runs without privileges already")
def test_all_of_it_without_privileges() -> None:
    ending = children.run("exits.py", "as_nobody")
    assert ending.status == STATUS
    contained = ["underscore_exit 4", "underscore_exit 4", "alive 5"]
    assert ending.lines == ["alive 5", *contained, *PROGRAMS, "NoNewPrivs:\t0"]


def test_a_symbol_that_is_missing_at_its_first_use_ends_its_call(tmp_path: Path) -> None:
    """The dynamic linker then leaves, by a system call of its own."""
    source = """
        void is_nowhere(void);
        int use(void) { is_nowhere(); return 0; }
        int one(void) { return 1; }
    """
    library = support.build_library(tmp_path, source, "-Wl,-z,lazy", "-fplt")
    ffi = cffi.FFI()
    ffi.cdef("int use(void); int one(void);")
    lazy: Any = ffi.dlopen(str(library), ffi.RTLD_LAZY)

    async def main() -> None:
        async with NifExecutor(max_workers=1) as executor:
            for _ in range(2):
                with pytest.raises(NifExit) as error:
                    await executor.execute_nif(lazy.use)
                assert error.value.status == 127
                assert await executor.execute_nif(lazy.one) == 1

    support.run_on("asyncio", main)
