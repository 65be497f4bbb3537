"""What differs from one processor to another, as far as Python has to know it.

The core has its own of these facts in `csrc/arch/`. Both processors are here on either of them, so
that what follows from a fact can be tested without the other one.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass
from typing import Literal

__all__ = ("HERE", "PROCESSORS", "Machine", "Processor")

Machine = Literal["x86_64", "aarch64"]


@dataclass(frozen=True, slots=True)
class Processor:
    """One processor under Linux, with its calling convention.

    name: what the kernel calls it.
    integer_registers, float_registers: how many of them carry arguments.
    floats_of_a_struct: up to so many floating-point numbers, all of one type, that are the whole of
        a struct travel in as many registers, whatever its size. 0: there is no such rule.
    large_structs_by_address: a struct that is too large for registers is passed as the address of a
        copy, and not on the stack.
    has_x87: a result of type long double is in a register of its own kind.
    end_of_addresses: no program has memory here or above, unless it asks the kernel for some by
        such an address.
    registers: those of a crash report, in the order in which the core writes them down.
    loaders: paths of the program that loads a program's libraries.
    """

    name: Machine
    integer_registers: int
    float_registers: int
    floats_of_a_struct: int
    large_structs_by_address: bool
    has_x87: bool
    end_of_addresses: int
    registers: tuple[str, ...]
    loaders: tuple[str, ...]


_X86_64 = Processor(  # System V ABI
    name="x86_64",
    integer_registers=6,
    float_registers=8,
    floats_of_a_struct=0,
    large_structs_by_address=False,
    has_x87=True,
    end_of_addresses=1 << 47,
    registers=(
        "rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp", "r8",
        "r9", "r10", "r11", "r12", "r13", "r14", "r15", "eflags", "rip",
    ),
    loaders=("/lib64/ld-linux-x86-64.so.2",),
)  # fmt: skip

_AARCH64 = Processor(  # AAPCS64
    name="aarch64",
    integer_registers=8,
    float_registers=8,
    floats_of_a_struct=4,
    large_structs_by_address=True,
    has_x87=False,
    end_of_addresses=1 << 48,
    registers=(
        "x0", "x1", "x2", "x3", "x4", "x5", "x6", "x7", "x8",
        "x16", "x17", "x19", "x20", "x29", "x30", "sp", "pc", "pstate",
    ),
    loaders=("/lib/ld-linux-aarch64.so.1",),
)  # fmt: skip

PROCESSORS: dict[str, Processor] = {each.name: each for each in (_X86_64, _AARCH64)}

HERE = PROCESSORS.get(platform.machine(), _X86_64)
"""This one. Where it is none of them, the import of `aionif.core.native` says so."""
