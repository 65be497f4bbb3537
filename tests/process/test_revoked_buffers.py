"""What is left of buffers that were taken back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import numpy as np
import pytest

from aionif import (
    Buffer,
    NifClosed,
    NifExecutor,
    NifRejected,
    NifSignal,
    NifTimeout,
)
from tests.support import BACKENDS, run_on, until
from tests.support.scarce import use_up_descriptors
from tests.support.workers import mapped_in, with_executor, workers_of

if TYPE_CHECKING:
    from aionif import NifLibrary

from tests.support.kept_buffers import SEALS, SIZE, load_keeping, sealed


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> NifLibrary:
    return load_keeping(tmp_path_factory.mktemp("keeping"))


def count_files() -> int:
    """Return how many descriptors of buffers are open."""
    links = [each for each in Path("/proc/self/fd").iterdir() if each.is_symlink()]
    return sum("aionif-buffer" in os.readlink(each) for each in links)  # noqa: PTH115


@pytest.mark.parametrize("seal", SEALS)
def test_after_revoke_no_worker_changes_what_is_read(library: NifLibrary, seal: str) -> None:
    async def main(executor: NifExecutor) -> None:
        with Buffer(SIZE) as buffer:
            assert await executor.execute_nif(library.keep, buffer, SIZE)
            await executor.execute_nif(library.write_to_kept, 7)
            assert set(buffer.view()) == {7}, "until then it can write at any time"
            buffer.revoke()
            assert await executor.execute_nif(library.write_to_kept, 8) == 8
            assert set(buffer.view()) == {7}
            assert await executor.execute_nif(library.sum_of, buffer, SIZE) == 7 * SIZE
            assert await executor.execute_nif(library.unlock, buffer, SIZE) == 0
            await executor.execute_nif(library.write_to_kept, 9)
            assert set(buffer.view()) == {7}, "to be passed to const gives it nothing back"

    with_executor(main, **sealed(seal))


def test_after_revoke_a_worker_sees_nothing_of_it(library: NifLibrary) -> None:
    async def main(executor: NifExecutor) -> None:
        with Buffer(SIZE) as buffer:
            await executor.execute_nif(library.keep, buffer, SIZE)
            buffer.view()[0] = 1
            buffer.revoke()
            buffer.view()[0] = 2
            assert await executor.execute_nif(library.read_kept) == 0

    with_executor(main, max_workers=1)


def test_views_stay_valid_and_the_buffer_can_be_passed_again(library: NifLibrary) -> None:
    async def main(executor: NifExecutor) -> None:
        before = count_files()
        with Buffer(SIZE) as buffer:
            view, array = buffer.view(), np.frombuffer(buffer.view(), dtype=np.uint8)
            address = buffer.address
            for value in range(1, 10):
                await executor.execute_nif(library.fill, buffer, SIZE, value)
                assert mapped_in(workers_of(executor)[0], address) == "rw-s"
                buffer.revoke()
                assert buffer.address == address == array.ctypes.data
                assert (array == value).all()
                view[0] = 100
                assert array[0] == 100
                assert await executor.execute_nif(library.sum_of, array, 2) == 100 + value
                assert mapped_in(workers_of(executor)[0], address) == "r--s"
            assert count_files() <= before + 2
            buffer.fill(b"as ever")
            assert bytes(view[:7]) == b"as ever"
            del array, view
        assert count_files() <= before

    with_executor(main, max_workers=1)


def test_other_workers_that_had_it_lose_it_too(library: NifLibrary) -> None:
    async def main(executor: NifExecutor) -> None:
        with Buffer(SIZE) as buffer:
            async with executor.session() as one, executor.session() as other:
                for session in (one, other):
                    await session.execute_nif(library.keep, buffer, SIZE)
                buffer.revoke()
                for session in (one, other):
                    await session.execute_nif(library.write_to_kept, 1)
            assert not any(buffer.view())

    with_executor(main, max_workers=2)


@pytest.mark.parametrize("backend", BACKENDS)
def test_while_a_call_that_was_passed_it_is_under_way_it_is_not_taken_back(
    library: NifLibrary, backend: str
) -> None:
    async def main() -> None:
        async with NifExecutor(isolation="process", max_workers=1) as executor:
            await executor.execute_nif(library.sum_of, b"", 0)
            with Buffer(SIZE) as buffer, Buffer(SIZE) as another:
                async with anyio.create_task_group() as group:
                    for value in (1, 2):  # one runs, the other is in the queue
                        group.start_soon(executor.execute_nif, library.wait_for, buffer, value)
                        await anyio.sleep(0.05)  # so that they are in this order
                    for value in (1, 2):
                        with pytest.raises(NifRejected, match="has not ended") as error:
                            buffer.revoke()
                        assert "Await that call" in error.value.remedy
                        another.revoke()
                        buffer.view()[0] = value
                        await until(lambda value=value: buffer.view()[1] == value)  # type: ignore[misc]
                buffer.revoke()
                assert list(buffer.view()[:2]) == [2, 2]

    run_on(backend, main)


def test_a_call_that_waits_for_room_counts_as_well(library: NifLibrary) -> None:
    async def main(executor: NifExecutor) -> None:
        with Buffer(SIZE) as first, Buffer(SIZE) as last:
            async with anyio.create_task_group() as group:
                for buffer in (first, first, last):
                    group.start_soon(executor.execute_nif, library.wait_for, buffer, 1)
                    await anyio.sleep(0.05)
                with pytest.raises(NifRejected, match="has not ended"):
                    last.revoke()
                first.view()[0] = last.view()[0] = 1
            last.revoke()
            assert last.view()[1] == 1

    with_executor(main, max_workers=1, max_queue=1)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_call_that_nobody_waits_for_any_more_is_no_obstacle(
    library: NifLibrary, backend: str
) -> None:
    async def main() -> None:
        async with NifExecutor(isolation="process", max_workers=1) as executor:
            with Buffer(SIZE) as buffer:
                with pytest.raises(NifTimeout):
                    await executor.execute_nif(library.wait_for, buffer, 1, timeout=0.1)
                buffer.revoke()
                with anyio.move_on_after(0.1):
                    await executor.execute_nif(library.wait_for, buffer, 1)
                buffer.revoke()
                with pytest.raises(NifSignal) as kept:
                    await executor.execute_nif(library.overwrite, buffer, 1)
                buffer.revoke()
                assert kept.value.signal
                assert not any(buffer.view())

    run_on(backend, main)


def test_a_hole_stays_one_and_what_no_worker_has_had_does_not_move(library: NifLibrary) -> None:
    large = 1 << 30

    async def main(executor: NifExecutor) -> None:
        with Buffer(large) as buffer:
            file = buffer._open().descriptor
            name = os.fstat(file).st_ino
            buffer.revoke()
            assert os.fstat(file).st_ino == name
            view = buffer.view()
            view[large // 2] = view[-1] = 5
            await executor.execute_nif(library.fill, view[large // 2 + 1 :], 1, 6)
            buffer.revoke()
            assert os.fstat(file).st_ino != name
            assert os.fstat(file).st_blocks * 512 < 1 << 20
            assert (view[large // 2], view[large // 2 + 1], view[-1], view[0]) == (5, 6, 5, 0)

    with_executor(main, max_workers=1)


def test_a_read_only_buffer_stays_so(library: NifLibrary) -> None:
    async def main(executor: NifExecutor) -> None:
        with Buffer(SIZE, readonly=True) as buffer:
            buffer.view()[0] = 3
            assert await executor.execute_nif(library.sum_of, buffer, SIZE) == 3
            buffer.revoke()
            buffer.view()[1] = 4
            with pytest.raises(NifSignal):
                await executor.execute_nif(library.fill, buffer, SIZE, 1)
            assert await executor.execute_nif(library.sum_of, buffer, SIZE) == 7

    with_executor(main, max_workers=1)


def test_a_closed_buffer_can_not_be_revoked() -> None:
    buffer = Buffer(SIZE)
    buffer.close()
    with pytest.raises(NifClosed, match="buffer"):
        buffer.revoke()


def test_where_the_move_fails_the_buffer_is_as_it_was(library: NifLibrary) -> None:
    async def main(executor: NifExecutor) -> None:
        with Buffer(SIZE) as buffer:
            await executor.execute_nif(library.keep, buffer, SIZE)
            for spare in range(3):  # a move takes four
                taken = use_up_descriptors(but=spare)
                with pytest.raises(NifRejected, match="could not be moved"):
                    buffer.revoke()
                for each in taken:
                    os.close(each)
                await executor.execute_nif(library.write_to_kept, spare)
                assert set(buffer.view()) == {spare}, "it is still lent"
            buffer.revoke()
            await executor.execute_nif(library.write_to_kept, 9)
            assert set(buffer.view()) == {2}

    with_executor(main, max_workers=1)


def status_of(child: int) -> int:
    return os.waitpid(child, 0)[1]


def test_of_parent_and_child_each_goes_on_with_its_own(library: NifLibrary) -> None:
    async def main(executor: NifExecutor) -> None:
        with Buffer(SIZE) as buffer:
            await executor.execute_nif(library.keep, buffer, SIZE)
            await executor.execute_nif(library.write_to_kept, 1)
            told, tell = os.pipe()
            child = os.fork()
            if not child:
                os.close(tell)
                os.read(told, 1)  # the parent has taken it back, and written to it
                left = set(buffer.view())
                buffer.revoke()
                buffer.view()[0] = 5
                os._exit(0 if left == {2} and set(buffer.view()[1:]) == {2} else 1)
            os.close(told)
            await executor.execute_nif(library.write_to_kept, 2)
            buffer.revoke()
            buffer.view()[1] = 3
            os.close(tell)
            assert status_of(child) == 0
            assert list(buffer.view()[:3]) == [2, 3, 2]

    with_executor(main, max_workers=1)
