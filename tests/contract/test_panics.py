"""C++ exceptions, Rust panics and forced unwinds: what the error says, and the thread after it.

That each specimen becomes the right error twice in a row is in test_crashes.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from aionif import NifExecutor, NifPanic, NifSignal, call_nif, load
from aionif.testing.gallery import SPECIMENS, available
from tests.support import build_library, gather, load_gallery, run_on

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aionif import NifLibrary

BUILT = {specimen.language for specimen in available()}
needs_cxx = pytest.mark.skipif("cxx" not in BUILT, reason="no C++ compiler was there")
needs_rust = pytest.mark.skipif("rust" not in BUILT, reason="no rustc was there")


@pytest.fixture(params=["thread", "inline"])
def panic(request: pytest.FixtureRequest) -> Callable[[Any], NifPanic]:
    """Call a function that panics, and return the error."""

    async def call_in_thread(function: Any) -> None:
        async with NifExecutor(max_workers=1) as executor:
            await executor.execute_nif(function)

    def call(function: Any) -> None:
        if request.param == "inline":
            call_nif(function)
        else:
            run_on("asyncio", call_in_thread, function)

    def panic(function: Any) -> NifPanic:
        with pytest.raises(NifPanic) as error:
            call(function)
        return error.value

    return panic


def symbols(error: NifPanic) -> list[str]:
    return [frame.symbol or "" for frame in error.report.symbolise().frames]


# ---- C++ ----


@needs_cxx
@pytest.mark.parametrize(
    ("name", "type_name", "reason"),
    [
        ("cxx_std_exception", "std::runtime_error", "message"),
        ("cxx_rethrow", "std::logic_error", "rethrown"),
        ("cxx_nested_cleanup", "std::runtime_error", "thrown below three destructors"),
        ("cxx_int", "int", "42"),
        ("cxx_cstring", "char const*", "text"),
        ("cxx_custom", "(anonymous namespace)::Custom", ""),
        ("cxx_what_crashes", "(anonymous namespace)::WhatCrashes", "the reason could not be read"),
    ],
)
def test_cxx(panic: Callable[[Any], NifPanic], name: str, type_name: str, reason: str) -> None:
    error = panic(getattr(load_gallery("cxx"), f"gallery_{name}"))
    assert (error.language, error.type_name, error.reason) == ("C++", type_name, reason)
    assert error.as_term()[:2] == ("nif_panic", reason)
    assert error.report.message == (reason or None)
    assert f"gallery_{name}" in symbols(error)
    assert type_name in str(error)


@needs_cxx
def test_the_report_begins_where_it_was_thrown(panic: Callable[[Any], NifPanic]) -> None:
    error = panic(load_gallery("cxx").gallery_cxx_nested_cleanup)
    below = [symbol for symbol in symbols(error) if "throw_below" in symbol]
    assert len(below) == 3
    assert symbols(error)[0] == below[0]
    assert error.report.backtrace_complete


@needs_cxx
def test_destructors_have_run_when_the_error_is_raised() -> None:
    gallery = load_gallery("cxx")
    before = call_nif(gallery.gallery_cxx_destroyed)
    with pytest.raises(NifPanic):
        call_nif(gallery.gallery_cxx_nested_cleanup)
    assert call_nif(gallery.gallery_cxx_destroyed) == before + 3


@needs_cxx
def test_a_cxx_exception_does_not_cost_a_thread(run: Callable[..., Any]) -> None:
    gallery = load_gallery("cxx")

    async def main() -> None:
        async with NifExecutor(max_workers=1) as executor:
            for _ in range(1000):
                with pytest.raises(NifPanic):
                    await executor.execute_nif(gallery.gallery_cxx_std_exception)
                assert await executor.execute_nif(gallery.gallery_cxx_caught) == 7
            statistics = executor.statistics()
            assert (statistics.started, statistics.failed) == (1, 1000)

    run(main)


THROWS = """
    #include <exception>
    #include <new>
    #include <stdexcept>
    #include <string>

    struct Big { char bytes[1 << 16]; };
    enum Colour { red };

    extern "C" {
    void throws_long() { throw std::runtime_error(std::string(5000, 'x')); }
    void throws_utf8() { throw std::runtime_error("na\\xc3\\xafve \\xff"); }
    void throws_pointer() { static int number; throw &number; }
    void throws_big() { throw Big(); }
    void throws_enum() { throw red; }
    void throws_string() { throw std::string("a std::string"); }
    void throws_nested() {
        try {
            throw std::logic_error("inner");
        } catch (...) {
            std::throw_with_nested(std::runtime_error("outer"));
        }
    }
    void *out_of_memory() { return ::operator new(1UL << 62); }
    int depth_of_uncaught() { return std::uncaught_exceptions(); }
    }
"""


@pytest.fixture(scope="module")
def throws(tmp_path_factory: pytest.TempPathFactory) -> NifLibrary:
    directory = tmp_path_factory.mktemp("throws")
    library = build_library(directory, THROWS, "-w", name="throws", compiler="g++")
    kinds = ("long", "utf8", "pointer", "big", "enum", "string", "nested")
    cdef = "".join(f"void throws_{kind}(void);" for kind in kinds)
    return load(library, f"{cdef} void *out_of_memory(void); int depth_of_uncaught(void);")


@needs_cxx
def test_reasons_are_read_with_care(panic: Callable[[Any], NifPanic], throws: NifLibrary) -> None:
    long = panic(throws.throws_long)
    assert set(long.reason) == {"x"}
    assert len(long.reason) < 5000
    assert panic(throws.throws_utf8).reason.startswith("na\u00efve ")
    assert panic(throws.throws_nested).reason == "outer"
    assert "bad_alloc" in (panic(throws.out_of_memory).type_name or "")
    for function in (throws.throws_pointer, throws.throws_big, throws.throws_enum):
        assert panic(function).language == "C++"
    assert "string" in (panic(throws.throws_string).type_name or "")


@needs_cxx
def test_an_exception_that_is_caught_is_over(throws: NifLibrary) -> None:
    async def main() -> None:
        async with NifExecutor(max_workers=1) as executor:
            for _ in range(10):
                with pytest.raises(NifPanic):
                    await executor.execute_nif(throws.throws_nested)
                assert await executor.execute_nif(throws.depth_of_uncaught) == 0

    run_on("asyncio", main)


# ---- Rust ----


@needs_rust
@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("rust_panic_literal", "a literal reason"),
        ("rust_panic_format", "a formatted reason: 42"),
        ("rust_index_out_of_bounds", "index out of bounds: the len is 3 but the index is 7"),
        ("rust_panic_any", ""),
    ],
)
def test_rust(panic: Callable[[Any], NifPanic], name: str, reason: str) -> None:
    error = panic(getattr(load_gallery("rust"), f"gallery_{name}"))
    assert (error.language, error.type_name, error.reason) == ("Rust", None, reason)
    assert f"gallery_{name}" in symbols(error)
    assert "Rust panic" in str(error)


@needs_rust
def test_the_thread_of_a_rust_panic_is_replaced(run: Callable[..., Any]) -> None:
    """It stays "panicking" for good: a second panic there would abort."""
    gallery = load_gallery("rust")

    async def main() -> None:
        async with NifExecutor(max_workers=1) as executor:
            for number in range(1, 30):
                with pytest.raises(NifPanic) as error:
                    await executor.execute_nif(gallery.gallery_rust_panic_literal)
                assert error.value.reason == "a literal reason"
                assert await executor.execute_nif(gallery.gallery_rust_caught) == 7
                assert executor.statistics().started == number + 1
            statistics = executor.statistics()
            assert (statistics.workers, statistics.retired, statistics.abandoned) == (1, 0, 0)

    run(main)


@needs_rust
def test_rust_panics_at_once(run: Callable[..., Any]) -> None:
    gallery = load_gallery("rust")

    async def main() -> None:
        async with NifExecutor(max_workers=4) as executor:
            calls: list[Any] = []
            for _ in range(20):
                calls.append(lambda: executor.execute_nif(gallery.gallery_rust_panic_format))
                calls.append(lambda: executor.execute_nif(gallery.gallery_rust_caught))
            results = await gather(*calls)
            assert {type(error) for error in results[::2]} == {NifPanic}
            assert results[1::2] == [7] * 20

    run(main)


@needs_rust
@pytest.mark.parametrize("name", ["rust_extern_c", "rust_panic_abort"])
def test_rust_that_may_not_unwind_aborts(name: str) -> None:
    language = SPECIMENS[name].language
    if language not in BUILT:
        pytest.skip("no rustc was there")
    with pytest.raises(NifSignal) as error:
        call_nif(getattr(load_gallery(language), f"gallery_{name}"))
    assert error.value.signal.name == "SIGABRT"


# ---- C ----


def test_pthread_exit(run: Callable[..., Any], probe: NifLibrary) -> None:
    leave = load_gallery().gallery_pthread_exit

    async def main() -> None:
        async with NifExecutor(max_workers=1) as executor:
            for number in range(1, 5):
                with pytest.raises(NifPanic) as error:
                    await executor.execute_nif(leave)
                assert (error.value.language, error.value.type_name) == ("C", None)
                assert "pthread_exit" in error.value.reason
                assert "gallery_pthread_exit" in symbols(error.value)
                assert await executor.execute_nif(probe.add, 1, 2) == 3
                assert executor.statistics().started == number + 1, "the thread did exit"
            assert executor.statistics().workers == 1

    run(main)


CANCELS = """
    #define _GNU_SOURCE
    #include <pthread.h>
    static int cleaned;
    static void clean(void *unused) { (void)unused; cleaned++; }
    void cancel_itself(void) {
        pthread_cleanup_push(clean, 0);
        pthread_cancel(pthread_self());
        pthread_testcancel();
        pthread_cleanup_pop(0);
    }
    int count_cleaned(void) { return cleaned; }
"""


def test_a_cancelled_thread(tmp_path: Path) -> None:
    path = build_library(tmp_path, CANCELS, "-fexceptions", name="cancels")
    library = load(path, "void cancel_itself(void); int count_cleaned(void);")

    async def main() -> None:
        async with NifExecutor(max_workers=1) as executor:
            for count in (1, 2):
                with pytest.raises(NifPanic) as error:
                    await executor.execute_nif(library.cancel_itself)
                assert error.value.language == "C"
                assert await executor.execute_nif(library.count_cleaned) == count

    run_on("asyncio", main)
