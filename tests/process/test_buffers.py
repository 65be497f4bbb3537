"""Buffers that workers can't write to."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

import cffi
import numpy as np
import pytest

from aionif import (
    Buffer,
    NifArgumentError,
    NifExecutor,
    NifSignal,
)
from aionif.core.native import lib
from aionif.memory import shared
from tests import remote
from tests.support.workers import mapped_in, with_executor, workers_of

if TYPE_CHECKING:
    from aionif import NifLibrary

from tests.support.kept_buffers import SEALS, SIZE, load_keeping, sealed

# ---- pointers to const ----


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> NifLibrary:
    return load_keeping(tmp_path_factory.mktemp("keeping"))


def test_a_pointer_to_const_gets_a_buffer_for_reading_alone(library: NifLibrary) -> None:
    async def main(executor: NifExecutor) -> None:
        with Buffer(SIZE) as buffer:
            buffer.view()[:3] = b"\1\2\3"
            for given in (buffer, buffer.view(), np.frombuffer(buffer.view(), dtype=np.uint8)):
                assert await executor.execute_nif(library.sum_of, given, SIZE) == 6
                assert mapped_in(workers_of(executor)[0], buffer.address) == "r--s"
            del given
            with pytest.raises(NifSignal):
                await executor.execute_nif(library.overwrite, buffer, 9)
            assert buffer.view()[0] == 1

    with_executor(main, max_workers=1)


def test_a_read_only_view_is_so_in_the_worker(library: NifLibrary) -> None:
    """Of a function of another FFI object nothing says const."""
    ffi = cffi.FFI()
    ffi.cdef("void fill(unsigned char *, long, int);")
    fill = ffi.dlopen(library.path).fill

    async def main(executor: NifExecutor) -> None:
        with Buffer(SIZE) as buffer:
            with pytest.raises(NifSignal):
                await executor.execute_nif(fill, buffer.view().toreadonly(), SIZE, 9)
            with pytest.raises(NifArgumentError, match="read-only"):
                await executor.execute_nif(library.fill, buffer.view().toreadonly(), SIZE, 9)
            assert buffer.view()[0] == 0
            await executor.execute_nif(library.fill, buffer, SIZE, 9)
            assert buffer.view()[0] == 9

    with_executor(main, max_workers=1)


def test_a_buffer_that_a_call_may_write_to_and_reads_is_writable(library: NifLibrary) -> None:
    async def main(executor: NifExecutor) -> None:
        with Buffer(SIZE) as buffer:
            buffer.view()[:4] = b"text"
            assert await executor.execute_nif(library.sum_of, buffer, 4) == sum(b"text")
            await executor.execute_nif(library.copy, buffer.view()[10:], buffer, 4)
            assert bytes(buffer.view()[10:14]) == b"text"
            assert await executor.execute_nif(library.sum_of, buffer, 14) == 2 * sum(b"text")
            assert mapped_in(workers_of(executor)[0], buffer.address) == "rw-s"

    with_executor(main, max_workers=1)


def test_what_is_copied_for_a_pointer_to_const_is_not_copied_back(library: NifLibrary) -> None:
    async def main(executor: NifExecutor) -> None:
        for size in (100, 3_000_000):
            memory = bytearray(size)
            if size == 100:  # in a block of the worker's own, which it may write to
                await executor.execute_nif(library.overwrite, memory, 9)
            else:
                with pytest.raises(NifSignal):
                    await executor.execute_nif(library.overwrite, memory, 9)
            assert not any(memory)

    with_executor(main, max_workers=1)


@pytest.mark.parametrize("seal", SEALS)
def test_native_code_can_not_make_it_writable(library: NifLibrary, seal: str) -> None:
    async def main(executor: NifExecutor) -> None:
        with Buffer(SIZE) as buffer:
            buffer.view()[0] = 1
            assert await executor.execute_nif(library.unlock, buffer, SIZE) == 0
            assert buffer.view()[0] == 1

    with_executor(main, **sealed(seal))


@pytest.mark.parametrize("seal", [seal for seal in SEALS if SEALS[seal]])
def test_its_descriptor_is_of_no_use_to_a_sealed_worker(library: NifLibrary, seal: str) -> None:
    """Native code that has the worker takes the descriptor before the worker's own code does."""

    async def main(executor: NifExecutor) -> None:
        await executor.execute_nif(library.sum_of, b"", 0)
        with Buffer(SIZE) as buffer:
            buffer.view()[0] = 1
            await executor.execute_nif(library.take_over, int(lib.aionif_window(0, 0)), SIZE)
            assert await executor.execute_nif(library.unlock, buffer, SIZE) == 0
            assert buffer.view()[0] == 1

    with_executor(main, **sealed(seal))


def test_an_error_of_a_call_with_a_buffer_can_be_kept_in_a_cycle(library: NifLibrary) -> None:
    async def crash(executor: NifExecutor) -> None:
        try:
            await executor.execute_nif(library.overwrite, Buffer(SIZE), 1)
        except NifSignal as error:
            kept = error  # of the frame that its traceback refers to
            assert kept.signal

    async def main(executor: NifExecutor) -> None:
        await crash(executor)
        before = len(shared._live)
        gc.collect()
        assert len(shared._live) < before

    with_executor(main, max_workers=1)


# ---- Python callables ----


def test_a_python_callable_gets_a_copy_of_what_lies_in_a_buffer() -> None:
    async def main(executor: NifExecutor) -> None:
        with Buffer(SIZE) as buffer:
            for given in (buffer, buffer.view()):
                with pytest.raises(NifArgumentError, match="can't be pickled"):
                    await executor.execute_nif(len, given)
            array = np.frombuffer(buffer.view(), dtype=np.uint8)
            changed = await executor.execute_nif(remote.overwritten, array, 7)
            assert set(changed) == {7}
            assert not array.any()
            del array

    with_executor(main, max_workers=1)
