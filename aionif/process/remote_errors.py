"""What a worker says that its callable raised -> the exception that is raised here.

From a worker that replies in plain data come a name, arguments and texts. A name of the list below
is that built-in exception, with its arguments; all else is a NifRemoteError. The list leaves out
what would do something here by being raised (`KeyboardInterrupt`, `GeneratorExit`, `StopIteration`
in a coroutine), what holds other exceptions, and what is shown by its arguments: a SyntaxError
is shown with as many spaces as it is told.
"""

from __future__ import annotations

import builtins
from typing import Any

from aionif.errors import NifRemoteError
from aionif.system.escape import printable

__all__ = ("RemoteTraceback", "rebuild")

_BUILT_IN: dict[str, type[Exception]] = {
    name: getattr(builtins, name)
    for name in (  # noqa: SIM905 - sixty quotes would say no more
        "ArithmeticError AssertionError AttributeError BlockingIOError BrokenPipeError BufferError "
        "BytesWarning ChildProcessError ConnectionAbortedError ConnectionError "
        "ConnectionRefusedError ConnectionResetError DeprecationWarning EOFError EncodingWarning "
        "Exception FileExistsError FileNotFoundError FloatingPointError FutureWarning ImportError "
        "ImportWarning IndexError InterruptedError IsADirectoryError KeyError LookupError "
        "MemoryError ModuleNotFoundError NameError NotADirectoryError NotImplementedError OSError "
        "OverflowError PendingDeprecationWarning PermissionError ProcessLookupError RecursionError "
        "ReferenceError ResourceWarning RuntimeError RuntimeWarning SyntaxWarning SystemError "
        "TimeoutError TypeError UnboundLocalError UnicodeDecodeError UnicodeEncodeError "
        "UnicodeError UnicodeTranslateError UnicodeWarning UserWarning ValueError Warning "
        "ZeroDivisionError"
    ).split()
}


class RemoteTraceback(Exception):  # noqa: N818 - it is the cause of one, not one of its own
    """The traceback of an exception in a worker process; the cause of the exception here."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.text = text

    def __str__(self) -> str:
        shown = printable(self.text, keep="\n\t")
        return f'\n"""\n{shown}"""'


def rebuild(name: object, said: object, traceback: str, where: dict[str, Any]) -> Exception:
    """Return the exception for what a worker says of one, without its cause.

    name: of its class. said: what it was made of. where: the attributes of a NifError.
    """
    told = said if isinstance(said, dict) else {}
    error = _built_in(name, told)
    if error is None:
        text = told.get("text")
        error = NifRemoteError(
            type_name=name if isinstance(name, str) else "an exception without a name",
            text=text if isinstance(text, str) else "",
            traceback=traceback,
            **where,
        )
    notes = told.get("notes")
    for note in notes if isinstance(notes, list) else ():
        if isinstance(note, str):
            error.add_note(note)
    return error


def _built_in(name: object, told: dict[Any, Any]) -> Exception | None:
    arguments = told.get("arguments")
    kind = _BUILT_IN.get(name) if isinstance(name, str) else None
    if kind is None or not isinstance(arguments, tuple):
        return None
    try:
        if issubclass(kind, UnicodeError) and kind is not UnicodeError:
            _check_span(*arguments[-4:-1])
        error = kind(*arguments)
        if isinstance(error, ImportError):
            error.name, error.path = (
                value if isinstance(value, str) else None
                for value in (told.get("name"), told.get("path"))
            )
    except Exception:  # noqa: BLE001 - arguments that it was never made of
        return None
    return error


def _check_span(text: Any, start: Any, end: Any) -> None:
    """The `str()` of these reads what lies at `start`, and not every Python looks whether it is."""
    if not (type(start) is type(end) is int and 0 <= start <= end <= len(text)):
        raise ValueError
