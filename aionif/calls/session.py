"""`NifSession`: one worker for as long as the session is open."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any, cast

from aionif.binding.of_cffi import CData
from aionif.calls.caller import Caller
from aionif.calls.process_routes import plan_in_process, process_pool
from aionif.calls.submit import Route, plan_of
from aionif.core.native import ffi, lib
from aionif.errors import NifArgumentError, NifClosed, NifCrash
from aionif.errors.checks import check_count

if TYPE_CHECKING:
    from aionif.errors import NifError
    from aionif.loops.port import Port
    from aionif.policy import NifPolicy

__all__ = ("NifSession",)

_LONGEST_STRING = 1 << 20


def _load_libc() -> ctypes.CDLL:
    libc = ctypes.CDLL(None)
    libc.memcpy.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_size_t]
    libc.memcpy.restype = ctypes.c_void_p
    libc.strnlen.argtypes, libc.strnlen.restype = (
        [ctypes.c_void_p, ctypes.c_size_t],
        ctypes.c_size_t,
    )
    return libc


_libc = _load_libc()


def _address_of(pointer: Any) -> int:
    if isinstance(pointer, int):
        return pointer
    try:
        if isinstance(pointer, CData):
            return int(ffi.cast("uintptr_t", pointer))
        return int(ctypes.cast(pointer, ctypes.c_void_p).value or 0)
    except (TypeError, ctypes.ArgumentError) as problem:
        raise NifArgumentError(
            argument="pointer",
            value=pointer,
            problem="is not a pointer",
            remedy="Pass what a call of this session has returned, or an address.",
        ) from problem


class NifSession(Caller):
    """One worker of an executor for as long as the session is open."""

    def __init__(self, executor: Any, policy: NifPolicy) -> None:
        super().__init__()
        self._executor = executor
        self._runs_python = executor._isolation == "process"  # noqa: SLF001 - a part of it
        self._policy = policy
        self._timeout: float | None = executor._timeout  # noqa: SLF001
        self._crash: NifCrash | None = None  # which has ended it
        self._strand = lib.aionif_strand_open(1)
        if self._strand == ffi.NULL:
            raise MemoryError

    @property
    def broken(self) -> bool:
        """Whether a call of this session has crashed; no further ones are accepted."""
        return self._strand == ffi.NULL or bool(lib.aionif_strand_broken(self._strand))

    async def read_bytes(self, pointer: Any, size: int) -> bytes:
        """Return the `size` bytes that a pointer points to, which a call of this session returned.

        pointer: of cffi or ctypes, or an address.

        Raises:
            NifSignal: there is no such memory; the session is ended.
        """
        check_count("size", size, 0)
        memory = ctypes.create_string_buffer(max(size, 1))
        await self.execute_nif(_libc.memcpy, memory, _address_of(pointer), size)
        return memory.raw[:size]

    async def read_string(self, pointer: Any, *, most: int = _LONGEST_STRING) -> bytes:
        """Return the bytes before the NUL that ends a string; at most `most` of them.

        Raises:
            NifSignal: there is no such memory; the session is ended.
        """
        check_count("most", most, 1)
        address = _address_of(pointer)
        return await self.read_bytes(address, await self.execute_nif(_libc.strnlen, address, most))

    def _make_route(self, fn: Any, policy: NifPolicy | None) -> Route:
        if self._strand == ffi.NULL:
            raise NifClosed(resource="session")
        policy = policy or self._policy
        if not policy.thread_safe:
            raise NifArgumentError(
                argument="policy",
                value="thread_safe=False",
                problem="can't be kept by a session, whose calls run beside those of others",
                remedy="Load the library with thread_safe=True if all its calls go through here.",
            )
        if self._executor._closed:  # noqa: SLF001 - a session is a part of its executor
            raise NifClosed(resource="executor")
        executor = self._executor
        if executor._isolation == "process":  # noqa: SLF001
            pools, setup = executor._pools, executor._setup  # noqa: SLF001
            preloads = pools.preloads(self._policy, setup)
            plan, packing = plan_in_process(fn, policy, pools, preloads, is_session=True)
            pool = process_pool(pools, self._policy, setup, plan)
        else:
            pool = executor._pools.get(self._policy)  # noqa: SLF001
            plan, packing = plan_of(fn), None
        route = Route(
            plan,
            policy,
            pool,
            self._strand,
            packing=packing,
            series=executor._pools.series(pool, plan),  # noqa: SLF001
            executor=executor._pools.name,  # noqa: SLF001
            resource="session",
            is_closed=self._is_closed,
            on_failure=self._note_failure,
            rejects_when_full=self._executor._rejects,  # noqa: SLF001
        )
        return cast("Route", executor._guard(route, policy))  # noqa: SLF001

    def _note_failure(self, error: NifError) -> None:
        """Have calls that come after a crash told of it."""
        if self._crash is None and isinstance(error, NifCrash):
            self._crash = error
        elif isinstance(error, NifClosed) and self._crash is not None:
            error.reason = f"a call has ended it: {str(self._crash).splitlines()[0]}"

    def _join(self, port: Port) -> None:
        if port not in self._executor._ports:  # noqa: SLF001
            self._executor._join(port)  # noqa: SLF001
        self._ports.add(port)

    def _is_closed(self) -> bool:
        return bool(self._strand == ffi.NULL)

    def _forked(self) -> None:
        self._routes.clear()
        self._strand = ffi.NULL

    def _close(self) -> None:
        self._routes.clear()
        strand, self._strand = self._strand, ffi.NULL
        if strand != ffi.NULL:
            lib.aionif_strand_close(strand)
