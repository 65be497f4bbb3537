"""`aionif sandbox learn`: the policy that a function needs, on stdout as Python code."""

from __future__ import annotations

import importlib
import os
import sys

from aionif import NifError, Sandbox, learn_sandbox

__all__ = ("learn",)

_DONE, _FAILED, _IMPOSSIBLE = 0, 1, 2


def learn(function: str, arguments: list[str], *, profile: str, timeout: float) -> int:
    """Print what MODULE:FUNCTION, called with strings, needs; return the exit status.

    0: the function returned. 1: it did not, and what is printed may not be all. 2: nothing could be
    learnt.
    """
    sys.path.insert(0, os.getcwd())  # noqa: PTH109 - as python -m has it
    start = Sandbox.python() if profile == "python" else Sandbox.compute()
    module, _, name = function.partition(":")
    try:
        act = getattr(importlib.import_module(module), name)
        lesson = learn_sandbox(act, *arguments, sandbox=start, timeout=timeout)
    except (ImportError, AttributeError, ValueError, NifError) as problem:
        print(f"aionif sandbox learn: {problem}", file=sys.stderr)
        return _IMPOSSIBLE
    print(lesson)
    return _FAILED if lesson.error else _DONE
