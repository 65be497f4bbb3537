"""libseccomp through ctypes: the same table compiled by others, as an oracle."""

from __future__ import annotations

import ctypes
import ctypes.util
import os
from typing import TYPE_CHECKING

from aionif.filters.bpf import AUDIT_ARCH, OWN_PID, Clause, Instruction, Test, decode
from aionif.filters.syscalls import numbers

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aionif.system.processor import Machine

PID = 4242
"""Stands for the process's own id."""

KILL_PROCESS = 0x80000000
_BAD_ARCHITECTURE = 2  # SCMP_FLTATR_ACT_BADARCH
_NOT_EQUAL, _MASKED_EQUAL = 1, 7
_DATA = 0xFFFF


class _Comparison(ctypes.Structure):
    _fields_ = (
        ("argument", ctypes.c_uint),
        ("operator", ctypes.c_int),
        ("a", ctypes.c_uint64),
        ("b", ctypes.c_uint64),
    )


def library() -> ctypes.CDLL | None:
    """Return libseccomp, or None on a machine that has none."""
    try:
        found = ctypes.CDLL("libseccomp.so.2")
    except OSError:
        return None
    found.seccomp_init.restype = ctypes.c_void_p
    found.seccomp_init.argtypes = [ctypes.c_uint32]
    found.seccomp_release.argtypes = [ctypes.c_void_p]
    found.seccomp_attr_set.argtypes = [ctypes.c_void_p, ctypes.c_int, ctypes.c_uint32]
    found.seccomp_arch_add.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    found.seccomp_arch_remove.argtypes = [ctypes.c_void_p, ctypes.c_uint32]
    found.seccomp_export_bpf.argtypes = [ctypes.c_void_p, ctypes.c_int]
    found.seccomp_syscall_resolve_name_arch.argtypes = [ctypes.c_uint32, ctypes.c_char_p]
    found.seccomp_rule_add_array.argtypes = [
        ctypes.c_void_p,
        ctypes.c_uint32,
        ctypes.c_int,
        ctypes.c_uint,
        ctypes.POINTER(_Comparison),
    ]
    return found


def plain(outcome: int) -> int:
    """Return an outcome without the data of a trap, which libseccomp can't express."""
    return outcome & ~_DATA if outcome & ~_DATA == 0x00030000 else outcome


def knows(machine: Machine, name: str) -> bool:
    """Whether libseccomp has this system call, on the machine that it runs on too."""
    lib = library()
    assert lib
    resolve = lib.seccomp_syscall_resolve_name_arch
    return all(resolve(AUDIT_ARCH[on], name.encode()) >= 0 for on in (machine, "x86_64"))


def compile_table(
    machine: Machine, rules: Mapping[str, Iterable[Clause]], default: int
) -> list[Instruction]:
    """Return libseccomp's program; the clauses of one system call must not contradict each other.

    libseccomp takes the numbers of the machine it runs on and translates them by name.
    """
    lib = library()
    assert lib
    context = lib.seccomp_init(plain(default))
    try:
        _check(lib.seccomp_attr_set(context, _BAD_ARCHITECTURE, KILL_PROCESS))
        if machine != "x86_64":
            _check(lib.seccomp_arch_add(context, AUDIT_ARCH[machine]))
            _check(lib.seccomp_arch_remove(context, AUDIT_ARCH["x86_64"]))
        for name, clauses in rules.items():
            for clause in clauses:
                tests = (_Comparison * 6)(*map(_comparison, clause.tests))
                number = numbers("x86_64")[name]
                _check(
                    lib.seccomp_rule_add_array(
                        context, plain(clause.outcome), number, len(clause.tests), tests
                    )
                )
        return _export(lib, context)
    finally:
        lib.seccomp_release(context)


def _comparison(test: Test) -> _Comparison:
    value = PID if test.value == OWN_PID else test.value
    if test.unless:
        assert test.mask == (1 << 64) - 1, "libseccomp has no masked inequality"
        return _Comparison(test.argument, _NOT_EQUAL, value, 0)
    return _Comparison(test.argument, _MASKED_EQUAL, test.mask, value)


def _check(error: int) -> None:
    if error:
        raise OSError(-error, os.strerror(-error))


def _export(lib: ctypes.CDLL, context: int) -> list[Instruction]:
    file = os.memfd_create("filter")
    try:
        _check(lib.seccomp_export_bpf(context, file))
        return decode(os.pread(file, 1 << 20, 0))
    finally:
        os.close(file)
