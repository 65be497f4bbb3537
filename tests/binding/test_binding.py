"""Functions of `load` and of cffi in both modes: what they take and what they return.

The call is made in the thread tier, where arguments and results travel the longest way, and inline.
The reference is always the same function called directly.
"""

from __future__ import annotations

import importlib.util
import pydoc
from typing import TYPE_CHECKING, Any

import cffi
import numpy as np
import pytest

from aionif import NifArgumentError, NifExecutor, call_nif, load
from tests.support import build_library, load_gallery, long_double, run_on
from tests.support.binding import CDEF, SLOW, SOURCE

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aionif import NifLibrary


# ---- load() and NifLibrary ----


def test_a_library_has_its_functions_as_attributes(library: NifLibrary, path: Path) -> None:
    assert repr(library) == f"<NifLibrary {path}>"
    assert library.path == str(path)
    assert repr(library.negate) == f"<native function negate of {path}>"
    assert library.negate is library.negate
    assert {"negate", "sum_of", "ffi", "path"} <= set(dir(library))
    assert library.BLUE == -3
    assert hasattr(library, "negate")
    assert not hasattr(library, "no_such_function")
    assert not hasattr(library, "__wrapped__")


def test_a_function_of_a_library_can_be_awaited(library: NifLibrary) -> None:
    async def main() -> Any:
        return await library.negate(True, timeout=5)

    assert run_on("asyncio", main) is False


@pytest.mark.parametrize("path", ["libc.so.6", None])
def test_libraries_by_name(path: str | None, call: Callable[..., Any]) -> None:
    library = load(path, "int abs(int); size_t strlen(const char *);")
    assert call(library.abs, -4) == 4
    assert call(library.strlen, b"four") == 4


def test_a_missing_symbol_names_the_near_miss(path: Path) -> None:
    library = load(path, "bool negaet(bool); int dot(void);")
    with pytest.raises(NifArgumentError, match="does not have it") as error:
        _ = library.negaet
    assert "Did you mean 'negate'?" in str(error.value)
    with pytest.raises(NifArgumentError, match="not declared in the cdef") as error:
        _ = library.dott
    assert "Did you mean 'dot'?" in str(error.value)


# ---- every kind of function object ----


def compile_api_module(directory: Path) -> Any:
    ffi = cffi.FFI()
    ffi.cdef(CDEF.replace("numbers[5]; int tag;", "numbers[5]; int tag; ...;"))
    ffi.set_source("_binding_api", f'#include "{SOURCE}"')
    module_path = ffi.compile(str(directory))
    spec = importlib.util.spec_from_file_location("_binding_api", module_path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def api(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The same functions as a compiled cffi module."""
    return compile_api_module(tmp_path_factory.mktemp("api"))


@pytest.fixture(params=["load", "abi", "api"])
def view(request: pytest.FixtureRequest, path: Path) -> tuple[Any, Any]:
    """The ffi, and the functions, of each way in which cffi has them."""
    if request.param == "load":
        library = load(path, CDEF)
        return library.ffi, library
    if request.param == "api":
        module = request.getfixturevalue("api")
        return module.ffi, module.lib
    ffi = cffi.FFI()
    ffi.cdef(CDEF)
    return ffi, ffi.dlopen(str(path))


def test_cffi_functions(view: tuple[Any, Any], call: Callable[..., Any]) -> None:
    ffi, functions = view
    assert call(functions.negate, False) is True
    assert call(functions.next_colour, functions.RED) == functions.GREEN
    assert float(call(functions.half_long, ffi.cast("long double", 3))) == 1.5
    assert call(functions.conjugate, 1 + 2j) == 1 - 2j
    assert call(functions.conjugate, 3) == 3
    assert call(functions.conjugate_float, 0.5 + 2j) == 0.5 - 2j
    assert call(functions.sum_of, 3, *(ffi.cast("int", n) for n in (1, 2, 3))) == 6
    assert call(functions.sum_of, 40, *(ffi.cast("int", n) for n in range(40))) == 780
    assert call(functions.dot, {"x": 2, "y": 3}, [(5, 7)], SLOW) == 31


def test_cffi_structs(view: tuple[Any, Any], call: Callable[..., Any]) -> None:
    ffi, functions = view
    point = call(functions.mirror, {"x": 1, "y": 2})
    assert (point.x, point.y) == (2, 1)
    point = call(functions.mirror, ffi.new("struct point *", (3, 4))[0])
    assert (point.x, point.y) == (4, 3)
    value = call(functions.twice, (1.5, 4))
    assert (value.real, value.whole) == (3.0, 8)
    for ms in (0, SLOW):
        big = call(functions.make_big, 7, {"numbers": [1.0] * 5, "tag": 0}, ms)
        assert (list(big.numbers), big.tag) == ([1.0, 2.0, 3.0, 4.0, 5.0], 7)


def test_a_long_double_keeps_all_its_bits(library: NifLibrary, path: Path) -> None:
    ffi = library.ffi
    direct = ffi.dlopen(str(path))
    precise = long_double(ffi, 0x123456789ABCDEF1)
    ours = call_nif(library.half_long, precise)
    assert bits(ffi, ours) == bits(ffi, direct.half_long(precise))
    assert bits(ffi, ours) != bits(ffi, ffi.cast("long double", float(ours)))


def bits(ffi: Any, number: Any) -> bytes:
    return bytes(ffi.buffer(ffi.new("long double *", number)))[:10]


def test_function_pointers(view: tuple[Any, Any], call_here: Callable[..., Any]) -> None:
    ffi, functions = view
    operation = call_here(functions.find_operation)
    assert call_here(operation, 21, ffi.NULL) == 42
    assert call_here(functions.apply, operation, 4, ffi.NULL) == 9
    assert call_here(ffi.cast("int(*)(int, void *)", operation), 5, ffi.NULL) == 10


def test_a_callback_runs_python_on_the_worker(
    view: tuple[Any, Any], call_here: Callable[..., Any]
) -> None:
    ffi, functions = view
    seen = []

    def operation(value: int, context: Any) -> int:
        seen.append((value, ffi.from_handle(context)))
        return value * 10

    pointer = ffi.callback("int(int, void *)", operation)
    handle = ffi.new_handle("context")
    assert call_here(functions.apply, pointer, 4, handle) == 41
    assert seen == [(4, "context")]


# ---- memory ----


BUFFERS = [
    b"\1\2\3",
    bytearray(b"\1\2\3"),
    memoryview(b"\1\2\3"),
    memoryview(bytearray(b"\0\1\2\3"))[1:],
    np.array([1, 2, 3], dtype=np.uint8),
]


@pytest.mark.parametrize("ms", [0, SLOW])
@pytest.mark.parametrize("buffer", BUFFERS, ids=lambda b: type(b).__name__)
def test_buffers_of_bytes(
    library: NifLibrary, call: Callable[..., Any], buffer: Any, ms: int
) -> None:
    assert call(library.sum_bytes, buffer, 3, ms) == 6


@pytest.mark.parametrize("dtype", [np.int8, np.int16, np.int32, np.int64, np.float32, np.float64])
def test_numpy_arrays_of_any_type_as_plain_memory(
    library: NifLibrary, call: Callable[..., Any], dtype: Any
) -> None:
    array = np.arange(10).astype(dtype)
    assert call(library.sum_bytes, array, array.nbytes, 0) == sum(array.tobytes())


def test_typed_arrays(library: NifLibrary, call: Callable[..., Any]) -> None:
    ints, doubles = np.arange(100, dtype=np.int32), np.arange(100, dtype=np.float64) / 2
    assert call(library.sum_ints, ints, 100, SLOW) == 4950
    assert call(library.sum_doubles, doubles, 100, SLOW) == 2475.0
    with pytest.raises(NifArgumentError, match="items have 8 bytes"):
        call(library.sum_ints, doubles, 100, 0)


def test_read_only_arrays(library: NifLibrary, call: Callable[..., Any]) -> None:
    array = np.arange(10, dtype=np.int32)
    array.flags.writeable = False
    assert call(library.sum_ints, array, 10, 0) == 45
    assert call(library.sum_bytes, array, array.nbytes, 0) == 45


def test_native_code_writes_into_a_buffer(library: NifLibrary, call: Callable[..., Any]) -> None:
    for buffer in (bytearray(4), np.zeros(4, dtype=np.uint8)):
        call(library.fill_bytes, buffer, 4, 7)
        assert list(buffer) == [7, 7, 7, 7]


def test_what_cffi_would_make_for_one_call_lives_as_long_as_ours(
    library: NifLibrary, call: Callable[..., Any]
) -> None:
    assert call(library.sum_ints, list(range(1000)), 1000, SLOW) == 499500
    assert call(library.sum_ints, tuple(range(1000)), 1000, SLOW) == 499500
    assert call(library.sum_doubles, [0.5] * 1000, 1000, SLOW) == 500.0
    assert call(library.sum_of_wide_text, "abc\u00e9", SLOW) == sum(map(ord, "abc\u00e9"))
    assert call(library.length_of_text, b"text" * 100, SLOW) == 400
    assert call(library.dot, {"x": 1, "y": 2}, {"x": 3, "y": 4}, SLOW) == 11


# ---- variadics ----


def test_printf_and_its_kin(call: Callable[..., Any]) -> None:
    libc = load("libc.so.6", "int snprintf(char *, size_t, const char *, ...);")
    ffi, out = libc.ffi, bytearray(200)
    written = call(
        libc.snprintf,
        out,
        len(out),
        b"%d %.3f %s %lld %Lg %c %x %d %d %.1f %.1f %.1f %.1f %.1f %.1f %.1f %.1f",
        ffi.cast("int", -5),
        ffi.cast("double", 2.5),
        ffi.new("char[]", b"text"),
        ffi.cast("long long", 1 << 40),
        ffi.cast("long double", 0.25),
        ffi.cast("char", b"c"),
        ffi.cast("unsigned", 255),
        ffi.cast("int", 1),
        ffi.cast("int", 2),
        *(ffi.cast("double", n) for n in range(8)),
    )
    expected = b"-5 2.500 text 1099511627776 0.25 c ff 1 2 0.0 1.0 2.0 3.0 4.0 5.0 6.0 7.0"
    assert (written, bytes(out[:written])) == (len(expected), expected)


# ---- what native code may do to the process ----


@pytest.mark.parametrize(
    ("name", "arguments", "result"),
    [
        ("fork_child", (9,), 9),
        ("fork_child_exit", (9,), 9),
        ("spawn_true", (), 0),
        ("run_system", (b"exit 7",), 7 << 8),
    ],
)
def test_fork_and_exec(
    call: Callable[..., Any], name: str, arguments: tuple[Any, ...], result: int
) -> None:
    gallery = load_gallery()
    for _ in range(2):
        assert call(getattr(gallery, f"gallery_{name}"), *arguments) == result


# ---- libraries that come later ----


def test_a_library_that_is_loaded_while_calls_are_made(tmp_path: Path) -> None:
    async def main() -> list[int]:
        results = []
        async with NifExecutor() as executor:
            for number in range(3):
                code = f"int number(void) {{ return {number}; }}"
                library = load(
                    build_library(tmp_path, code, name=f"late{number}"), "int number(void);"
                )
                results.append(await executor.execute_nif(library.number))
        return results

    assert run_on("asyncio", main) == [0, 1, 2]


# ---- what a function says of itself ----

DECLARATIONS = {
    "labs": "long labs(long);",
    "printf": "int printf(char const *, ...);",
    "csqrt": "double _Complex csqrt(double _Complex);",
    "bsearch": (
        "void * bsearch(void const *, void const *, size_t, size_t, "
        "int(*)(void const *, void const *));"
    ),
    "signal": "void(* signal(int, void(*)(int)))(int);",
    "tzset": "void tzset(void);",
}


@pytest.mark.parametrize("name", DECLARATIONS)
def test_help_shows_the_declaration_in_c(name: str) -> None:
    cdef = """
    long labs(long n); int printf(const char *format, ...);
    double _Complex csqrt(double _Complex z); void tzset(void);
    void *bsearch(const void *key, const void *in, size_t count, size_t size,
                  int (*compare)(const void *, const void *));
    void (*signal(int number, void (*handler)(int)))(int);
    """
    function = getattr(load(None, cdef), name)
    assert function.declaration == DECLARATIONS[name]
    assert function.__name__ == name
    assert DECLARATIONS[name] in pydoc.render_doc(function)
    assert "await f(...)" in str(type(function).__doc__)
