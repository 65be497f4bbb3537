"""Read from an ELF file what a backtrace needs: its build id, and the symbol around an address.

Purpose. External symbolisers are often absent from a production image, and where present they
do not say how far into a function an address lies. Both facts stand in two simple tables.

Guarantees. Nothing raises: a file that is missing, truncated, hostile or not ELF has no build id
and no symbols. Every read is bounded by a constant and by the file's size. A symbol is reported
only for an address inside its own extent; the nearest symbol below, which many tools print, is a
guess and is wrong in every stripped library.

Assumptions. 64-bit little-endian, as both CPUs of the core are. Addresses are link-time virtual
addresses. Symbols are those of `.symtab` and, where that was stripped, `.dynsym`; a symbol without
a size (hand-written assembly) claims no address.

Rejected: mapping the file, because a file that is truncated under a mapping raises SIGBUS, and in
this library of all places a read should not; keeping whole symbol tables in memory, because a large
library has a million symbols and a report asks for a few dozen addresses.
"""

from __future__ import annotations

import os
import stat
import struct
from bisect import bisect_left
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

__all__ = ("Symbol", "build_id", "symbols_at")

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_PROGRAM = struct.Struct("<IIQQQQQQ")  # type, flags, offset, vaddr, paddr, filesz, memsz, align
_SECTION = struct.Struct("<IIQQQQIIQQ")  # name, type, flags, addr, offset, size, link, ...
_SYMBOL = struct.Struct("<IBBHQQ")  # name, info, other, section index, value, size
_NOTE = struct.Struct("<III")  # name size, descriptor size, type

_ELF64_LITTLE_ENDIAN = b"\x7fELF\x02\x01"
_PT_NOTE = 4
_NT_GNU_BUILD_ID = 3
_SHT_SYMTAB = 2
_SHT_DYNSYM = 11
_FUNCTION_TYPES = frozenset({2, 10})  # STT_FUNC, STT_GNU_IFUNC
_BINDING_RANK = (0, 2, 1)  # local, global, weak: of several aliases a global name is the best known

_NOTE_LIMIT = 1 << 20
_TABLE_LIMIT = 128 << 20  # of a symbol table: five million symbols
_NAME_LIMIT = 16 << 10

# What a bad file can cause: ValueError also covers a NUL or a lone surrogate in the path.
_BAD_FILE = (OSError, ValueError, struct.error, OverflowError)


class Symbol(NamedTuple):
    """A function of the symbol table: its name as linked (mangled), start address and size."""

    name: str
    value: int
    size: int


class _Section(NamedTuple):
    type: int
    offset: int
    size: int
    link: int


def build_id(path: str) -> str | None:
    """Return the file's GNU build id in lower-case hex, or None if it has none."""
    try:
        with _opened(path) as file:
            return file.build_id()
    except _BAD_FILE:
        return None


def symbols_at(path: str, addresses: Collection[int]) -> dict[int, Symbol]:
    """Return the function symbol around each address, for those that have one."""
    found: dict[int, Symbol] = {}
    try:
        with _opened(path) as file:
            sections = file.sections()
            for kind in (_SHT_SYMTAB, _SHT_DYNSYM):
                for table in sections:
                    missing = sorted(set(addresses) - found.keys())
                    if table.type == kind and missing:
                        found |= file.search(table, sections[table.link], missing)
    except (*_BAD_FILE, IndexError):
        pass
    return found


def exported_names(path: str) -> list[str]:
    """Return the names of the functions that a library offers to others."""
    try:
        with _opened(path) as file:
            return file.exported_names()
    except (*_BAD_FILE, IndexError):
        return []


@contextmanager
def _opened(path: str) -> Iterator[_ElfFile]:
    # O_NONBLOCK: a module's path may by now name a FIFO, and opening that would wait for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError(path)
        yield _ElfFile(descriptor, status.st_size)
    finally:
        os.close(descriptor)


class _ElfFile:
    def __init__(self, descriptor: int, size: int) -> None:
        self._descriptor = descriptor
        self._size = size
        header = _HEADER.unpack(self._read(0, _HEADER.size, _HEADER.size))
        if not header[0].startswith(_ELF64_LITTLE_ENDIAN):
            raise ValueError(header[0])
        self._programs = (header[5], header[9], header[10])  # offset, entry size, count
        self._sections = (header[6], header[11], header[12])

    def build_id(self) -> str | None:
        for kind, _, offset, _, _, size, _, align in self._entries(self._programs, _PROGRAM):
            if kind == _PT_NOTE:
                notes = self._read(offset, size, _NOTE_LIMIT)
                for name, note_type, descriptor in _notes(notes, 8 if align == 8 else 4):  # noqa: PLR2004
                    if name == b"GNU\0" and note_type == _NT_GNU_BUILD_ID:
                        return descriptor.hex()
        return None

    def sections(self) -> list[_Section]:
        return [
            _Section(entry[1], entry[4], entry[5], entry[6])
            for entry in self._entries(self._sections, _SECTION)
        ]

    def search(self, table: _Section, names: _Section, addresses: list[int]) -> dict[int, Symbol]:
        """Find the symbols of one table around the addresses, which are sorted.

        Where symbols overlap the innermost wins: the one that starts last, then the shortest.
        """
        lowest, highest = addresses[0], addresses[-1]
        best: dict[int, tuple[tuple[int, int, int], list[int]]] = {}
        content = self._read(table.offset, table.size, _TABLE_LIMIT)
        whole = len(content) - len(content) % _SYMBOL.size
        for name, info, _, section, value, size in _SYMBOL.iter_unpack(content[:whole]):
            if value > highest or value + size <= lowest or info & 15 not in _FUNCTION_TYPES:
                continue
            if section == 0:  # undefined: an import
                continue
            binding = info >> 4
            key = (value, -size, _BINDING_RANK[binding] if binding < len(_BINDING_RANK) else 0)
            for address in addresses[bisect_left(addresses, value) :]:
                if address >= value + size:
                    break
                if address not in best or key > best[address][0]:
                    best[address] = (key, [name])
                elif key == best[address][0]:
                    best[address][1].append(name)
        return {
            address: Symbol(self._plainest_name(names, aliases), key[0], -key[1])
            for address, (key, aliases) in best.items()
        }

    def exported_names(self) -> list[str]:
        sections = self.sections()
        names: list[str] = []
        for table in sections:
            if table.type == _SHT_DYNSYM:
                content = self._read(table.offset, table.size, _TABLE_LIMIT)
                whole = len(content) - len(content) % _SYMBOL.size
                names += [
                    self._name(sections[table.link], name)
                    for name, info, _, section, _, _ in _SYMBOL.iter_unpack(content[:whole])
                    if section and info & 15 in _FUNCTION_TYPES
                ]
        return names

    def _plainest_name(self, names: _Section, aliases: list[int]) -> str:
        """Of `printf` and `_IO_printf` at one address, the name that a caller would write."""
        return min(
            (self._name(names, offset) for offset in aliases),
            key=lambda name: (len(name) - len(name.lstrip("_")), len(name), name),
        )

    def _name(self, names: _Section, offset: int) -> str:
        size = min(_NAME_LIMIT, names.size - offset)
        name = self._read(names.offset + offset, size, _NAME_LIMIT).partition(b"\0")[0]
        return name.decode(errors="replace")

    def _entries(
        self, table: tuple[int, int, int], layout: struct.Struct
    ) -> Iterator[tuple[int, ...]]:
        offset, entry_size, count = table
        if count and entry_size != layout.size:
            raise ValueError(entry_size)
        # The count is a 16-bit field, so this is bounded by itself.
        content = self._read(offset, count * entry_size, count * entry_size)
        yield from layout.iter_unpack(content)

    def _read(self, offset: int, size: int, limit: int) -> bytes:
        """Read exactly `size` bytes, or raise ValueError."""
        if size > limit or offset + size > self._size:
            raise ValueError(size)
        content = os.pread(self._descriptor, size, offset)
        if len(content) != size:
            raise ValueError(offset)
        return content


def _notes(content: bytes, align: int) -> Iterator[tuple[bytes, int, bytes]]:
    """Yield (name, type, descriptor) of each note; both parts are padded to `align`."""
    position = 0
    while position + _NOTE.size <= len(content):
        name_size, size, kind = _NOTE.unpack_from(content, position)
        name = position + _NOTE.size
        descriptor = _round_up(name + name_size, align)
        position = _round_up(descriptor + size, align)
        yield content[name : name + name_size], kind, content[descriptor : descriptor + size]


def _round_up(position: int, align: int) -> int:
    return -(-position // align) * align
