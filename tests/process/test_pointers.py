"""Pointers of ctypes across processes: none that a worker has written is followed here."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, Structure, byref, c_char_p, c_int, c_void_p, c_wchar_p, py_object
from typing import TYPE_CHECKING, Any

import cffi
import pytest

from aionif import Buffer, NifArgumentError, NifExecutor
from tests.support import build_library, run_on

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SOURCE = """
    #include <stdint.h>
    #include <stdlib.h>
    #include <string.h>
    struct named { int number; const char *name; };
    struct named by_value(void) { return (struct named){7, (const char *)0x123456780}; }
    void *wild(void) { return (void *)0x123456780; }
    const char *text(void) { return "text"; }
    void *nothing(void) { return NULL; }
    void set(void **out) { *out = (void *)0x123456780; }
    int number_of(const struct named *named) { return named->number; }
    long sum(const int *numbers, long count) {
        long total = 0;
        while (count--) total += *numbers++;
        return total;
    }
    int add_one(int *number) { return ++*number; }
    int *make_number(int number) { int *made = malloc(sizeof *made); *made = number; return made; }
    void make_into(int **out, int number) { *out = make_number(number); }
    int read_number(const int *number) { return *number; }
    long measure(const char *text) { return text ? (long)strlen(text) : -1; }
    long measure_wide(const wchar_t *text) { long n = 0; while (text[n]) n++; return n; }
    int first_of(const struct named *named, long index) { return named[index].number; }
    int is_null(const void *pointer) { return !pointer; }
    int take(struct named named) { return named.number; }
"""


class Named(Structure):
    _fields_ = (("number", c_int), ("name", c_char_p))


class Raw(Structure):
    """The same, with a pointer that nobody follows."""

    _fields_ = (("number", c_int), ("name", c_void_p))


class Pair(Structure):
    _fields_ = (("inner", Raw), ("numbers", POINTER(c_int) * 2))


class Wrapped:
    def __init__(self, inner: Any) -> None:
        self._as_parameter_ = inner


@pytest.fixture
def c(path: Path) -> ctypes.CDLL:
    return ctypes.CDLL(str(path))


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_library(tmp_path_factory.mktemp("pointers"), "#include <wchar.h>" + SOURCE)


def in_processes(main: Callable[[NifExecutor], Any]) -> None:
    async def open_executor() -> None:
        async with NifExecutor(isolation="process", max_workers=1) as executor:
            await main(executor)

    run_on("asyncio", open_executor)


FOLLOWED: list[Any] = [c_char_p, c_wchar_p, py_object, ctypes.CFUNCTYPE(None), Named]
FOLLOWED += [type("Own", (c_char_p,), {}), type("Inherits", (Named,), {"_fields_": ()})]


@pytest.mark.parametrize("restype", FOLLOWED, ids=lambda restype: restype.__name__)
@pytest.mark.parametrize("name", ["wild", "by_value", "text"])
def test_results_that_would_be_followed_are_refused(
    c: ctypes.CDLL, restype: Any, name: str
) -> None:
    function = getattr(c, name)
    function.restype = restype
    function.errcheck = lambda *_: pytest.fail("it was called")

    async def main(executor: NifExecutor) -> None:
        for _ in range(2):
            with pytest.raises(NifArgumentError, match="means nothing outside") as error:
                await executor.execute_nif(function)
            assert (error.value.argument, error.value.value) == ("fn", name)
            assert "Python callable" in error.value.remedy
        async with executor.session() as session:
            with pytest.raises(NifArgumentError, match="means nothing outside"):
                await session.execute_nif(function)

    in_processes(main)


def test_threads_follow_what_they_return(c: ctypes.CDLL) -> None:
    """The address is of this process; a plan for another one changes nothing of that."""
    c.text.restype = c_char_p
    c.make_number.restype = POINTER(c_int)

    async def main() -> None:
        async with (
            NifExecutor(isolation="process", max_workers=1) as processes,
            NifExecutor(isolation="thread", max_workers=1) as threads,
        ):
            with pytest.raises(NifArgumentError):
                await processes.execute_nif(c.text)
            await processes.execute_nif(c.make_number, 5)
            assert await threads.execute_nif(c.text) == b"text"
            assert (await threads.execute_nif(c.make_number, 5)).contents.value == 5

    run_on("asyncio", main)


def test_a_pointer_that_comes_back_can_be_passed_on_and_not_followed(c: ctypes.CDLL) -> None:
    c.make_number.restype = c.nothing.restype = c.wild.restype = POINTER(c_int)
    c.read_number.argtypes = [POINTER(c_int)]

    async def main(executor: NifExecutor) -> None:
        for wild in (await executor.execute_nif(c.wild), await executor.execute_nif(c.wild)):
            assert isinstance(wild, POINTER(c_int))
            assert ctypes.cast(wild, c_void_p).value == 0x123456780
            for index in (0, slice(2)):
                with pytest.raises(NifArgumentError, match="points into the worker"):
                    wild[index]
            with pytest.raises(NifArgumentError, match="points into the worker"):
                _ = wild.contents
            with pytest.raises(NifArgumentError, match="points into the worker"):
                wild[0] = 1
            with pytest.raises(NifArgumentError, match="unknown size"):
                await executor.execute_nif(c.read_number, wild)
        assert not await executor.execute_nif(c.nothing)
        async with executor.session() as session:
            made = await session.execute_nif(c.make_number, 77)
            assert await session.execute_nif(c.read_number, made) == 77
            assert await session.read_bytes(made, 4) == (77).to_bytes(4, "little")

    in_processes(main)


def test_errcheck_sees_whether_there_is_one(c: ctypes.CDLL) -> None:
    def check(result: Any, _function: Any, arguments: tuple[Any, ...]) -> Any:
        return "nothing" if not result else result[0] if arguments else "something"

    for function in (c.wild, c.nothing):
        function.restype, function.errcheck = POINTER(c_int), check

    async def main(executor: NifExecutor) -> None:
        assert await executor.execute_nif(c.wild) == "something"
        assert await executor.execute_nif(c.nothing) == "nothing"
        with pytest.raises(NifArgumentError, match="points into the worker"):
            await executor.execute_nif(c.wild, 1)

    in_processes(main)


def test_a_pointer_inside_of_what_is_passed_is_refused(c: ctypes.CDLL) -> None:
    """As it is with cffi, however deep it is."""
    number = c_int(5)
    raw = Raw(1, ctypes.addressof(number))
    pair = Pair(Raw(1, None))
    pair.numbers[1] = ctypes.pointer(number)
    row = (Raw * 3)(Raw(1), Raw(2), raw)

    async def main(executor: NifExecutor) -> None:
        for inside in (raw, pair, row, (Pair * 1)(pair)):
            forms: list[Any] = [byref(inside), ctypes.pointer(inside)]
            for form in [*forms, inside] if isinstance(inside, ctypes.Array) else forms:
                with pytest.raises(NifArgumentError, match="a pointer inside a struct") as error:
                    await executor.execute_nif(c.number_of, form)
                assert error.value.function == "number_of"
        with pytest.raises(NifArgumentError, match="a pointer inside a struct"):
            await executor.execute_nif(c.take, raw)
        assert await executor.execute_nif(c.take, Raw(9, 1)) == 9
        assert await executor.execute_nif(c.number_of, byref(Raw(9, None))) == 9
        assert await executor.execute_nif(c.first_of, (Raw * 2)(Raw(1), Raw(2)), 1) == 2
        with Buffer(100) as buffer:
            assert await executor.execute_nif(c.number_of, byref(Raw(8, buffer.address))) == 8

    in_processes(main)


@pytest.mark.parametrize("kind", [c_char_p, c_wchar_p, py_object, Named, c_char_p * 2])
def test_nothing_is_filled_in_that_would_be_followed(c: ctypes.CDLL, kind: Any) -> None:
    async def main(executor: NifExecutor) -> None:
        for form in (byref(kind()), ctypes.pointer(kind())):
            with pytest.raises(NifArgumentError, match="inside a struct or array") as error:
                await executor.execute_nif(c.set, form)
            assert "ctypes.c_void_p" in error.value.remedy
        out = c_void_p()
        await executor.execute_nif(c.set, byref(out))
        assert out.value == 0x123456780

    in_processes(main)


def test_a_pointer_that_a_worker_has_filled_in_is_never_looked_behind(c: ctypes.CDLL) -> None:
    """What ctypes still keeps for it says where it pointed to before."""
    c.read_number.argtypes = [POINTER(c_int)]

    async def main(executor: NifExecutor) -> None:
        async with executor.session() as session:
            made = POINTER(c_int)()
            await session.execute_nif(c.make_into, byref(made), 99)
            assert await session.execute_nif(c.read_number, made) == 99
            lost = ctypes.pointer(c_int(5))
            await session.execute_nif(c.make_into, byref(lost), 98)
            assert await session.execute_nif(c.read_number, lost) == 98
        with pytest.raises(NifArgumentError, match="unknown size"):
            await executor.execute_nif(c.read_number, lost)

    in_processes(main)


def test_what_is_known_goes_there_and_back(c: ctypes.CDLL) -> None:
    numbers = (c_int * 5)(1, 2, 3, 4, 5)
    c.measure.argtypes, c.measure_wide.argtypes = [c_char_p], [c_wchar_p]

    async def main(executor: NifExecutor) -> None:
        number = c_int(5)
        for form in (byref(number), ctypes.pointer(number)):
            assert await executor.execute_nif(c.add_one, form) == number.value
        assert number.value == 7
        await executor.execute_nif(c.add_one, byref(numbers, 8))
        assert list(numbers) == [1, 2, 4, 4, 5]
        first = ctypes.cast(numbers, POINTER(c_int))
        assert await executor.execute_nif(c.sum, numbers, 5) == 16
        assert await executor.execute_nif(c.sum, first, 5) == 16
        for given in (b"text", c_char_p(b"text"), ctypes.create_string_buffer(b"text")):
            assert await executor.execute_nif(c.measure, given) == 4
        assert await executor.execute_nif(c.measure, Wrapped(b"wrapped")) == 7
        with pytest.raises(NifArgumentError, match="a pointer inside a struct"):
            await executor.execute_nif(c.number_of, Wrapped(byref(Raw(1, id(numbers)))))
        assert await executor.execute_nif(c.measure, None) == -1
        assert await executor.execute_nif(c.measure, c_char_p()) == -1
        assert await executor.execute_nif(c.measure_wide, "text") == 4
        assert await executor.execute_nif(c.is_null, ctypes.CFUNCTYPE(None)()) == 1
        for refused in (c_void_p(id(numbers)), py_object(numbers)):
            with pytest.raises(NifArgumentError, match="unknown size"):
                await executor.execute_nif(c.is_null, refused)

    in_processes(main)


def test_cffi_returns_no_function_of_a_worker(path: Path) -> None:
    ffi = cffi.FFI()
    ffi.cdef("int (*wild(void))(int);")
    library = ffi.dlopen(str(path))

    async def main(executor: NifExecutor) -> None:
        with pytest.raises(NifArgumentError, match="function pointer"):
            await executor.execute_nif(library.wild)

    in_processes(main)
