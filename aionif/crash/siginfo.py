"""The kernel's names for what a signal reports: `si_code` constants and a one-line description.

The numbers are those of Linux's `asm-generic/siginfo.h`; they are ABI and the same on every CPU.
"""

from __future__ import annotations

from signal import Signals

__all__ = ("code_name", "describe_fault", "signal_name", "signal_of")

SI_KERNEL = 0x80

# An access this close to zero is a null pointer plus the offset of a field or a small index; it
# is the lowest page that vm.mmap_min_addr keeps unmapped on every configuration.
NULL_PAGE = 4096

# Codes that any signal can carry: who sent it, rather than what went wrong.
_SENDER_CODES = {
    0: "SI_USER",
    SI_KERNEL: "SI_KERNEL",
    -1: "SI_QUEUE",
    -2: "SI_TIMER",
    -3: "SI_MESGQ",
    -4: "SI_ASYNCIO",
    -5: "SI_SIGIO",
    -6: "SI_TKILL",
}

_FAULT_CODES: dict[int, tuple[str, ...]] = {
    Signals.SIGILL: (
        "ILL_ILLOPC",
        "ILL_ILLOPN",
        "ILL_ILLADR",
        "ILL_ILLTRP",
        "ILL_PRVOPC",
        "ILL_PRVREG",
        "ILL_COPROC",
        "ILL_BADSTK",
        "ILL_BADIADDR",
    ),
    Signals.SIGFPE: (
        "FPE_INTDIV",
        "FPE_INTOVF",
        "FPE_FLTDIV",
        "FPE_FLTOVF",
        "FPE_FLTUND",
        "FPE_FLTRES",
        "FPE_FLTINV",
        "FPE_FLTSUB",
    ),
    Signals.SIGSEGV: (
        "SEGV_MAPERR",
        "SEGV_ACCERR",
        "SEGV_BNDERR",
        "SEGV_PKUERR",
        "SEGV_ACCADI",
        "SEGV_ADIDERR",
        "SEGV_ADIPERR",
        "SEGV_MTEAERR",
        "SEGV_MTESERR",
        "SEGV_CPERR",
    ),
    Signals.SIGBUS: (
        "BUS_ADRALN",
        "BUS_ADRERR",
        "BUS_OBJERR",
        "BUS_MCEERR_AR",
        "BUS_MCEERR_AO",
    ),
    Signals.SIGTRAP: (
        "TRAP_BRKPT",
        "TRAP_TRACE",
        "TRAP_BRANCH",
        "TRAP_HWBKPT",
        "TRAP_UNK",
        "TRAP_PERF",
    ),
    Signals.SIGSYS: ("SYS_SECCOMP", "SYS_USER_DISPATCH"),
}


def signal_of(number: int) -> Signals | int:
    """Return a signal; the number itself where there is none, or none with a name."""
    try:
        return Signals(number)
    except ValueError:
        return number


def signal_name(signal: int) -> str:
    """Return the name of a signal, such as `SIGSEGV`; `signal 99` for one without a name."""
    known = signal_of(signal)
    return known.name if isinstance(known, Signals) else f"signal {known}"


def code_name(signal: int, code: int) -> str:
    """The constant's name, such as `SEGV_MAPERR`; `si_code 99` for one that is not known."""
    names = _FAULT_CODES.get(signal, ())
    if 1 <= code <= len(names):
        return names[code - 1]
    return _SENDER_CODES.get(code, f"si_code {code}")


def describe_fault(signal: int, code: int, address: int | None) -> str:
    """What happened, in one line: `SIGSEGV (SEGV_MAPERR) at 0x0 (null pointer)`."""
    text = f"{signal_name(signal)} ({code_name(signal, code)})"
    if address is not None:
        text += f" at {address:#x}"
        if signal == Signals.SIGSEGV and 0 <= address < NULL_PAGE:
            text += " (null pointer)"
    elif signal == Signals.SIGSEGV and code == SI_KERNEL:
        # x86 raises a general protection fault here, and that carries no address.
        text += " at an address the CPU does not report (often a non-canonical pointer)"
    return text
