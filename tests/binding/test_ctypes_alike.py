"""What a direct call of a ctypes function takes and returns, a call through aionif does.

In each tier; where a worker process can't have what is passed (a callback, memory of unknown
size), that is said.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from ctypes import (
    POINTER,
    byref,
    c_char_p,
    c_double,
    c_int,
    c_void_p,
    cast,
    create_string_buffer,
    pointer,
)
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aionif import NifArgumentError, NifExecutor, call_nif
from tests.support import build_library, run_on

Load = Callable[..., Any]
# Each makes the function and the arguments anew, as a call may change them.
Cases = dict[str, tuple[Callable[[Load], Any], Callable[[], tuple[Any, ...]]]]


class Point(ctypes.Structure):
    _fields_ = (("x", c_int), ("y", c_double))


class AnyOf(ctypes.Union):
    _fields_ = (("i", c_int), ("f", ctypes.c_float), ("text", ctypes.c_char * 8))


class Wrapped:
    """An object that says itself what it is passed as."""

    def __init__(self, value: object) -> None:
        self._as_parameter_ = value


class Tenfold:
    """A type of argument that converts as its author likes."""

    @classmethod
    def from_param(cls, value: str) -> c_int:
        return c_int(int(value) * 10)


@pytest.fixture(scope="module")
def load(tmp_path_factory: pytest.TempPathFactory) -> Load:
    """Return a function of ctypes_alike.c, with types of its own."""
    source = Path(__file__).parents[1] / "support" / "ctypes_alike.c"
    path = build_library(tmp_path_factory.mktemp("alike"), source.read_text(encoding="utf-8"))

    def one(name: str, restype: Any = c_int, argtypes: Any = None) -> Any:
        function = ctypes.CDLL(str(path))[name]
        function.restype = restype
        if argtypes is not None:
            function.argtypes = argtypes
        return function

    one.path = path  # type: ignore[attr-defined]
    return one


NUMBERS = (c_int * 4)(5, 6, 7, 8)
FORTY_TWO = c_int(42)
MEMORY = [c_void_p]
AT_POINT = [POINTER(Point)]
FUNCTION = [c_void_p, c_int]
INTS = [POINTER(c_int), c_int]
CALLBACK = ctypes.CFUNCTYPE(c_int, c_int)
add_hundred = CALLBACK(lambda value: value + 100)


def got(value: int) -> tuple[str, int]:
    return "got", value


def of(name: str, restype: Any = c_int, argtypes: Any = None) -> Callable[[Load], Any]:
    return lambda load: load(name, restype, argtypes)


def checked(function: Any) -> Any:
    function.errcheck = lambda result, _function, arguments: ("checked", result, len(arguments))
    return function


def unchanged(function: Any) -> Any:
    function.errcheck = lambda _result, _function, arguments: arguments  # "go on", to ctypes
    return function


def declared(load: Load, name: str, prototype: Any, flags: Any) -> Any:
    return prototype((name, ctypes.CDLL(str(load.path))), flags)  # type: ignore[attr-defined]


def extremes(load: Load) -> Any:
    prototype = ctypes.CFUNCTYPE(None, POINTER(c_int), c_int, POINTER(c_int), POINTER(c_int))
    flags = ((1, "numbers"), (1, "count", 4), (2, "minimum"), (2, "maximum"))
    return declared(load, "minimum_and_maximum", prototype, flags)


def scaled(load: Load) -> Any:
    prototype = ctypes.CFUNCTYPE(None, POINTER(c_double), c_int, c_double)
    return declared(load, "scale", prototype, ((3, "numbers"), (1, "count"), (1, "by", 3.0)))


def with_default(load: Load) -> Any:
    prototype = ctypes.CFUNCTYPE(c_int, c_int, c_int)
    return declared(load, "add", prototype, ((1, "one"), (1, "other", 7)))


ALIKE: Cases = {
    "an array": (of("sum", c_int, INTS), lambda: (NUMBERS, 4)),
    "an array, untyped": (of("sum"), lambda: (NUMBERS, 4)),
    "a pointer": (of("sum", c_int, INTS), lambda: (pointer(FORTY_TWO), 1)),
    "a pointer, untyped": (of("sum"), lambda: (pointer(FORTY_TWO), 1)),
    "a cast": (of("sum", c_int, INTS), lambda: (cast(NUMBERS, POINTER(c_int)), 1)),
    "byref": (of("sum", c_int, INTS), lambda: (byref(FORTY_TWO), 1)),
    "byref with an offset": (of("sum"), lambda: (byref(NUMBERS, 4), 3)),
    "a pointer for void *": (
        lambda f: f("first_byte", c_int, [c_void_p]),
        lambda: (pointer(FORTY_TWO),),
    ),
    "an array for void *": (of("first_byte", c_int, MEMORY), lambda: (NUMBERS,)),
    "bytes for void *": (of("first_byte", c_int, MEMORY), lambda: (b"xyz",)),
    "byref for void *": (of("first_byte", c_int, MEMORY), lambda: (byref(FORTY_TWO),)),
    "a struct": (of("area", c_double, [Point]), lambda: (Point(3, 2.5),)),
    "a struct, untyped": (of("area", c_double), lambda: (Point(3, 2.5),)),
    "a struct for a pointer": (
        lambda f: f("area_at", c_double, [POINTER(Point)]),
        lambda: (Point(3, 2.5),),
    ),
    "byref of a struct": (of("area_at", c_double), lambda: (byref(Point(3, 2.5)),)),
    "a struct as result": (of("make_point", Point, [c_int, c_double]), lambda: (3, 2.5)),
    "a union": (of("as_int", c_int, [POINTER(AnyOf)]), lambda: (byref(AnyOf(i=9)),)),
    "_as_parameter_": (of("add"), lambda: (Wrapped(3), Wrapped(c_int(4)))),
    "_as_parameter_, typed": (of("add", c_int, [c_int, c_int]), lambda: (Wrapped(3), 4)),
    "_as_parameter_ of memory": (of("sum"), lambda: (Wrapped(NUMBERS), 4)),
    "from_param": (of("add", c_int, [Tenfold, c_int]), lambda: ("3", 4)),
    "wide text": (of("length_of_wide", c_int, [ctypes.c_wchar_p]), lambda: ("hello",)),
    "wide text, untyped": (of("length_of_wide"), lambda: ("hello",)),
    "64 bits": (of("doubled", ctypes.c_int64, [ctypes.c_int64]), lambda: (1 << 40,)),
    "None": (of("same", c_void_p), lambda: (None,)),
    "an address": (of("same", c_void_p, [c_void_p]), lambda: (12345,)),
    "c_void_p": (of("same", c_void_p, [c_void_p]), lambda: (c_void_p(77),)),
    "a bool": (of("is_negative", ctypes.c_bool, [ctypes.c_int8]), lambda: (-3,)),
    "a string buffer": (
        lambda f: f("fill", c_int, [c_char_p, c_int]),
        lambda: (create_string_buffer(20), 20),
    ),
    "more than argtypes": (of("sum_of", c_int, [c_int]), lambda: (3, 1, 2, 3)),
    "errcheck": (lambda f: checked(f("add", c_int, [c_int, c_int])), lambda: (3, 4)),
    "errcheck that goes on": (lambda f: unchanged(f("add", c_int, [c_int, c_int])), lambda: (3, 4)),
    "a callable restype": (
        lambda f: f("add", lambda value: ("got", value), [c_int] * 2),
        lambda: (3, 4),
    ),
    "no restype": (of("add", None, [c_int, c_int]), lambda: (3, 4)),
    "a default": (with_default, lambda: (5,)),
    "a default, given": (with_default, lambda: (5, 6)),
    "results in arguments": (extremes, lambda: (NUMBERS,)),
    "an argument that is changed": (scaled, lambda: ((c_double * 2)(1, 2), 2)),
}

# A direct call takes them, and a thread; a worker process can't have what they point to.
NOT_IN_A_PROCESS: Cases = {
    "a cast to void *": (
        lambda f: f("first_byte", c_int, [c_void_p]),
        lambda: (cast(NUMBERS, c_void_p),),
    ),
    "a callback": (of("apply", c_int, [CALLBACK, c_int]), lambda: (add_hundred, 5)),
    "a callback as void *": (
        lambda f: f("apply", c_int, [c_void_p, c_int]),
        lambda: (cast(add_hundred, c_void_p), 5),
    ),
    "a function of C": (
        lambda f: f("apply", c_int, [c_void_p, c_int]),
        lambda: (ctypes.CDLL(None).abs, -5),
    ),
    "text as result": (of("in_capitals", c_char_p, [c_char_p]), lambda: (b"hello",)),
    "a pointer to a pointer": (
        lambda f: f("at_two_arrows", c_int, [POINTER(POINTER(c_int))]),
        lambda: (byref(pointer(FORTY_TWO)),),
    ),
}

REFUSED: Cases = {
    "byref of another type": (of("sum", c_int, INTS), lambda: (byref(NUMBERS, 8), 2)),
    "too few": (of("add", c_int, [c_int, c_int]), lambda: (3,)),
    "too few for paramflags": (with_default, tuple),
    "too many for paramflags": (with_default, lambda: (1, 2, 3)),
    "another type": (of("add", c_int, [c_int, c_int]), lambda: ("a", 3)),
    "a float, untyped": (of("add"), lambda: (1.5, 3)),
}


def comparable(value: Any) -> Any:
    if isinstance(value, (ctypes.Structure, ctypes.Array)):
        return bytes(value)
    return value


def through(tier: str, function: Any, arguments: tuple[Any, ...]) -> Any:
    async def main() -> Any:
        async with NifExecutor(isolation=tier, max_workers=1) as executor:  # type: ignore[arg-type]
            return await executor.execute_nif(function, *arguments)

    return call_nif(function, *arguments) if tier == "call_nif" else run_on("asyncio", main)


TIERS = ["call_nif", "inline", "thread", "process"]


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("case", [*ALIKE, *NOT_IN_A_PROCESS])
def test_a_call_is_as_a_direct_one(load: Load, tier: str, case: str) -> None:
    make, arguments = (ALIKE | NOT_IN_A_PROCESS)[case]
    if tier == "process" and case in NOT_IN_A_PROCESS:
        with pytest.raises(NifArgumentError):
            through(tier, make(load), arguments())
        return
    expected = comparable(make(load)(*arguments()))
    assert comparable(through(tier, make(load), arguments())) == expected


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("case", REFUSED)
def test_what_a_direct_call_refuses_is_refused(load: Load, tier: str, case: str) -> None:
    make, arguments = REFUSED[case]
    with pytest.raises((TypeError, ctypes.ArgumentError)):
        make(load)(*arguments())
    with pytest.raises(NifArgumentError):
        through(tier, make(load), arguments())


# ---- any value, in any guise ----


def guises(numbers: list[int]) -> list[Callable[[], Any]]:
    """Ways to pass memory that holds these numbers."""
    array = (c_int * len(numbers))(*numbers)
    return [
        lambda: array,
        lambda: cast(array, POINTER(c_int)),
        lambda: byref(array),
        lambda: Wrapped(array),
        lambda: pointer(array),
        lambda: array if len(numbers) > 1 else byref(c_int(numbers[0])),
    ]


@given(
    st.lists(st.integers(-(2**20), 2**20), min_size=1, max_size=6),
    st.integers(0, 5),
    st.booleans(),
    st.sampled_from([int, c_int, Wrapped, lambda n: Wrapped(c_int(n))]),
)
@settings(max_examples=60, deadline=None)
def test_numbers_in_any_guise(
    load: Load, numbers: list[int], guise: int, is_typed: bool, count: Callable[[int], Any]
) -> None:
    def function() -> Any:
        return load("sum", c_int, [c_void_p, c_int] if is_typed else None)

    memory = guises(numbers)[guise]
    expected = function()(memory(), count(len(numbers)))
    assert expected == sum(numbers)
    assert call_nif(function(), memory(), count(len(numbers))) == expected
    assert through("thread", function(), (memory(), count(len(numbers)))) == expected
