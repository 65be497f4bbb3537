"""Signatures made up at random: native code gets and gives, bit for bit, what it would directly.

Hypothesis draws them: scalars of every kind and width, pointers, structs of every shape, up to
sixteen arguments, every kind of result. Each becomes a C function that copies the bytes of all its
arguments into a buffer, and makes its result of them; all of them are one library, compiled once.
Each function is then called directly, through all tiers with cffi, and through those of this
process with ctypes; the copied bytes and the bytes of the result must be the same.
"""

from __future__ import annotations

import ctypes
import random
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import _cffi_backend as backend
import cffi
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from aionif import NifExecutor, call_nif
from tests.support import build_library, long_double, run_on

if TYPE_CHECKING:
    from pathlib import Path

FUNCTIONS = 100  # of each kind
ROUNDS = 3  # each with other values
MOST_ARGUMENTS = 16
SEEN = 4096  # bytes of the buffer in which a function leaves its arguments


# ---- types ----


@dataclass(frozen=True)
class Scalar:
    """A C scalar type; size: bytes that carry its value."""

    name: str
    size: int
    ctype: Any  # of ctypes

    def declare(self) -> str:
        return self.name


@dataclass(frozen=True)
class Struct:
    """A struct of fields, each with the length of its array, 0 for none."""

    fields: tuple[tuple[Type, int], ...]

    def declare(self) -> str:
        members = "".join(
            f"{type_.declare()} m{i}{f'[{length}]' if length else ''}; "
            for i, (type_, length) in enumerate(self.fields)
        )
        return f"struct {{ {members}}}"


Type = Scalar | Struct

INTEGERS = (
    Scalar("signed char", 1, ctypes.c_byte),
    Scalar("unsigned char", 1, ctypes.c_ubyte),
    Scalar("short", 2, ctypes.c_short),
    Scalar("unsigned short", 2, ctypes.c_ushort),
    Scalar("int", 4, ctypes.c_int),
    Scalar("unsigned int", 4, ctypes.c_uint),
    Scalar("long", 8, ctypes.c_long),
    Scalar("unsigned long", 8, ctypes.c_ulong),
    Scalar("long long", 8, ctypes.c_longlong),
    Scalar("unsigned long long", 8, ctypes.c_ulonglong),
)
BOOL = Scalar("bool", 1, ctypes.c_bool)
FLOAT = Scalar("float", 4, ctypes.c_float)
DOUBLE = Scalar("double", 8, ctypes.c_double)
LONG_DOUBLE = Scalar("long double", 10, ctypes.c_longdouble)  # the other six are padding
POINTER = Scalar("void *", 8, ctypes.c_void_p)
PLAIN = (*INTEGERS, BOOL, FLOAT, DOUBLE, POINTER)

SCALARS = (*PLAIN, LONG_DOUBLE)

scalars = st.sampled_from(SCALARS)


def structs_of(members: st.SearchStrategy[Any], most: int) -> st.SearchStrategy[Struct]:
    field = st.tuples(members, st.sampled_from((0, 0, 0, 1, 2, 3)))
    return st.lists(field, min_size=1, max_size=most).map(lambda f: Struct(tuple(f)))


flat = structs_of(st.sampled_from(PLAIN), 5)
nested = structs_of(st.one_of(st.sampled_from(PLAIN), flat), 3)
with_long_double = structs_of(scalars, 3)


@dataclass(frozen=True)
class Signature:
    arguments: tuple[Type, ...]
    result: Type | None


def signatures_of(
    types: st.SearchStrategy[Any], results: st.SearchStrategy[Any]
) -> st.SearchStrategy[Signature]:
    arguments = st.lists(types, max_size=MOST_ARGUMENTS).map(tuple)
    return st.builds(Signature, arguments, results)


# More of a type than there are registers for it, and every kind of result.
CERTAIN = [Signature((scalar,) * MOST_ARGUMENTS, scalar) for scalar in SCALARS]
MADE_UP = (
    signatures_of(scalars, scalars),
    signatures_of(st.one_of(scalars, flat, nested, with_long_double), st.one_of(flat, nested)),
    signatures_of(st.one_of(scalars, flat), st.none()),
)


# ---- C ----


def leaves(type_: Type, path: str) -> list[tuple[Scalar, str]]:
    """Every scalar of a value, and how C gets at it: what lies between them is padding."""
    if isinstance(type_, Scalar):
        return [(type_, path)]
    found = []
    for i, (member, length) in enumerate(type_.fields):
        for place in [f"[{n}]" for n in range(length)] or [""]:
            found += leaves(member, f"{path}.m{i}{place}")
    return found


def names(i: int, signature: Signature) -> tuple[list[str], str]:
    """Names for the types of the arguments, and of the result, of function number i."""
    result = "void" if signature.result is None else f"r{i}"
    return [f"t{i}_{n}" for n in range(len(signature.arguments))], result


def typedefs(i: int, signature: Signature) -> str:
    types, result = names(i, signature)
    pairs = list(zip(signature.arguments, types, strict=True))
    if signature.result is not None:
        pairs.append((signature.result, result))
    return "".join(f"typedef {type_.declare()} {name};\n" for type_, name in pairs)


def prototype(i: int, signature: Signature) -> str:
    types, result = names(i, signature)
    parameters = ", ".join(f"{name} a{n}" for n, name in enumerate(types)) or "void"
    return f"{result} f{i}({parameters})"


def definition(i: int, signature: Signature) -> str:
    lines = ["char *end = seen;"]
    for n, type_ in enumerate(signature.arguments):
        for scalar, path in leaves(type_, f"a{n}"):
            lines.append(f"memcpy(end, &{path}, {scalar.size}); end += {scalar.size};")
    lines.append("seen_length = end - seen; spread();")
    if signature.result is not None:
        lines.append(f"r{i} r; memset(&r, 0, sizeof r); char *from = seen;")
        for scalar, path in leaves(signature.result, "r"):
            lines.append(make_result(scalar, path))
        lines.append("return r;")
    return f"{prototype(i, signature)} {{\n  " + "\n  ".join(lines) + "\n}\n"


def make_result(scalar: Scalar, path: str) -> str:
    if scalar in (BOOL, FLOAT, DOUBLE, LONG_DOUBLE):  # any bits would do for an integer alone
        convert = "!= 0" if scalar is BOOL else "/ (double)7"
        return f"{path} = *(short *)from {convert}; from += 2;"
    return f"memcpy(&{path}, from, {scalar.size}); from += {scalar.size};"


PRELUDE = f"""
#include <stdbool.h>
#include <string.h>
char seen[{SEEN}];
long seen_length;
/* So that results depend on every argument, also those of which there are few bytes. */
static void spread(void) {{
    unsigned sum = 17;
    for (long i = 0; i < seen_length; i++) sum = sum * 31 + (unsigned char)seen[i];
    for (long i = seen_length; i < {SEEN}; i++) seen[i] = (char)((sum = sum * 31 + 7) >> 8);
}}
"""


# ---- values ----


class Values:
    """Random values of C types, for cffi and as the same bytes for ctypes."""

    def __init__(self, ffi: cffi.FFI, seed: int) -> None:
        self.ffi = ffi
        self.random = random.Random(seed)

    def scalar(self, scalar: Scalar) -> Any:
        if scalar is BOOL:
            return self.random.random() < 0.5
        if scalar in (FLOAT, DOUBLE):
            code = "f" if scalar is FLOAT else "d"
            return struct.unpack(code, struct.pack(code, self.random.uniform(-1e6, 1e6)))[0]
        if scalar is LONG_DOUBLE:
            return long_double(self.ffi, self.random.randrange(1 << 64), self.random.randrange(60))
        if scalar is POINTER:
            return self.ffi.cast("void *", self.random.randrange(1 << 64))
        bits = 8 * scalar.size
        value = self.random.randrange(1 << bits)
        return value if "unsigned" in scalar.name else value - (1 << bits - 1)

    def of(self, type_: Type) -> Any:
        if isinstance(type_, Scalar):
            return self.scalar(type_)
        return [
            [self.of(member) for _ in range(length)] if length else self.of(member)
            for member, length in type_.fields
        ]


def ctypes_type(type_: Type) -> Any:
    if isinstance(type_, Scalar):
        return type_.ctype
    fields = [
        (f"m{i}", ctypes_type(member) * length if length else ctypes_type(member))
        for i, (member, length) in enumerate(type_.fields)
    ]
    return type("Made", (ctypes.Structure,), {"_fields_": fields})


def holds_long_double(type_: Type | None) -> bool:
    return type_ is not None and any(s is LONG_DOUBLE for s, _ in leaves(type_, ""))


# ---- the comparison ----


class Library:
    """A library of functions, and ways to call them."""

    def __init__(self, directory: Path, signatures: list[Signature]) -> None:
        numbered = list(enumerate(signatures))
        types = "".join(typedefs(i, s) for i, s in numbered)
        code = PRELUDE + types + "".join(definition(i, s) for i, s in numbered)
        self.path = str(build_library(directory, code, "-w", name="signatures"))
        self.signatures = signatures
        self.ffi = cffi.FFI()
        self.ffi.cdef(types + "".join(f"{prototype(i, s)};\n" for i, s in numbered))
        self.ffi.cdef(f"extern char seen[{SEEN}]; extern long seen_length;")
        self.direct = self.ffi.dlopen(self.path)
        self.ctypes = ctypes.CDLL(self.path)

    def seen(self) -> bytes:
        """The bytes of the arguments of the last call; forgotten, so that no call sees old ones."""
        bytes_ = bytes(self.ffi.buffer(self.direct.seen, self.direct.seen_length))
        self.ffi.memmove(self.direct.seen, b"\xee" * SEEN, SEEN)
        self.direct.seen_length = 0
        return bytes_

    def function(self, i: int) -> Any:
        return getattr(self.direct, f"f{i}")

    def arguments(self, i: int, seed: int) -> list[Any]:
        values = Values(self.ffi, seed)
        return [values.of(type_) for type_ in self.signatures[i].arguments]

    def result(self, i: int, value: Any) -> Any:
        """The bytes of a result, without padding; `value` is cffi's."""
        type_ = self.signatures[i].result
        if type_ is None:
            return value
        box = new(self.ffi.typeof(self.function(i)).result, value)
        return [self.bytes_of(scalar, path, box) for scalar, path in leaves(type_, "")]

    def bytes_of(self, scalar: Scalar, path: str, box: Any) -> bytes:
        place: Any = box
        address = self.ffi.addressof(place[0]) if path else place
        if path:
            steps = [
                int(step) if step.isdigit() else step
                for step in path.removeprefix(".").replace("[", ".").replace("]", "").split(".")
            ]
            address = self.ffi.addressof(place[0], *steps)
        return bytes(self.ffi.buffer(address, scalar.size))

    def ctypes_function(self, i: int) -> Any:
        function = self.ctypes[f"f{i}"]  # a new one each time
        signature = self.signatures[i]
        function.argtypes = [ctypes_type(type_) for type_ in signature.arguments]
        function.restype = None if signature.result is None else ctypes_type(signature.result)
        return function

    def ctypes_arguments(self, i: int, function: Any, seed: int) -> list[Any]:
        """The same values: structs by their bytes, as ctypes has no conversion from lists."""
        converted = []
        for n, value in enumerate(self.arguments(i, seed)):
            box = new(self.ffi.typeof(self.function(i)).args[n], value)
            converted.append(function.argtypes[n].from_buffer_copy(bytes(self.ffi.buffer(box))))
        return converted


def new(ctype: Any, value: Any) -> Any:
    """`ffi.new` by the type itself: by its name, cffi would parse all the typedefs each time."""
    return backend.newp(backend.new_pointer_type(ctype), value)


def plain_bytes(value: Any) -> Any:
    return bytes(value) if isinstance(value, ctypes.Structure) else value


async def check_all(library: Library, seed: int) -> None:
    async with (
        NifExecutor(max_workers=1) as executor,
        NifExecutor(isolation="process", max_workers=1) as processes,
    ):
        for i in range(len(library.signatures)):
            await check_cffi(library, i, seed, executor)
            await check_process(library, i, seed, processes)
            if not any(map(holds_long_double, library.signatures[i].arguments)):
                await check_ctypes(library, i, seed, executor)


async def check_cffi(library: Library, i: int, seed: int, executor: NifExecutor) -> None:
    function, values = library.function(i), library.arguments(i, seed)
    expected = library.result(i, function(*values)), library.seen()
    for _ in range(2):  # the second call may be watched, the first one is not
        result = await executor.execute_nif(function, *values)
        assert (library.result(i, result), library.seen()) == expected, (
            f"thread: {prototype_of(library, i)}"
        )
    result = call_nif(function, *values)
    assert (library.result(i, result), library.seen()) == expected, (
        f"inline: {prototype_of(library, i)}"
    )


async def check_process(library: Library, i: int, seed: int, executor: NifExecutor) -> None:
    """Arguments are seen in what comes back: the buffer that the function fills is the worker's."""
    function, values = library.function(i), library.arguments(i, seed)
    expected = library.result(i, function(*values))
    result = await executor.execute_nif(function, *values)
    assert library.result(i, result) == expected, f"process: {prototype_of(library, i)}"


async def check_ctypes(library: Library, i: int, seed: int, executor: NifExecutor) -> None:
    function = library.ctypes_function(i)
    values = library.ctypes_arguments(i, function, seed)
    expected = plain_bytes(function(*values)), library.seen()
    result = await executor.execute_nif(function, *values)
    assert (plain_bytes(result), library.seen()) == expected, f"ctypes: {prototype_of(library, i)}"
    result = call_nif(function, *values)
    assert (plain_bytes(result), library.seen()) == expected, (
        f"ctypes inline: {prototype_of(library, i)}"
    )


def prototype_of(library: Library, i: int) -> str:
    return typedefs(i, library.signatures[i]) + prototype(i, library.signatures[i])


def draw(signatures: st.SearchStrategy[Signature]) -> list[Signature]:
    """Draw the same ones each time; none is tried before all are drawn, and compiled at once."""
    drawn: dict[Signature, None] = {}

    @settings(
        max_examples=FUNCTIONS,
        derandomize=True,
        deadline=None,
        database=None,
        phases=[Phase.generate],
    )
    @given(signatures)
    def collect(signature: Signature) -> None:
        drawn[signature] = None

    collect()
    return list(drawn)


def test_made_up_signatures(tmp_path: Path) -> None:
    made_up = [signature for kind in MADE_UP for signature in draw(kind)]
    assert len(made_up) > 2 * FUNCTIONS, "hypothesis repeats itself too often"
    library = Library(tmp_path, CERTAIN + made_up)
    for seed in range(ROUNDS):
        run_on("asyncio", check_all, library, seed)
