"""What multiprocessing shares between processes, in workers and as arguments."""

from __future__ import annotations

import multiprocessing
import socket
import sys
from multiprocessing import shared_memory
from typing import TYPE_CHECKING, Any

import pytest

from aionif import NifArgumentError, NifExecutor
from tests.support import run_on

if TYPE_CHECKING:
    from collections.abc import Iterator


def first_byte(name: str) -> int:
    memory = shared_memory.SharedMemory(name)
    value = bytes(memory.buf or b"")[0]
    memory.close()
    return value


def make_block(value: int) -> str:
    memory = new_block(value)
    memory.close()
    return memory.name


def new_block(value: int) -> shared_memory.SharedMemory:
    memory = shared_memory.SharedMemory(create=True, size=4096)
    assert memory.buf is not None
    memory.buf[0] = value
    return memory


def run_a_process_and_look(name: str) -> int:
    """A process of its own has a worker start a tracker after all."""
    child = multiprocessing.get_context("spawn").Process(target=abs, args=(1,))
    child.start()
    child.join()
    return first_byte(name)


def calls(*each: tuple[Any, ...]) -> list[Any]:
    """Make calls one after another, each in a worker of its own, which ends with it."""

    async def main() -> list[Any]:
        async with NifExecutor(isolation="process", max_calls_per_worker=1) as executor:
            return [await executor.execute_nif(*call) for call in each]

    outcomes: list[Any] = run_on("asyncio", main)
    return outcomes


@pytest.fixture
def block() -> Iterator[shared_memory.SharedMemory]:
    memory = new_block(9)
    yield memory
    memory.close()
    memory.unlink()


def test_a_block_outlives_the_workers_that_open_it(block: shared_memory.SharedMemory) -> None:
    assert calls(*[(first_byte, block.name)] * 3) == [9, 9, 9]
    assert calls((first_byte, block.name)) == [9]


def test_also_where_a_worker_has_child_processes(block: shared_memory.SharedMemory) -> None:
    assert calls((run_a_process_and_look, block.name), (first_byte, block.name)) == [9, 9]


def test_a_block_outlives_the_worker_that_makes_it() -> None:
    (name,) = calls((make_block, 7))
    assert first_byte(name) == 7
    memory = shared_memory.SharedMemory(name)
    memory.close()
    memory.unlink()


@pytest.mark.parametrize("kind", ["connection", "lock", "queue", "socket", "file"])
def test_what_belongs_to_one_process_is_refused(kind: str) -> None:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    with ours, theirs, socket.socket() as unconnected:
        given: dict[str, Any] = {
            "connection": ours,
            "lock": context.Lock(),
            "queue": context.Queue(),
            "socket": unconnected,
            "file": sys.stderr,
        }
        with pytest.raises(NifArgumentError, match="can't be pickled"):
            calls((id, [given[kind]]))
