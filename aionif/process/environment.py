"""Which of the program's environment variables a worker process has.

The zygote is started with the variables below and no others: secrets are commonly passed in the
environment, and what was once in a process's memory stays there for its forks. A sealed worker has
these, those that its policy names, and a word to numeric libraries. A worker that is not sealed
runs the user's own code: it is given the whole environment, by its own setup, which the zygote does
not read. Both are told what the program had when the executor was opened.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aionif.sandbox import Sandbox

__all__ = ("of_worker", "of_zygote")

# What the loader, the C library, numeric and language runtimes and the interpreter look at.
_NAMES = frozenset(
    (  # noqa: SIM905 - as a list it would say no more
        "PATH HOME TMPDIR LANG LANGUAGE LOCPATH LOCALE_ARCHIVE GCONV_PATH TZ TZDIR TERM "
        "GLIBC_TUNABLES RUST_BACKTRACE RUST_LIB_BACKTRACE VIRTUAL_ENV"
    ).split()
)
_BEGINNINGS = (
    "LC_", "LD_", "MALLOC_", "PYTHON", "OMP_", "GOMP_", "KMP_", "MKL_", "OPENBLAS_", "BLIS_",
    "NUMEXPR_", "COVERAGE_",
)  # fmt: skip
_ENDS = ("SAN_OPTIONS",)

# What they name runs as an interpreter starts, or goes on when it has ended: in workers, and in the
# zygote nothing may run that starts a thread.
_OF_PROGRAMS = ("PYTHONPATH", "PYTHONSTARTUP", "PYTHONINSPECT")


def of_zygote() -> dict[str, str]:
    """Return what the zygote is started with."""
    harmless = _harmless(os.environ)
    return {name: value for name, value in harmless.items() if name not in _OF_PROGRAMS}


def _harmless(environment: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environment.items()
        if name in _NAMES or name.startswith(_BEGINNINGS) or name.endswith(_ENDS)
    }


# Numeric libraries start threads as they are loaded. A process has to have one when it is sealed.
_ONE_THREAD = ("OPENBLAS", "OMP", "MKL", "BLIS", "NUMEXPR", "RAYON")


def of_worker(sandbox: Sandbox | None, environment: Mapping[str, str]) -> dict[str, str]:
    """Return what of the program's environment a worker has: all that it has."""
    if sandbox is None:
        return dict(environment)
    named = {name: environment[name] for name in sandbox.environment if name in environment}
    single = {f"{name}_NUM_THREADS": "1" for name in _ONE_THREAD}
    return {**_harmless(environment), **single, **named}
