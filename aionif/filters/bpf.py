"""A seccomp filter compiled to classic BPF, and an interpreter of such programs.

A filter is a table: for each system call an ordered tuple of clauses, the first that holds
decides. The program first makes sure that the numbers mean what the table thinks. A call made
through another machine's entry (`int 0x80`, or x32 with its bit in the number) ends the process:
honest code has no such instruction, and a number looked up in the wrong table is how filters are
fooled.

The number is then found by bisection. Neighbours with the same clauses share a leaf, so a profile
of a hundred names takes some forty of them, and six or seven comparisons to reach any. Every
block of instructions ends in a return and jumps only forwards within itself. Blocks are therefore
put together as lists, and no address is ever known or patched. A conditional jump reaches 255
instructions; where a half is longer than that, the jump goes through an unconditional one.

Arguments are 64-bit words, of which the kernel looks at the lower half where it takes an `int`.
So a test names the bits that it is about, and halves without such a bit are not loaded. A test
may compare with the process's own id, which is known only when the filter is installed: those
instructions are listed, for `csrc/sealing/seal.c` to fill in.

libseccomp would do all this. It is the oracle of the tests instead: loading through it takes
seven times as long, and it knows no instruction that is to be filled in later.
"""

from __future__ import annotations

import operator
import struct
from typing import TYPE_CHECKING, NamedTuple

from aionif.system.processor import HERE

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from aionif.system.processor import Machine

__all__ = (
    "ALLOW",
    "AUDIT_ARCH",
    "KILL",
    "NOTIFY",
    "OWN_PID",
    "Call",
    "Clause",
    "Clauses",
    "Instruction",
    "Test",
    "bind",
    "compile_filter",
    "decode",
    "encode",
    "errno",
    "evaluate",
    "relocations",
    "trap",
)

KILL = 0x80000000  # SECCOMP_RET_KILL_PROCESS
NOTIFY = 0x7FC00000  # SECCOMP_RET_USER_NOTIF
ALLOW = 0x7FFF0000
_TRAP = 0x00030000
_ERRNO = 0x00050000

AUDIT_ARCH: dict[Machine, int] = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_X32_BIT = 0x40000000

# linux/bpf_common.h
_LOAD, _AND, _RETURN, _GO, _IF_EQUAL, _IF_AT_LEAST = 0x20, 0x54, 0x06, 0x05, 0x15, 0x35

# struct seccomp_data
_NUMBER_AT, _ARCH_AT, _ARGUMENTS_AT = 0, 4, 16

_HALF = 0xFFFFFFFF
_FAR = 255
_INSTRUCTION = struct.Struct("=HBBI")  # struct sock_filter
_DATA = struct.Struct("=II8x6Q")  # struct seccomp_data

OWN_PID = -1
"""Stands for the id of the process that installs the filter."""


def errno(number: int) -> int:
    """Return the outcome "the call fails with this errno"."""
    return _ERRNO | number


def trap(mark: int) -> int:
    """Return the outcome "SIGSYS with this mark in si_errno"."""
    return _TRAP | mark


class Test(NamedTuple):
    """Holds where `argument & mask == value`, or where it does not, if `unless`."""

    argument: int
    mask: int
    value: int
    unless: bool = False


class Clause(NamedTuple):
    """The outcome of a call for which all tests hold."""

    outcome: int
    tests: tuple[Test, ...] = ()


Clauses = tuple[Clause, ...]


class Instruction(NamedTuple):
    """One instruction; `is_own_pid` where k is to be filled in."""

    code: int
    k: int
    jt: int = 0
    jf: int = 0
    is_own_pid: bool = False


class Call(NamedTuple):
    """What a filter sees of a system call."""

    number: int
    arguments: tuple[int, ...] = ()
    machine: Machine = HERE.name


# ---- compiling ----


def compile_filter(
    machine: Machine, table: Mapping[int, Clauses], default: int
) -> list[Instruction]:
    """Return the program for `table`, clauses by number; calls not in it meet `default`.

    The last clause of each call has no tests.
    """
    leaves = _leaves(table, default)
    program = [
        Instruction(_LOAD, _ARCH_AT),
        Instruction(_IF_EQUAL, AUDIT_ARCH[machine], jt=1),
        Instruction(_RETURN, KILL),
        Instruction(_LOAD, _NUMBER_AT),
    ]
    if machine == "x86_64":
        program += [Instruction(_IF_AT_LEAST, _X32_BIT, jf=1), Instruction(_RETURN, KILL)]
    return program + _search(leaves)


def _leaves(table: Mapping[int, Clauses], default: int) -> list[tuple[int, Clauses]]:
    """Return the clauses of all numbers, each with the first number that they are for."""
    others = (Clause(default),)
    leaves: list[tuple[int, Clauses]] = []
    for number in range(max(table) + 2):
        clauses = table.get(number, others)
        if not leaves or leaves[-1][1] != clauses:
            leaves.append((number, clauses))
    return leaves


def _search(leaves: Sequence[tuple[int, Clauses]]) -> list[Instruction]:
    if len(leaves) == 1:
        return _decide(leaves[0][1])
    middle = len(leaves) // 2
    below, above = _search(leaves[:middle]), _search(leaves[middle:])
    pivot = leaves[middle][0]
    if len(below) <= _FAR:
        return [Instruction(_IF_AT_LEAST, pivot, jt=len(below)), *below, *above]
    far = [Instruction(_IF_AT_LEAST, pivot, jf=1), Instruction(_GO, len(below))]
    return [*far, *below, *above]


def _decide(clauses: Clauses) -> list[Instruction]:
    return [instruction for clause in clauses for instruction in _clause(clause)]


def _clause(clause: Clause) -> list[Instruction]:
    """Return a block that ends with the outcome, or just behind itself if a test fails."""
    block = [Instruction(_RETURN, clause.outcome)]
    for test in reversed(clause.tests):
        block = _test(test, len(block)) + block
    return block


def _test(test: Test, skip: int) -> list[Instruction]:
    """Return a block that goes on behind itself if the test holds, else `skip` further."""
    halves = [
        (at, test.mask >> shift & _HALF, test.value >> shift & _HALF)
        for at, shift in ((0, 0), (4, 32))
        if test.mask >> shift & _HALF
    ]
    block: list[Instruction] = []
    for at, mask, value in reversed(halves):
        if not test.unless:
            jt, jf = 0, len(block) + skip
        elif block:  # equal so far: the other half decides. Not equal: the test holds
            jt, jf = 0, len(block)
        else:
            jt, jf = skip, 0
        own = test.value == OWN_PID
        compare = Instruction(_IF_EQUAL, 0 if own else value, jt, jf, own)
        whole = [] if mask == _HALF else [Instruction(_AND, mask)]
        load = Instruction(_LOAD, _ARGUMENTS_AT + 8 * test.argument + at)
        block = [load, *whole, compare, *block]
    return block


# ---- programs ----


def relocations(program: Iterable[Instruction]) -> list[int]:
    """Return the indices of the instructions that wait for the process's own id."""
    return [index for index, found in enumerate(program) if found.is_own_pid]


def bind(program: Iterable[Instruction], pid: int) -> list[Instruction]:
    """Return the program as it is for one process."""
    return [found._replace(k=pid) if found.is_own_pid else found for found in program]


def encode(program: Iterable[Instruction]) -> bytes:
    """Return the program as an array of `struct sock_filter`."""
    return b"".join(_INSTRUCTION.pack(found.code, found.jt, found.jf, found.k) for found in program)


def decode(code: bytes) -> list[Instruction]:
    """Return the program in an array of `struct sock_filter`."""
    return [
        Instruction(operation, k, jt, jf) for operation, jt, jf, k in _INSTRUCTION.iter_unpack(code)
    ]


def evaluate(program: Sequence[Instruction], call: Call) -> int:
    """Return what a filter decides, as the kernel would run it.

    Raises:
        ValueError: the program has an instruction that this interpreter does not know.
    """
    arguments = [word & (1 << 64) - 1 for word in (*call.arguments, *[0] * 6)][:6]
    data = _DATA.pack(call.number, AUDIT_ARCH[call.machine], *arguments)
    at = accumulator = 0
    while True:
        code, k, jt, jf, _ = program[at]
        at += 1
        if code == _LOAD:
            [accumulator] = struct.unpack_from("=I", data, k)
        elif code == _AND:
            accumulator &= k
        elif code == _RETURN:
            return k
        elif code == _GO:
            at += k
        elif code in _COMPARISONS:
            at += jt if _COMPARISONS[code](accumulator, k) else jf
        else:
            raise ValueError(f"instruction {at - 1} has the unknown code {code:#x}")


# The kernel has two more, which libseccomp's programs use.
_COMPARISONS: dict[int, Callable[[int, int], bool]] = {
    _IF_EQUAL: operator.eq,
    _IF_AT_LEAST: operator.ge,
    0x25: operator.gt,
    0x45: lambda accumulator, k: bool(accumulator & k),
}
