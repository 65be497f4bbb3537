"""Memory that crosses into worker processes: copied, kept in a session, or shared in buffers."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from aionif import (
    Buffer,
    NifArgumentError,
    NifExecutor,
    NifPolicy,
    NifSignal,
    Sandbox,
    load,
)
from aionif.memory import shared
from aionif.memory.arena import Block
from aionif.process import zygote
from tests.support import (
    build_library,
    holdings,
)
from tests.support.workers import mapped_in, with_executor, workers_of

if TYPE_CHECKING:
    from aionif import NifLibrary

SOURCE = """
    #include <stdlib.h>
    #include <string.h>
    #include <unistd.h>
    struct pair { long one; char *text; };
    struct five { long values[5]; };
    void fill(unsigned char *bytes, long length, int value) { memset(bytes, value, length); }
    long sum_of(const unsigned char *bytes, long length) {
        long sum = 0;
        for (long i = 0; i < length; i++) sum += bytes[i];
        return sum;
    }
    unsigned long address_of(const void *bytes) { return (unsigned long)bytes; }
    long first(const struct pair *pair) { return pair->one; }
    struct five five(long start) {
        struct five made;
        for (int i = 0; i < 5; i++) made.values[i] = start + i;
        return made;
    }
    char *make_text(const char *text) { return strdup(text); }
    long length_of(const char *text) { return strlen(text); }
    void drop_text(char *text) { free(text); }
    void out(char **text, const char *from) { *text = strdup(from); }
    int process_id(void) { return getpid(); }
"""
CDEF = """
    struct pair { long one; char *text; };
    struct five { long values[5]; };
    void fill(unsigned char *, long, int);
    long sum_of(const unsigned char *, long);
    unsigned long address_of(const void *);
    long first(const struct pair *);
    struct five five(long);
    char *make_text(const char *);
    long length_of(const char *);
    void drop_text(char *);
    void out(char **, const char *);
    int process_id(void);
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> NifLibrary:
    return load(build_library(tmp_path_factory.mktemp("process"), SOURCE, name="memory"), CDEF)


def test_memory_behind_pointers_goes_there_and_back(library: NifLibrary) -> None:
    ffi = library.ffi

    async def main(executor: NifExecutor) -> None:
        for size in (1, 100, 5000, 100_000, 3_000_000):
            for memory in (bytearray(size), ffi.new("unsigned char[]", size)):
                await executor.execute_nif(library.fill, memory, size, 7)
                assert bytes(memory) == b"\7" * size
        five = await executor.execute_nif(library.five, 10)
        assert list(five.values) == [10, 11, 12, 13, 14]
        pair = ffi.new("struct pair *", {"one": 5})
        assert await executor.execute_nif(library.first, pair) == 5

    with_executor(main, max_workers=1)


def test_what_can_not_cross_is_refused(library: NifLibrary) -> None:
    ffi = library.ffi
    text = ffi.new("char[]", b"text")
    pair = ffi.new("struct pair *", {"one": 5, "text": text})

    async def main(executor: NifExecutor) -> None:
        with pytest.raises(NifArgumentError, match="inside a struct") as error:
            await executor.execute_nif(library.first, pair)
        assert error.value.function == "first"
        with pytest.raises(NifArgumentError, match="unknown size"):
            await executor.execute_nif(library.length_of, ffi.cast("char *", text))
        assert await executor.execute_nif(library.length_of, text) == 4

    with_executor(main, max_workers=1)


def test_a_session_keeps_what_its_worker_returned(library: NifLibrary) -> None:
    ffi = library.ffi

    async def main(executor: NifExecutor) -> None:
        async with executor.session() as session:
            text = await session.execute_nif(library.make_text, b"kept there")
            assert await session.execute_nif(library.length_of, text) == 10
            assert await session.read_string(text) == b"kept there"
            assert await session.read_bytes(text, 4) == b"kept"
            await session.execute_nif(library.drop_text, text)
            out = ffi.new("char **")
            await session.execute_nif(library.out, out, b"through a pointer")
            assert await session.read_string(out[0]) == b"through a pointer"

    with_executor(main, max_workers=2)


def test_buffers_are_passed_without_a_copy(library: NifLibrary) -> None:
    async def main(executor: NifExecutor) -> None:
        with Buffer(8 << 20) as buffer:
            numbers = np.frombuffer(buffer.view(), dtype=np.uint8)
            there = await executor.execute_nif(library.address_of, buffer.view())
            assert there == buffer.address == numbers.ctypes.data
            await executor.execute_nif(library.fill, buffer.view(), buffer.size, 9)
            assert (numbers == 9).all()
            await executor.execute_nif(library.fill, numbers[100:], 10, 3)
            assert numbers[99:111].tolist() == [9, *[3] * 10, 9]
            assert mapped_in(workers_of(executor)[0], buffer.address) == "rw-s"
            del numbers

    with_executor(main, max_workers=1)


def test_a_read_only_buffer_is_so_in_the_worker(library: NifLibrary) -> None:
    async def main(executor: NifExecutor) -> None:
        buffer = Buffer(100, readonly=True)
        buffer.view()[:4] = b"read"
        assert await executor.execute_nif(library.length_of, buffer.view()) == 4
        assert mapped_in(workers_of(executor)[0], buffer.address) == "r--s"
        with pytest.raises(NifSignal):
            await executor.execute_nif(library.fill, buffer.view(), 4, 1)
        assert bytes(buffer.view()[:4]) == b"read"

    with_executor(main, max_workers=1)


def test_filling_a_buffer() -> None:
    buffer = Buffer(5000)
    buffer.fill(np.arange(1000, dtype=np.int32))
    assert np.frombuffer(buffer.view(), dtype=np.int32, count=1000).tolist() == list(range(1000))
    assert bytes(buffer.view()[4000:]) == bytes(1000)
    with pytest.raises(NifArgumentError, match="larger than the buffer"):
        buffer.fill(bytes(5001))


def test_buffers_give_their_memory_back() -> None:
    before = holdings().descriptors
    buffers = [Buffer(1 << 20) for _ in range(50)]
    kept = buffers[0].view()
    addresses = {buffer.address for buffer in buffers}
    assert len(addresses) == 50
    del buffers
    kept[5] = 1  # a view keeps its buffer
    del kept
    assert holdings().descriptors <= before + 1
    assert Buffer(1 << 20).address in addresses


def test_a_child_of_a_fork_leaves_the_parents_memory_alone() -> None:
    buffer = Buffer(100)
    buffer.fill(b"kept")
    child = os.fork()
    if not child:
        buffer.close()
        os._exit(0)
    os.waitpid(child, 0)
    assert bytes(buffer.view()[:4]) == b"kept"


# ---- memory that stays warm ----


async def where(executor: NifExecutor, library: NifLibrary, size: int, **options: Any) -> int:
    """Return where a worker found an argument of this size, which it found whole."""
    data = os.urandom(size)
    assert await executor.execute_nif(library.sum_of, data, size, **options) == sum(data)
    address: int = await executor.execute_nif(library.address_of, data, **options)
    return address


def test_large_arguments_find_the_memory_of_earlier_ones(library: NifLibrary) -> None:
    async def main(executor: NifExecutor) -> None:
        first = await where(executor, library, 1 << 20)
        assert await where(executor, library, 1 << 20) == first
        assert await where(executor, library, 1 << 19) == first
        assert await where(executor, library, 3 << 20) != first
        assert await executor.execute_nif(len, bytes(1 << 20)) == 1 << 20

    with_executor(main, max_workers=1)


def test_memory_that_a_worker_may_write_to_is_not_used_again(library: NifLibrary) -> None:
    size = 1 << 20

    async def main(executor: NifExecutor) -> None:
        warm = await where(executor, library, size)
        memory = bytearray(size)
        await executor.execute_nif(library.fill, memory, size, 1)
        assert bytes(memory) == b"\1" * size
        assert await where(executor, library, size) == warm

    before = holdings().descriptors
    with_executor(main, max_workers=1)
    assert holdings().descriptors <= before


def test_in_a_sandbox_no_memory_is_used_again(library: NifLibrary) -> None:
    """Another worker could look at it."""
    policy = NifPolicy(sandbox=Sandbox.compute(mode="best_effort"))

    async def main(executor: NifExecutor) -> int:
        await where(executor, library, 1 << 20)
        return len(executor._pools.warm._files)

    assert with_executor(main, max_workers=1, policy=policy) == 0


def test_what_stays_warm_is_bounded_and_given_back() -> None:
    before = holdings().descriptors
    warm = shared.Warm()
    for room in (40 << 20, *[1 << 20] * 50):
        memories = [shared.Memory(room, writable=False, warm=warm) for _ in range(3)]
        assert all(bytes(memory.view[0:4]) == bytes(4) for memory in memories)
        del memories
    assert holdings().descriptors <= before + 2 * shared._MOST_FILES
    assert sum(file.length for file in warm._files) <= shared._MOST_WARM
    kept = shared.Memory(1 << 20, writable=False, warm=warm)
    warm.close()
    assert holdings().descriptors <= before + 2
    del kept
    assert holdings().descriptors <= before


def test_a_block_holds_nothing_of_the_call_before() -> None:
    """Room for what comes back, and padding, go to the worker as they are."""
    zygote.of().ensure()
    block = Block()
    address = block.address
    there = block.take(1000)
    ctypes.memmove(there, b"secret" * 166, 996)
    del block
    block = Block()
    assert block.address == address
    assert not any(ctypes.string_at(block.take(1000), 1000))
