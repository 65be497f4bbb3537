"""What follows from the calling convention of each processor, on whichever of them this runs.

test_binding.py and test_signatures.py show the same by real calls, but only of the processor that
they run on.
"""

from __future__ import annotations

import ctypes
import re
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cffi
import pytest

from aionif import (
    NifArgumentError,
    NifExecutor,
    call_nif,
    load,
)
from aionif.binding import of_cffi, of_ctypes
from aionif.binding.abi import Shape, array_of, by_address, result_memory, stack_words, struct_of
from aionif.process import pointers
from aionif.system.processor import HERE, PROCESSORS
from tests.support import build_library, run_on

if TYPE_CHECKING:
    from aionif.system.processor import Processor

CSRC = Path(__file__).parents[2] / "csrc" / "arch"
X86_64, AARCH64 = PROCESSORS["x86_64"], PROCESSORS["aarch64"]

INT, LONG = Shape("integer", 4), Shape("integer", 8)
FLOAT, DOUBLE = Shape("float", 4, floats=1), Shape("float", 8, floats=1)
LONG_DOUBLE = Shape("long double", 16, holds_long_double=True, floats=1)

each_tier = pytest.mark.parametrize("tier", ["inline", "thread", "process"])
each_processor = pytest.mark.parametrize("processor", PROCESSORS.values(), ids=PROCESSORS)


# ---- the facts, beside those of the core ----


@each_processor
def test_registers_are_named_as_the_core_writes_them(processor: Processor) -> None:
    text = (CSRC / f"context_{processor.name}.h").read_text(encoding="utf-8")
    table = re.search(r"register_names\[.*?\] = \{(.*?)\}", text, re.DOTALL)
    assert table is not None
    assert tuple(re.findall(r'"(\w+)"', table[1])) == processor.registers


@each_processor
def test_there_are_as_many_registers_as_the_core_keeps(processor: Processor) -> None:
    text = (CSRC / f"{processor.name}.h").read_text(encoding="utf-8")
    for kind, number in (
        ("INTEGER", processor.integer_registers),
        ("VECTOR", processor.float_registers),
        ("NAMED", len(processor.registers)),
    ):
        assert f"#define AIONIF__{kind}_REGISTERS {number}\n" in text


def test_this_processor_has_its_facts() -> None:
    assert any(Path(loader).exists() for loader in HERE.loaders)
    top = max(int(line.split("-")[1].split()[0], 16) for line in own_mappings())
    assert top <= HERE.end_of_addresses == pointers._HIGHEST


def own_mappings() -> list[str]:
    """Lines of /proc/self/maps; vsyscall is the kernel's half."""
    lines = Path("/proc/self/maps").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if "[vsyscall]" not in line]


# ---- shapes ----


def test_a_struct_of_numbers_of_one_type_is_known_for_it() -> None:
    point = struct_of(8, [FLOAT, FLOAT])
    assert point.floats == 2
    assert struct_of(24, [array_of(16, point), point]).floats == 6
    assert struct_of(32, [LONG_DOUBLE, LONG_DOUBLE]).floats == 2
    assert struct_of(32, [LONG_DOUBLE, LONG_DOUBLE]).holds_long_double
    assert struct_of(16, [DOUBLE, FLOAT]).floats == 0
    assert struct_of(16, [FLOAT, LONG]).floats == 0
    assert struct_of(32, [FLOAT], is_union=False).floats == 0, "padded"
    assert struct_of(16, [array_of(16, DOUBLE), DOUBLE], is_union=True).floats == 2
    assert struct_of(8, [DOUBLE, LONG], is_union=True).floats == 0
    assert struct_of(8, [DOUBLE, FLOAT], is_union=True).floats == 0


def shape_by_cffi(declaration: str) -> Shape:
    ffi = cffi.FFI()
    ffi.cdef(f"struct made {{ {declaration} }};")
    return of_cffi.shape_of(ffi.typeof("struct made"))


class Inner(ctypes.Structure):
    _fields_ = (("a", ctypes.c_float), ("b", ctypes.c_float))


class Derived(Inner):
    _fields_ = (("c", ctypes.c_float * 2),)  # type: ignore[assignment] # ctypes adds them up


class Choice(ctypes.Union):
    _fields_ = (("one", ctypes.c_double), ("many", ctypes.c_double * 3))


class Mixed(ctypes.Structure):
    _fields_ = (("a", ctypes.c_double * 3), ("b", ctypes.c_int, 3))


class Extended(ctypes.Structure):
    _fields_ = (("a", ctypes.c_longdouble), ("b", ctypes.c_longdouble))


@pytest.mark.parametrize(
    ("kind", "declaration"),
    [
        (Inner, "float a, b;"),
        (Derived, "float a, b, c[2];"),
        (Choice, "double many[3];"),
        (Mixed, "double a[3]; int b : 3;"),
        (Extended, "long double a, b;"),
    ],
)
def test_both_libraries_types_have_the_same_shape(kind: Any, declaration: str) -> None:
    assert of_ctypes._shape(kind) == shape_by_cffi(declaration)


# ---- where things travel ----


def numbers(count: int, number: Shape) -> Shape:
    return struct_of(count * number.size, [number] * count)


LARGE = struct_of(24, [DOUBLE, DOUBLE, LONG])


@pytest.mark.parametrize(
    ("shape", "on_x86_64", "on_aarch64"),
    [
        (Shape("void", 0), 0, 0),
        (LONG, 0, 0),
        (LONG_DOUBLE, 0, 0),
        (struct_of(16, [LONG, LONG]), 0, 0),
        (struct_of(24, [LONG, LONG, LONG]), 24, 24),
        (LARGE, 24, 24),
        (numbers(4, FLOAT), 0, 0),
        (numbers(5, FLOAT), 20, 20),
        (numbers(2, DOUBLE), 0, 0),
        (numbers(3, DOUBLE), 24, 0),
        (numbers(4, DOUBLE), 32, 0),
        (numbers(5, DOUBLE), 40, 40),
        (numbers(2, LONG_DOUBLE), 32, 0),
        (numbers(4, LONG_DOUBLE), 64, 0),
        (numbers(5, LONG_DOUBLE), 80, 80),
    ],
)
def test_results_in_memory(shape: Shape, on_x86_64: int, on_aarch64: int) -> None:
    assert result_memory(shape, X86_64) == on_x86_64
    assert result_memory(shape, AARCH64) == on_aarch64
    assert by_address(shape, AARCH64) == (on_aarch64 > 0)
    assert not by_address(shape, X86_64)
    assert result_memory(shape) == (on_x86_64 if HERE is X86_64 else on_aarch64)


@pytest.mark.parametrize(
    ("shapes", "on_x86_64", "on_aarch64"),
    [
        ([INT] * 6, 0, 0),
        ([INT] * 8, 2, 0),
        ([INT] * 10, 4, 2),
        ([DOUBLE] * 8 + [INT] * 6, 0, 0),
        ([DOUBLE] * 9 + [INT] * 9, 4, 2),
        ([LARGE] * 3, 12, 0),  # three words each and one of padding, or three addresses
        ([LARGE] * 9, 36, 1),
    ],
)
def test_words_on_the_stack(shapes: list[Shape], on_x86_64: int, on_aarch64: int) -> None:
    assert stack_words(shapes, X86_64) == on_x86_64
    assert stack_words(shapes, AARCH64) == on_aarch64


# ---- structs by the address of a copy ----

CODE = """
#include <stdarg.h>
#include <unistd.h>
typedef struct { double real; long whole[3]; } large;
#ifdef BY_ADDRESS
typedef large *passed;
#define FIELD(value, name) (value)->name
#else
typedef large passed;
#define FIELD(value, name) (value).name
#endif

long take(int factor, passed value, int ms) {
    long sum = factor * (FIELD(value, whole[0]) + FIELD(value, whole[2]));
    usleep(1000 * ms);
    sum += FIELD(value, whole[1]) + (long)FIELD(value, real);
    FIELD(value, whole[1]) = -1; /* it is the function's own */
    return sum;
}
long take_more(int count, ...) {
    va_list more;
    long sum = 0;
    va_start(more, count);
    while (count--) {
        passed value = va_arg(more, passed);
        sum = sum * 10 + FIELD(value, whole[2]);
    }
    va_end(more);
    return sum;
}
"""
CDEF = """
    typedef struct { double real; long whole[3]; } large;
    long take(int, large, int);
    long take_more(int, ...);
"""
SLOW = 20  # milliseconds


class Large(ctypes.Structure):
    _fields_ = (("real", ctypes.c_double), ("whole", ctypes.c_long * 3))


@pytest.fixture
def path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A library whose functions take the address of a large struct, as they do on aarch64.

    On x86-64 C is made to do so, and the binding is told that it is on aarch64.
    """
    if HERE is AARCH64:
        return build_library(tmp_path, CODE, name="large")
    for module in (of_cffi, of_ctypes):
        monkeypatch.setattr(module, "HERE", AARCH64)
        monkeypatch.setattr(module, "by_address", partial(by_address, on=AARCH64))
    return build_library(tmp_path, CODE, "-DBY_ADDRESS", name="large")


async def call(tier: Any, function: Any, *arguments: Any) -> Any:
    if tier == "inline":
        return call_nif(function, *arguments)
    async with NifExecutor(isolation=tier, max_workers=1) as executor:
        return await executor.execute_nif(function, *arguments)


@each_tier
def test_a_large_struct_of_cffi(path: Path, tier: str) -> None:
    library = load(path, CDEF)
    given = library.ffi.new("large *", {"real": 0.5, "whole": (1, 2, 3)})
    for value in (given[0], {"real": 0.5, "whole": [1, 2, 3]}, (0.5, (1, 2, 3)), given[0]):
        for ms in (0, SLOW):
            assert run_on("asyncio", call, tier, library.take, 100, value, ms) == 402
    assert list(given.whole) == [1, 2, 3], "what it wrote to was a copy"


@each_tier
def test_large_structs_of_cffi_among_the_variadic_ones(path: Path, tier: str) -> None:
    library = load(path, CDEF)
    values = [library.ffi.new("large *", {"whole": (0, 0, i)})[0] for i in range(1, 10)]
    assert run_on("asyncio", call, tier, library.take_more, 9, *values) == 123456789


@each_tier
@pytest.mark.parametrize("has_types", [True, False])
def test_a_large_struct_of_ctypes(path: Path, tier: str, has_types: bool) -> None:
    take = ctypes.CDLL(str(path)).take
    take.restype = ctypes.c_long
    if has_types:
        take.argtypes = [ctypes.c_int, Large, ctypes.c_int]
    given = Large(0.5, (1, 2, 3))
    for ms in (0, SLOW):
        assert run_on("asyncio", call, tier, take, 100, given, ms) == 402
    assert list(given.whole) == [1, 2, 3]


def test_what_is_no_such_struct_is_refused_as_ever(path: Path) -> None:
    library = load(path, CDEF)
    for wrong in (None, 3, "text", library.ffi.new("large *")):
        with pytest.raises(NifArgumentError) as error:
            call_nif(library.take, 100, wrong, 0)
        assert error.value.argument == 1
