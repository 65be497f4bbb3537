"""Bad input is a typed error that says what is wrong and what to write; nothing was submitted."""

from __future__ import annotations

import ctypes
import json
import math
import pickle
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from aionif import (
    NifArgumentError,
    NifClosed,
    NifExecutor,
    NifLimits,
    NifPolicy,
    Sandbox,
    call_nif,
    execute_nif,
    load,
)
from tests.support import run_on

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aionif import NifLibrary

LIBC = """
    int abs(int);
    size_t strlen(const char *);
    int snprintf(char *, size_t, const char *, ...);
    int64_t wcslen(const wchar_t *);
    void qsort(void *, size_t, size_t, int (*)(const void *, const void *));
    typedef struct { int quot, rem; } div_t;
    div_t div(int, int);
    double copysign(double, double);
    unsigned char toupper(unsigned char);
"""


@pytest.fixture(scope="module")
def libc() -> NifLibrary:
    return load("libc.so.6", LIBC)


@pytest.fixture(params=["thread", "inline", "call_nif"])
def refused(request: pytest.FixtureRequest) -> Callable[..., NifArgumentError]:
    """Make a call that must be refused, in one tier; return the error."""

    def refused(function: Any, *arguments: Any, **options: Any) -> NifArgumentError:
        async def main() -> NifArgumentError:
            async with NifExecutor(isolation=request.param) as executor:
                with pytest.raises(NifArgumentError) as error:
                    await executor.execute_nif(function, *arguments, **options)
                assert executor.statistics().submitted == 0
            return error.value

        if request.param != "call_nif":
            error: NifArgumentError = run_on("asyncio", main)
            return error
        with pytest.raises(NifArgumentError) as raised:
            call_nif(function, *arguments, **options)
        return raised.value

    return refused


# ---- arguments ----


@pytest.mark.parametrize(
    ("call", "index", "says"),
    [
        (("abs", "1"), 0, "Pass a number."),
        (("abs", 1.5), 0, "Pass int(value)."),
        (("abs", 1 << 40), 0, "fits 'int'"),
        (("abs", None), 0, "fits 'int'"),
        (("copysign", 1.0, b"1"), 1, "Pass a number."),
        (("toupper", 256), 0, "fits 'unsigned char'"),
        (("toupper", -1), 0, "fits 'unsigned char'"),
        (("strlen", "text"), 0, "text.encode()"),
        (("strlen", None), 0, "ffi.NULL"),
        (("strlen", 5), 0, "ffi.cast('char *', address)"),
        (("wcslen", b"bytes"), 0, "wchar_t"),
        (("snprintf", bytearray(8), 8, "%d"), 2, "text.encode()"),
        (("snprintf", bytearray(8), -1, b"%d"), 1, "size_t"),
        (("qsort", bytearray(8), 2, 4, 0x1234), 3, "ffi.callback"),
        (("qsort", bytearray(8), 2, 4, len), 3, "ffi.callback"),
    ],
)
def test_an_argument_of_the_wrong_type(
    libc: NifLibrary,
    refused: Callable[..., NifArgumentError],
    call: tuple[Any, ...],
    index: int,
    says: str,
) -> None:
    function, *arguments = call
    error = refused(getattr(libc, function), *arguments)
    assert error.argument == index
    assert (error.function, error.library) == (function, "libc.so.6")
    assert says in str(error), str(error)
    assert isinstance(error, TypeError)
    assert isinstance(error, ValueError)
    assert pickle.loads(pickle.dumps(error)).argument == index


@pytest.mark.parametrize("arguments", [(), (1, 2), (1, 2, 3)])
def test_too_few_or_too_many_arguments(
    libc: NifLibrary, refused: Callable[..., NifArgumentError], arguments: tuple[int, ...]
) -> None:
    error = refused(libc.abs, *arguments)
    assert (error.argument, error.value) == ("args", len(arguments))
    assert "Pass 1 argument" in str(error)


def test_too_few_for_a_variadic(libc: NifLibrary, refused: Callable[..., NifArgumentError]) -> None:
    assert "takes 3" in str(refused(libc.snprintf, bytearray(8), 8))


def test_a_variadic_argument_without_a_type(
    libc: NifLibrary, refused: Callable[..., NifArgumentError]
) -> None:
    error = refused(libc.snprintf, bytearray(8), 8, b"%d", 5)
    assert "cdata" in str(error), "cffi asks for ffi.cast('int', 5)"


def test_buffers_that_can_not_be_passed(
    libc: NifLibrary, refused: Callable[..., NifArgumentError]
) -> None:
    scattered = np.zeros((4, 4), dtype=np.uint8)[:, 1]
    assert refused(libc.strlen, scattered).argument == 0
    wide = np.zeros(4, dtype=np.float64)
    assert "items have 8 bytes" in str(refused(libc.wcslen, wide))


class Unfriendly:
    """Its repr fails, as that of an argument may."""

    def __repr__(self) -> str:
        raise RuntimeError("no repr")

    def __int__(self) -> int:
        raise RuntimeError("no int")


def test_a_refused_argument_is_not_kept_alive(libc: NifLibrary) -> None:
    with pytest.raises(NifArgumentError) as error:
        call_nif(libc.abs, bytearray(1000))
    assert isinstance(error.value.value, str)
    assert len(error.value.value) < 200


def test_an_error_of_the_arguments_own_passes_through(libc: NifLibrary) -> None:
    class Number:
        def __int__(self) -> int:
            raise RuntimeError("no int")

        __index__ = __int__

    with pytest.raises(RuntimeError, match="no int"):
        call_nif(libc.abs, Number())
    assert call_nif(libc.abs, -5) == 5


def test_a_value_whose_repr_fails(libc: NifLibrary) -> None:
    with pytest.raises(NifArgumentError) as error:
        call_nif(libc.strlen, Unfriendly())
    assert "argument 0" in str(error.value)


def test_keywords_that_do_not_exist(libc: NifLibrary) -> None:
    with pytest.raises(TypeError, match="colour"):
        call_nif(libc.abs, 1, colour=2)  # type: ignore[call-arg]


# ---- arguments of ctypes functions ----


def test_ctypes_arguments(refused: Callable[..., NifArgumentError]) -> None:
    c = ctypes.CDLL("libc.so.6")
    c.strlen.argtypes = [ctypes.c_char_p]
    error = refused(c.strlen, "text")
    assert (error.argument, error.function) == (0, "strlen")
    assert "text.encode()" in str(error)
    assert "argtypes names 1" in str(refused(c.strlen))
    c.abs.argtypes = [ctypes.c_int]
    assert refused(c.abs, 1.5).argument == 0
    assert refused(c.labs, object()).argument == 0  # no argtypes: by what each argument is
    assert refused(c.labs, 1, 2, 3.5).argument == 2


# ---- functions ----


@pytest.mark.parametrize(
    "function",
    [len, print, "abs", "int(*)(void)", 5, None, [], object(), lambda: None, ctypes.c_int(5)],
)
def test_what_is_not_a_native_function(
    refused: Callable[..., NifArgumentError], function: Any
) -> None:
    error = refused(function)
    assert error.argument == "fn"
    assert "not a native function" in str(error)
    assert "aionif.load()" in str(error)


@pytest.mark.parametrize("address", [0, 1, 0x1234, 1 << 47, (1 << 64) - 1])
def test_an_address_without_code(
    libc: NifLibrary, refused: Callable[..., NifArgumentError], address: int
) -> None:
    error = refused(libc.ffi.cast("int(*)(int)", address), 1)
    assert error.argument == "fn"
    assert "not the address of a function" in str(error)
    prototype = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)
    assert refused(prototype(address), 1).argument == "fn"


def test_an_address_of_data(libc: NifLibrary, refused: Callable[..., NifArgumentError]) -> None:
    memory = libc.ffi.new("char[]", 100)
    assert "not the address" in str(refused(libc.ffi.cast("int(*)(int)", memory), 1))


def test_a_value_of_cffi_that_is_not_a_function(
    libc: NifLibrary, refused: Callable[..., NifArgumentError]
) -> None:
    assert refused(libc.ffi.new("int *"), 1).argument == "fn"


# ---- libraries and declarations ----


def test_a_library_that_is_missing() -> None:
    with pytest.raises(NifArgumentError, match="can't be loaded") as error:
        load("libz.so.99", "int f(void);")
    assert error.value.argument == "path"
    with pytest.raises(NifArgumentError, match="Check the path"):
        load("/nowhere/libnothing.so", "int f(void);")


def test_a_near_miss_in_the_same_directory(probe_path: Path) -> None:
    wrong = probe_path.with_name("libprob.so")
    with pytest.raises(NifArgumentError) as error:
        load(wrong, "int f(void);")
    assert f"Did you mean {str(probe_path)!r}?" in str(error.value)


def test_a_file_that_is_no_library(tmp_path: Path) -> None:
    text = tmp_path / "libtext.so"
    text.write_text("not a library")
    with pytest.raises(NifArgumentError, match="is not a shared library"):
        load(text, "int f(void);")


@pytest.mark.parametrize(
    "cdef", ["int f(", "int f(unknown_t);", "#include <stdio.h>", "int f(void) { return 1; }", "@"]
)
def test_a_cdef_that_does_not_parse(cdef: str) -> None:
    with pytest.raises(NifArgumentError, match="does not parse") as error:
        load("libc.so.6", cdef)
    assert error.value.argument == "cdef"


@pytest.mark.parametrize("cdef", [None, b"int abs(int);", 5])
def test_a_cdef_that_is_no_text(cdef: Any) -> None:
    with pytest.raises(NifArgumentError, match="cdef"):
        load("libc.so.6", cdef)


def test_a_declared_function_that_the_library_does_not_have() -> None:
    library = load("libc.so.6", "size_t strlne(const char *);")
    with pytest.raises(NifArgumentError, match="Did you mean 'strlen'") as error:
        _ = library.strlne
    assert isinstance(error.value, AttributeError)


# ---- settings ----


@pytest.mark.parametrize("timeout", [-1, -0.001, math.nan, -math.inf, "1", True, 1j, [], b"1"])
def test_timeouts(libc: NifLibrary, refused: Callable[..., NifArgumentError], timeout: Any) -> None:
    error = refused(libc.abs, 1, timeout=timeout)
    assert error.argument == "timeout"


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("stack_size", 0),
        ("stack_size", -1),
        ("stack_size", 4096),
        ("stack_size", 1 << 50),
        ("stack_size", 1.5),
        ("stack_size", "1M"),
        ("max_workers", 0),
        ("max_workers", -1),
        ("max_workers", 2.5),
        ("max_workers", True),
        ("max_queue", 0),
        ("isolation", "process!"),
        ("isolation", None),
        ("on_full", "drop"),
        ("shutdown_timeout", -1),
        ("shutdown_timeout", math.nan),
        ("policy", {"stack_size": 1}),
        ("preload", "json"),
        ("preload", ("json", "")),
        ("preload", (json,)),
    ],
)
def test_settings_of_an_executor(setting: str, value: Any) -> None:
    with pytest.raises(NifArgumentError) as error:
        NifExecutor(**{setting: value})
    assert error.value.argument == setting
    assert setting in str(error.value)


@pytest.mark.parametrize("isolation", ["thread", "inline"])
@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("limits", NifPolicy(limits=NifLimits(cpu_time=1.0))),
        ("sandbox", NifPolicy(sandbox=Sandbox.compute())),
        ("initializer", print),
        ("preload", ("json",)),
        ("max_calls_per_worker", 10),
    ],
)
def test_settings_of_worker_processes_where_there_are_none(
    setting: str, value: Any, isolation: Any
) -> None:
    given: dict[str, Any] = {"policy" if isinstance(value, NifPolicy) else setting: value}
    with pytest.raises(NifArgumentError) as error:
        NifExecutor(isolation=isolation, **given)
    assert error.value.argument == setting
    assert isolation in str(error.value)


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("stack_size", 1024),
        ("guard_size", 4096),
        ("on_timeout", "explode"),
        ("on_cancel", "ignore"),
        ("abort_attempts", -1),
        ("max_lost_threads", 0),
        ("spin", -1),
        ("watch", math.nan),
        ("deny_syscalls", "socket"),
        ("deny_syscalls", ("no_such_call",)),
        ("deny_syscalls", ("read",) * 100),
    ],
)
def test_settings_of_a_policy(setting: str, value: Any) -> None:
    with pytest.raises(NifArgumentError) as error:
        NifPolicy(**{setting: value})
    assert setting in str(error.value)


def test_a_policy_for_one_call_that_is_none(
    libc: NifLibrary, refused: Callable[..., NifArgumentError]
) -> None:
    for wrong in ("fast", {"stack_size": 1}):
        assert refused(libc.abs, 1, policy=wrong).argument == "policy"
    with pytest.raises(NifArgumentError, match="is not a NifPolicy"):
        load("libc.so.6", LIBC, policy="fast")  # type: ignore[arg-type]


def test_a_default_executor_refuses_alike(libc: NifLibrary) -> None:
    async def main() -> None:
        with pytest.raises(NifArgumentError):
            await execute_nif(libc.abs, "1")
        with pytest.raises(NifArgumentError):
            await libc.abs(-1, timeout=-1)
        assert await libc.abs(-1) == 1

    run_on("asyncio", main)


def test_after_close(libc: NifLibrary, run: Callable[..., Any]) -> None:
    async def main() -> None:
        async with NifExecutor() as executor:
            pass
        with pytest.raises(NifClosed, match="executor is closed"):
            await executor.execute_nif(libc.abs, 1)
        with pytest.raises(NifClosed):
            async with executor.session() as session:
                await session.execute_nif(libc.abs, 1)

    run(main)
