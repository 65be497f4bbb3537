"""`Buffer`: memory that calls in worker processes use without a copy."""

from __future__ import annotations

from typing import Any, Self

from aionif.binding.buffers import Shared
from aionif.errors import NifArgumentError, NifClosed
from aionif.memory.shared import Memory

__all__ = ("Buffer",)


class Buffer(Shared):
    """Memory that this process and worker processes share, under the same address.

    size: bytes. readonly: workers can't write to it; this process can.

    `view()` is its memory as a memoryview, for `numpy.frombuffer` and the like; from Python 3.12
    on, the buffer itself has the buffer protocol. The buffer, and any view of it, is passed for any
    pointer argument. Its pages are used for nothing else and start as zeros. Each worker maps
    it with the first call that uses it, and keeps it mapped as long as the worker lives. The
    memory is given back when the buffer is closed, or when nothing refers to it or to a view of
    it any more.

    A worker gets it for reading alone where the function's cdef, given to `aionif.load`, declares
    a pointer to const. Of functions of ctypes and of other FFI objects nothing says const; there
    a read-only view, `view().toreadonly()`, does so to cffi's. A worker that has had a call
    with a writable buffer may write to it at any later time too, until `revoke()`.

    Raises:
        NifArgumentError: size is not a positive number.
        NifRejected: there is no memory, or too many buffers are open.
    """

    def __init__(self, size: int, *, readonly: bool = False) -> None:
        given: object = size
        if not isinstance(given, int) or isinstance(given, bool) or given <= 0:
            raise NifArgumentError(
                argument="size",
                value=size,
                problem="is out of range",
                remedy="Use a positive number of bytes.",
            )
        self._memory: Memory | None = Memory(size, writable=not readonly)
        self.size = size
        self.readonly = readonly

    @property
    def address(self) -> int:
        """Where it is, here and in workers."""
        return self._open().address

    def memory_for_calls(self) -> Any:
        """Return its memory to be passed to native code, as what `ffi.buffer` makes.

        Not a memoryview: CPython crashes where the garbage collector finds one that cffi still
        reads through, as with an error that is kept and refers to the frames of its call.
        """
        return self._open().view

    def __buffer__(self, flags: int, /) -> memoryview:
        return memoryview(self._open().view)

    def __len__(self) -> int:
        return self.size

    def view(self) -> memoryview:
        """Return its memory as bytes. The buffer lives as long as any view of it.

        Raises:
            NifClosed: it is closed.
        """
        return memoryview(self._open().view)

    def fill(self, data: Any) -> None:
        """Copy an object with the buffer protocol to the start of the memory.

        Faster than through a view while the memory is new: its pages are not mapped one by one.

        Raises:
            NifArgumentError: the data is larger than the buffer.
        """
        source = memoryview(data).cast("B")
        if source.nbytes > self.size:
            raise NifArgumentError(
                argument="data",
                value=source.nbytes,
                problem="is larger than the buffer",
                remedy=f"Pass at most {self.size} bytes.",
            )
        self._open().fill(source)

    def revoke(self) -> None:
        """Take it back from workers: from now on they change nothing of what is in the memory here.

        Views, arrays and addresses of this process stay valid, with the contents that they show.
        A worker that still looks at the memory sees zeros, until a later call is passed the buffer.
        It takes as long as copying the memory does, which is held twice meanwhile; nothing where no
        worker has had it since the last time. What other threads of this process write to it
        meanwhile may be lost. In the child of a fork the parent's memory is left behind.

        Raises:
            NifRejected: a call that was passed it has not ended: its results would be lost. Or
                there is no memory or descriptor for the move. The buffer is then as it was.
            NifClosed: it is closed.
        """
        self._open().revoke()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Let go of the memory; views of it keep it."""
        self._memory = None

    def _open(self) -> Memory:
        if self._memory is None:
            raise NifClosed(resource="buffer")
        return self._memory
