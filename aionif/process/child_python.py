"""Python callables in a worker process. Loaded by `_child` where they are first needed.

The interpreter's sys.path is the parent's. A callable that was defined in the parent's `__main__`
is found as multiprocessing finds it: the main module is run once more, under another name.
"""

from __future__ import annotations

import base64
import codecs
import contextlib
import contextvars
import importlib
import importlib.util
import os
import pickle
import runpy
import sys
import traceback
import types
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ("import_modules", "prepare", "run", "run_each", "warm")

_PATIENCE = 60.0  # seconds until the last large result is taken for one that nobody will read
ERROR, ELSEWHERE = 1 << 61, 1 << 62  # in what `run` returns
PLAIN = 1 << 63  # in the length that it is given: the reply must not be a pickle
_MAIN = "__mp_main__"
_RUNNING = "__aionif_runs_main__"  # a global while it runs: see process/zygote.py

_main: dict[str, str] = {}  # how to run the parent's main module
_problems: dict[str, BaseException] = {}  # why a module could not be imported before the seal
_message: Any = None
_plain: Any = None


def warm(wanted: dict[str, Any]) -> None:
    """Load what the first call, or its failure, would load."""
    import linecache  # noqa: PLC0415 - not in every worker

    _load(wanted)
    for name in ("ascii", "latin-1", "utf-16"):
        codecs.lookup(name)  # each is a module
    linecache.getline(__file__, 1)
    try:
        os.close(-1)
    except OSError as error:
        for side in (_Pickled, _Plain):
            _failure(error, side)


def import_modules(wanted: dict[str, Any]) -> None:
    """Import what calls come from, and read its source, which tracebacks show.

    What fails is told by the calls that need it: others do not.
    """
    import linecache  # noqa: PLC0415 - as above

    _load(wanted)
    for name in wanted["modules"]:
        try:
            module = _main_module() if name == "__main__" else importlib.import_module(name)
            linecache.getlines(getattr(module, "__file__", None) or "")
        except BaseException as problem:  # noqa: BLE001 - anybody's code
            _problems[name] = problem


def prepare(wanted: dict[str, Any]) -> None:
    """Do what the executor's setup asks for, before the first call."""
    _load(wanted)
    told = wanted["python"]
    if "authkey" in told:  # proxies of a multiprocessing.Manager connect with it
        from multiprocessing.process import current_process  # noqa: PLC0415 - few need it

        current_process().authkey = bytes.fromhex(told["authkey"])
    for name in filter(None, told.get("preload", "").split(",")):
        importlib.import_module(name)
    if "initializer" in told:
        function, arguments = _read(base64.b64decode(told["initializer"]))
        function(*arguments)


def _load(wanted: dict[str, Any]) -> None:
    global _message, _plain  # noqa: PLW0603 - once a process
    if _message is None:
        _message = _load_alone("message", wanted)
        _plain = _load_alone("plain", wanted)
        if not wanted["is_sandboxed"]:
            _load_alone("sharing", wanted).leave_shared_memory_alone()
        _main.update(wanted.get("main", {}))


def _load_alone(name: str, wanted: dict[str, Any]) -> Any:
    spec = importlib.util.spec_from_file_location(f"aionif.process.{name}", wanted[name])
    module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
    spec.loader.exec_module(module)  # type: ignore[union-attr]
    return module


def _read(memory: Any) -> Any:
    return _message.read(memory, _find)


def _find(module: str, name: str) -> Any:
    """Return a global of the parent's main module, or of this one; None: it is another module's."""
    if module == __name__:  # the package it is said to be in may not be there to import
        return globals()[name]
    if not _main or module not in ("__main__", _MAIN):
        if module in _problems:
            raise _problems[module]
        return None
    value: Any = _main_module()
    for part in name.split("."):
        value = getattr(value, part)
    return value


def _main_module() -> types.ModuleType:
    """Return the parent's main module, which is run here for that, once."""
    # Not by its name alone: multiprocessing, where it is imported first, gives that to `child`.
    if getattr(sys.modules.get(_MAIN), "__name__", None) != _MAIN:
        if "__main__" in _problems:
            raise _problems["__main__"]
        main = types.ModuleType(_MAIN)
        before = sys.modules["__main__"]
        sys.modules[_MAIN] = sys.modules["__main__"] = main
        try:
            main.__dict__.update(_run_main())
        except BaseException:
            sys.modules["__main__"] = before
            del sys.modules[_MAIN]
            raise
        del main.__dict__[_RUNNING]
        sys.modules[_MAIN] = sys.modules["__main__"] = main
    return sys.modules[_MAIN]


def _run_main() -> dict[str, Any]:
    flag: dict[str, Any] = {_RUNNING: True}
    if "name" in _main:
        return runpy.run_module(_main["name"], flag, _MAIN, alter_sys=True)
    return runpy.run_path(_main["path"], flag, _MAIN)


def run(  # noqa: PLR0913, PLR0917 - what the call came with
    core: Any, file: int, wanted: dict[str, Any], request: int, length: int, reply: int
) -> int:
    """Run the callable in the request; return what to tell the parent of the reply."""
    _load(wanted)
    ffi = core.ffi
    side: type[_Pickled] = _Plain if length & PLAIN else _Pickled
    kind = 0
    try:
        memory = ffi.buffer(ffi.cast("char *", request), length & ~PLAIN)
        function, arguments, context = _read(memory)
        try:
            result = _in_context(function, arguments, context)
        except BaseException as error:  # noqa: BLE001 - carried to the parent, whatever it is
            kind, answer = ERROR, _failure(error, side)
        else:
            answer = side.of_result(result)
    except _UnsentError as error:
        kind, answer = ERROR, side.of((side.refusal, error.shown, error.problem))
    except BaseException as error:  # noqa: BLE001 - the request itself
        kind, answer = ERROR, side.of(("unreadable", repr(error), _text_of(error)))
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    return kind | _send(core, file, side, answer, reply)


def run_each(function: Any, pieces: list[tuple[Any, ...]]) -> list[Any]:
    """Call `function` with each of the arguments: a chunk of a map. The parent knows it by name."""
    return [function(*arguments) for arguments in pieces]


def _in_context(
    function: Any, arguments: tuple[Any, ...], values: list[tuple[str, str, bytes]]
) -> Any:
    if not values:
        return function(*arguments)
    context = contextvars.Context()

    def call() -> Any:
        for module, name, pickled in values:
            with contextlib.suppress(
                Exception
            ):  # it can't be had here, and the call may do without
                getattr(importlib.import_module(module), name).set(_read_value(pickled))
        return function(*arguments)

    return context.run(call)


def _read_value(pickled: bytes) -> Any:
    return _message.load(pickled, _find)


class _UnsentError(Exception):
    def __init__(self, value: object, problem: str) -> None:
        super().__init__()
        self.shown = _text_from(repr, value)[:200]
        self.problem = problem


class _Pickled:
    """Replies to a parent that trusts this process."""

    refusal = "unpicklable"

    @staticmethod
    def of(value: Any) -> Any:
        return _message.Message(value)

    @classmethod
    def of_result(cls, result: Any) -> Any:
        try:
            return cls.of(result)
        except Exception as problem:
            raise _UnsentError(result, f"{type(problem).__name__}: {problem}") from problem

    @classmethod
    def of_error(cls, error: BaseException, text: str) -> Any:
        try:
            message = cls.of(("raised", error, text))
            pickle.loads(pickle.dumps(error))  # noqa: S301 - our own: some pickle, and can't be read back
        except Exception:  # noqa: BLE001 - pickling runs anybody's code
            message = cls.of(("strange", f"{type(error).__qualname__}: {error}", text))
        return message


class _Plain(_Pickled):
    """Replies to one that takes plain data and nothing else."""

    refusal = "unplain"

    @staticmethod
    def of(value: Any) -> Any:
        stream, buffers = _plain.encode(value)
        return _message.Laid([stream], buffers)

    @classmethod
    def of_result(cls, result: Any) -> Any:
        try:
            return cls.of(result)
        except _plain.UnplainError as problem:
            raise _UnsentError(result, str(problem)) from problem

    @classmethod
    def of_error(cls, error: BaseException, text: str) -> Any:
        kind = type(error)
        name = kind.__qualname__
        if kind.__module__ != "builtins":
            name = f"{kind.__module__}.{name}"
        notes = [note for note in getattr(error, "__notes__", ()) if type(note) is str]
        said: dict[str, Any] = {"notes": notes, "text": _text_from(str, error)}
        if isinstance(error, ImportError):
            said |= {"name": error.name, "path": error.path}
        arguments = error.__reduce__()[1] if isinstance(error, OSError) else error.args
        try:
            return cls.of(("raised", name, text, {**said, "arguments": arguments}))
        except Exception:  # noqa: BLE001 - of a subclass, or what it was given is not plain
            return cls.of(("raised", name, text, {"notes": notes, "text": _text_from(str, error)}))


def _text_from(show: Callable[[Any], str], value: object) -> str:
    try:
        return show(value) + ""  # not of a subclass
    except Exception as problem:  # noqa: BLE001 - anybody's code
        return f"<it can't be shown: {type(problem).__name__}>"


def _text_of(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def _failure(error: BaseException, side: type[_Pickled]) -> Any:
    text = _text_of(error)
    if isinstance(error, SystemExit):
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        return side.of(("exit", int(status), text))
    return side.of_error(error, text)


def _send(core: Any, file: int, side: type[_Pickled], message: Any, reply: int) -> int:
    """Write the reply to the call's block, or to memory for large ones; return which, and how long.

    file: for large ones, where their size is not limited.
    """
    ffi, lib = core.ffi, core.lib
    head = (ffi.sizeof("struct aionif_block") + 63) & ~63
    room = lib.AIONIF_BLOCK - head
    kind = 0
    if message.size > room:
        place = lib.aionif_child_room(message.size, int(_PATIENCE * 1e9))
        if place == lib.AIONIF_REPLY_BUSY:
            problem = "busy"
        elif not place:
            problem = "too large"
        else:
            if place == lib.AIONIF_REPLY_FILE:
                message.write_file(file)
            else:
                message.write(ffi.buffer(ffi.cast("char *", place), message.size))
            lib.aionif_child_lend()
            return ELSEWHERE
        kind, message = ERROR, side.of((problem, message.size, ""))
    message.write(ffi.buffer(ffi.cast("char *", reply + head), room))
    return kind | int(head + message.size)
