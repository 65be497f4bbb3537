"""A function as given -> a plan: everything that is known before it is called.

A plan holds two functions made by the library that the caller's function came from, cffi or
ctypes, with the core's thunk for an address. `capture` has the function's own type: called with
the caller's arguments, it converts them as a direct call would, and the thunk takes them from the
registers. `replay` takes nothing and has the same result type: the thunk puts the result into the
registers, and the library converts it. So there is no conversion code here, and what a direct call
accepts, rejects and returns is what a call through aionif does.

What the libraries make for the length of one call (an array from a list, a wide string) would be
gone while the native code still runs; such arguments are made first, and kept with the call.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable
from typing import Any

from aionif.core.native import ffi, lib
from aionif.errors import NifArgumentError

__all__ = ("Documentation", "NifFunction", "Plan", "check_code", "symbol_at")

Preparation = Callable[[tuple[Any, ...]], tuple[Any, ...]]


class Plan:
    """One native function, ready to be called in any tier.

    struct: the core's view of it; alive as long as any call.
    prepare: makes what must outlive the call from the arguments; None where there is no need.
    count_words: stack words of one variadic call; None for a fixed signature.
    complete: makes all arguments from those given (ctypes' paramflags); None: they are all.
    finish: a last conversion of the result by the caller's own rule (ctypes' errcheck), or None.
    ctype: its cffi type, without complex numbers; None for a function of ctypes.
    constant: arguments, by index, whose target is declared const, as far as that is known.
    explain: turns the library's complaint about arguments into a NifArgumentError.
    """

    __slots__ = (
        "__weakref__",
        "address",
        "capture",
        "complete",
        "constant",
        "count_words",
        "ctype",
        "explain",
        "finish",
        "keep",
        "library",
        "name",
        "prepare",
        "replay",
        "struct",
    )

    def __init__(  # noqa: PLR0913 - one value each, all known at once
        self,
        *,
        name: str,
        library: str | None,
        address: int,
        capture: Callable[..., Any],
        replay: Callable[[], Any],
        words: int = 0,
        result_memory: int = 0,
        result_x87: bool = False,
        prepare: Preparation | None = None,
        count_words: Callable[[tuple[Any, ...]], int] | None = None,
        complete: Preparation | None = None,
        finish: Callable[[Any, tuple[Any, ...]], Any] | None = None,
        explain: Callable[[tuple[Any, ...], BaseException], NifArgumentError],
        keep: object = None,
        ctype: Any = None,
        constant: frozenset[int] = frozenset(),
    ) -> None:
        self.ctype = ctype
        self.constant = constant
        self.name = name
        self.library = library
        self.address = address
        self.capture = capture
        self.replay = replay
        self.prepare = prepare
        self.count_words = count_words
        self.complete = complete
        self.finish = finish
        self.explain = explain
        self.keep = keep  # the function itself: its library must stay loaded
        self.struct = ffi.new(
            "struct aionif_plan *",
            {
                "function": ffi.cast("void *", address),
                "stack_words": words,
                "result_memory": result_memory,
                "result_x87": result_x87,
            },
        )

    @property
    def identity(self) -> object:
        """What is the same for all plans of one function."""
        return self.address or self  # of a Python callable there is one plan, without an address


class Documentation:
    """The docstring of a class, and one for each of its instances, which `help()` shows."""

    def __init__(self, of_class: str) -> None:
        self._of_class = of_class

    def __get__(self, function: NifFunction | None, owner: type) -> str:
        if function is None:
            return self._of_class
        return f"{function.declaration}\n\nA native function of {function.plan.library}."


class NifFunction:
    """A native function of a library: await it, or pass it to `execute_nif` and `call_nif`.

    policy, timeout: its library's; None: the executor's. declaration: in C, where that is known;
    else its name.
    """

    __slots__ = ("__weakref__", "declaration", "name", "plan", "policy", "timeout")

    __doc__ = Documentation(__doc__)

    def __init__(
        self,
        plan: Plan,
        policy: Any = None,
        timeout: float | None = None,
        declaration: str = "",
    ) -> None:
        self.declaration = declaration or plan.name
        self.name = plan.name
        self.plan = plan
        self.policy = policy
        self.timeout = timeout

    @property
    def __name__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"<native function {self.name} of {self.plan.library or 'an unnamed library'}>"


class _Symbol(ctypes.Structure):
    """`Dl_info` of dladdr(3)."""

    _fields_ = (
        ("file", ctypes.c_char_p),
        ("base", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("address", ctypes.c_void_p),
    )


def symbol_at(address: int) -> tuple[str, str | None]:
    """Return a name for the function at `address`, and its library where one has it."""
    found = _Symbol()
    if not ctypes.CDLL(None).dladdr(ctypes.c_void_p(address), ctypes.byref(found)):
        return f"function at {address:#x}", None
    exact = found.name is not None and found.address == address
    name = found.name.decode() if exact else f"function at {address:#x}"
    return name, os.fsdecode(found.file) if found.file else None


def check_code(name: str, address: int) -> None:
    """Raise NifArgumentError unless `address` holds executable code."""
    if not lib.aionif_is_code(address):
        raise NifArgumentError(
            argument="fn",
            value=f"{name} at {address:#x}",
            problem="is not the address of a function",
            remedy="Pass a function of a loaded library; a cast integer must be a code address.",
        )
