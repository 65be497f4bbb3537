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
from typing import Any

__all__ = ("prepare", "run", "run_each", "warm")

ERROR, ELSEWHERE = 1 << 61, 1 << 62  # in what `run` returns
_MAIN = "__mp_main__"

_main: dict[str, str] = {}  # how to run the parent's main module
_message: Any = None


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
        _failure(error)


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
    global _message  # noqa: PLW0603 - once a process
    if _message is None:
        spec = importlib.util.spec_from_file_location("aionif.process.message", wanted["message"])
        _message = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
        spec.loader.exec_module(_message)  # type: ignore[union-attr]
        _main.update(wanted.get("main", {}))


def _read(memory: Any) -> Any:
    return _message.read(memory, _find if _main else None)


def _find(module: str, name: str) -> Any:
    """Return a global of the parent's main module; None: it is another module's."""
    if module not in ("__main__", _MAIN):
        return None
    # Not by its name alone: multiprocessing, where it is imported first, gives that to `_child`.
    if getattr(sys.modules.get(_MAIN), "__name__", None) != _MAIN:
        main = types.ModuleType(_MAIN)
        sys.modules[_MAIN] = sys.modules["__main__"] = main
        if "name" in _main:
            found = runpy.run_module(_main["name"], run_name=_MAIN, alter_sys=True)
        else:
            found = runpy.run_path(_main["path"], run_name=_MAIN)
        main.__dict__.update(found)
        sys.modules[_MAIN] = sys.modules["__main__"] = main
    value: Any = sys.modules[_MAIN]
    for part in name.split("."):
        value = getattr(value, part)
    return value


def run(  # noqa: PLR0913, PLR0917 - what the call came with
    core: Any, file: int, wanted: dict[str, Any], request: int, length: int, reply: int
) -> int:
    """Run the callable in the request; return what to tell the parent of the reply."""
    _load(wanted)
    ffi = core.ffi
    kind = 0
    try:
        function, arguments, context = _read(ffi.buffer(ffi.cast("char *", request), length))
        try:
            result = _in_context(function, arguments, context)
        except BaseException as error:  # noqa: BLE001 - carried to the parent, whatever it is
            kind, answer = ERROR, _failure(error)
        else:
            answer = _pickled(result)
    except _UnpicklableError as error:
        kind, answer = ERROR, _message.Message(("unpicklable", error.shown, error.problem))
    except BaseException as error:  # noqa: BLE001 - the request itself
        kind, answer = ERROR, _message.Message(("unreadable", repr(error), _text_of(error)))
    with contextlib.suppress(Exception):
        sys.stdout.flush()
    return kind | _send(core, file, answer, reply)


def run_each(function: Any, pieces: list[tuple[Any, ...]]) -> list[Any]:
    """Call `function` with each of the arguments: a chunk of a map. The parent knows it by name."""
    return [function(*arguments) for arguments in pieces]


def _in_context(
    function: Any, arguments: tuple[Any, ...], values: list[tuple[str, str, Any]]
) -> Any:
    if not values:
        return function(*arguments)
    context = contextvars.Context()

    def call() -> Any:
        for module, name, value in values:
            getattr(importlib.import_module(module), name).set(value)
        return function(*arguments)

    return context.run(call)


class _UnpicklableError(Exception):
    def __init__(self, value: object, problem: BaseException) -> None:
        super().__init__()
        self.shown = repr(value)[:200]
        self.problem = f"{type(problem).__name__}: {problem}"


def _pickled(result: Any) -> Any:
    try:
        return _message.Message(result)
    except Exception as problem:
        raise _UnpicklableError(result, problem) from problem


def _text_of(error: BaseException) -> str:
    return "".join(traceback.format_exception(error))


def _failure(error: BaseException) -> Any:
    text = _text_of(error)
    if isinstance(error, SystemExit):
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
        return _message.Message(("exit", status, text))
    try:
        message = _message.Message(("raised", error, text))
        pickle.loads(pickle.dumps(error))  # noqa: S301 - our own: some pickle, and can't be read back
    except Exception:  # noqa: BLE001 - pickling runs anybody's code
        message = _message.Message(("strange", f"{type(error).__qualname__}: {error}", text))
    return message


def _send(core: Any, file: int, message: Any, reply: int) -> int:
    """Write the reply to the call's block, or to memory for large ones; return which, and how long.

    file: for large ones, where their size is not limited.
    """
    ffi, lib = core.ffi, core.lib
    head = (ffi.sizeof("struct aionif_block") + 63) & ~63
    room = lib.AIONIF_BLOCK - head
    kind = 0
    if message.size > room:
        place = lib.aionif_child_room(message.size)
        if place:
            if place == lib.AIONIF_REPLY_FILE:
                message.write_file(file)
            else:
                message.write(ffi.buffer(ffi.cast("char *", place), message.size))
            lib.aionif_child_lend()
            return ELSEWHERE
        kind, message = ERROR, _message.Message(("too large", message.size, ""))
    message.write(ffi.buffer(ffi.cast("char *", reply + head), room))
    return kind | int(head + message.size)
