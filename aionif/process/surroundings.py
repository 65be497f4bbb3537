"""The program's surroundings, as worker processes are to find them.

A zygote is started once and starts workers for as long as the program runs. Meanwhile the program
may change directory, environment and `sys.path`. So each executor notes what there is when it is
opened, and workers are given that before they do anything else. What an interpreter takes from its
command line is the same for all of them: the zygote is started with the program's.
"""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

__all__ = ("Surroundings", "interpreter_options", "surroundings_now")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What there was at one moment.

    directory: None: it has been removed, or may not be asked for. authkey: that of multiprocessing,
    in hexadecimal; empty: it is not in use.
    """

    directory: str | None
    environment: dict[str, str]
    path: list[str]
    arguments: list[str]
    authkey: str


def surroundings_now() -> Surroundings:
    """Return what there is now."""
    directory = None
    with suppress(OSError):
        directory = os.getcwd()  # noqa: PTH109 - it has to be text
    processes = sys.modules.get("multiprocessing.process")
    return Surroundings(
        directory=directory,
        environment=dict(os.environ),
        # Of other types are entries that the import system passes over in silence.
        path=[str(entry) for entry in _any(sys.path) if isinstance(entry, str)],
        arguments=list(map(str, getattr(sys, "argv", ()))),
        authkey=bytes(processes.current_process().authkey).hex() if processes else "",
    )


def _any(entries: list[Any]) -> list[Any]:
    return entries


def interpreter_options() -> list[str]:
    """Return the options that this interpreter was started with.

    Found as multiprocessing does it: `sys.flags`, warnings and `-X` are those of the program.
    """
    import subprocess  # noqa: PLC0415 - for programs that have worker processes

    ask: Any = subprocess._args_from_interpreter_flags  # type: ignore[attr-defined] # noqa: SLF001 - there is no public way
    try:
        options: list[str] = ask()
    except ValueError:  # somebody has changed sys.warnoptions
        options = []
    told = {option.partition("=")[0] for option in options}
    for name, value in sys._xoptions.items():  # noqa: SLF001 - documented under that name
        if name not in told:
            options += ["-X", name if value is True else f"{name}={value}"]
    return options
