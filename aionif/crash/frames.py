"""One step of a native backtrace, as data.

`Frame` is what the fault handler records (an address and the module it lies in) together with
what a symboliser may add later. It stands below both the report that holds it and the symboliser
that fills it in.
"""

from __future__ import annotations

from dataclasses import dataclass

from aionif.system.escape import one_line

__all__ = ("Frame", "Inlined")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inlined:
    """A call that the compiler folded into the frame it stands in.

    `function` is None where the debug information does not name it reliably.
    """

    function: str | None = None
    file: str | None = None
    line: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One native stack frame.

    address: the code address at run time.
    module: path of the file the address is mapped from; None for code without a file (JIT).
    build_id: the module's GNU build id in lower-case hex, as loaded at the time of the fault.
    offset: the link-time virtual address, that is `address` minus the module's load bias.
    symbol, symbol_offset: the function as the linker knows it, and `offset` minus its start.
    file, line: where `symbol` itself stands; with `inlined`, that is the outermost call site.
    inlined: calls folded into this frame, innermost first, like the frames of a report.
    is_return_address: True for every frame but the faulting one. Such an address names the
        instruction after the call, which may belong to the next line or the next function, so
        it is looked up one byte earlier.
    """

    address: int
    module: str | None = None
    build_id: str | None = None
    offset: int | None = None
    symbol: str | None = None
    symbol_offset: int | None = None
    file: str | None = None
    line: int | None = None
    inlined: tuple[Inlined, ...] = ()
    is_return_address: bool = False

    @property
    def module_name(self) -> str | None:
        """The last part of the module's path."""
        return None if self.module is None else self.module.rpartition("/")[2]

    @property
    def symbol_text(self) -> str | None:
        """`symbol+0x12`, or the bare symbol where its start is unknown."""
        if self.symbol is None or self.symbol_offset is None:
            return self.symbol
        return f"{self.symbol}+{self.symbol_offset:#x}"

    def __str__(self) -> str:
        """One line: `crash_here (csrc/x.c:12)`, `crc32+0x12 (libz.so.1+0x1234)` or an address."""
        if self.file is not None:
            name = self.symbol or "?"
            place = f"{self.file}:{self.line or '?'}"
        else:
            name = self.symbol_text or "?"
            place = f"{self.address:#x}"
            if self.module is not None and self.offset is not None:
                place = f"{self.module_name}+{self.offset:#x}"
        return one_line(f"{name} ({place})")
