"""Memory of mapped files, which ends where the file does: whoever cuts it takes pages away.

A look past the end raises SIGBUS, which would end the program. The kernel fails with EFAULT
where it is asked to read or to write such memory, so it is asked to copy it, by way of a file in
memory.
"""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

from aionif.core.native import ffi
from aionif.errors import NifArgumentError

__all__ = ("copy", "is_mapped", "refuse_cut")

_DEEP = 8  # views of views that are followed


def is_mapped(given: Any) -> bool:
    """Whether an argument is a mapping, or a view of one: a memoryview, or an array of numpy."""
    mmap = sys.modules.get("mmap")
    if mmap is None:
        return False
    for _ in range(_DEEP):
        if isinstance(given, mmap.mmap):
            return True
        given = given.obj if isinstance(given, memoryview) else getattr(given, "base", None)
        if given is None:
            return False
    return False


def copy(there: int, here: int, size: int) -> None:
    """Copy memory of which one side may be cut short.

    Raises:
        NifArgumentError: it is.
    """
    source, target = (ffi.buffer(ffi.cast("char *", address), size) for address in (here, there))
    descriptor = os.memfd_create("aionif-copy", os.MFD_CLOEXEC)
    try:
        done = os.pwrite(descriptor, source, 0)
        done = os.preadv(descriptor, [target], 0) if done == size else done
    except OSError as problem:
        refuse_cut(problem)
    else:
        if done != size:
            refuse_cut(OSError(errno.EFAULT, ""))
    finally:
        os.close(descriptor)


def refuse_cut(problem: OSError) -> None:
    """Raise NifArgumentError for memory that is not there any more; else the error as it is."""
    if problem.errno != errno.EFAULT:
        raise problem
    raise NifArgumentError(
        argument="args",
        value="a mapping of a file",
        problem="is longer than its file, which was cut short",
        remedy="Map the file anew, or pass bytes that were read from it.",
    ) from problem
