"""Native code that crashes where it is called by the dynamic linker, under the linker's locks."""

from __future__ import annotations

from signal import Signals
from typing import TYPE_CHECKING

from tests import children, support

if TYPE_CHECKING:
    from pathlib import Path

LOCKED = "SIGSEGV a crashed call left a lock held"
GOES_ON = ["a worker True", "a thread True 0", "end"]

CONSTRUCTOR = """
__attribute__((constructor)) static void crash(void) { *(volatile int *)16 = 1; }
"""
CALLBACK = """
#define _GNU_SOURCE
#include <link.h>
static int crash(struct dl_phdr_info *info, size_t size, void *unused) {
    (void)info, (void)size, (void)unused;
    return *(volatile int *)16;
}
int crash_in_callback(void) { return dl_iterate_phdr(crash, 0); }
"""
# Called as the library is being relocated, before ld.so has finished with it.
RESOLVER = """
typedef int function(void);
static function *crash(void) { return *(function *volatile *)16; }
int resolved(void) __attribute__((ifunc("crash")));
function *use = resolved;
"""


def end_of(directory: Path, kind: str, source: str) -> children.Ending:
    return children.run("loading.py", kind, support.build_library(directory, source, name="crash"))


def test_a_constructor_crashes_and_libraries_are_loaded_after_that(tmp_path: Path) -> None:
    ending = end_of(tmp_path, "dlopen", CONSTRUCTOR)
    assert ending.status == 0, ending.errors
    # The second time it is loaded already, as far as ld.so knows.
    assert ending.lines == [LOCKED, "returned", *GOES_ON]


def test_a_callback_crashes_and_libraries_are_loaded_after_that(tmp_path: Path) -> None:
    ending = end_of(tmp_path, "callback", CALLBACK)
    assert ending.status == 0, ending.errors
    assert ending.lines == [LOCKED, LOCKED, *GOES_ON]


def test_a_library_that_is_half_loaded_ends_the_process(tmp_path: Path) -> None:
    for _ in range(2):
        ending = end_of(tmp_path, "dlopen", RESOLVER)
        assert ending.status == -Signals.SIGSEGV
        assert "it held the lock of the dynamic linker; the process ends" in ending.errors
