"""The heap misused: libc aborts, often with the heap's lock held, and the program goes on.

Fifty ways, which are five kinds with ten sizes: from what tcache keeps, over what the bins keep, to
blocks that have a mapping of their own. Each is done twice, and then all threads use the heap.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests import children, support

if TYPE_CHECKING:
    from pathlib import Path

SIZES = (24, 100, 1000, 1100, 4000, 10_000, 60_000, 130_000, 200_000, 1_000_000)

ON_A_WORKER = (
    "free_twice",
    "free_twice_among_others",
    "overrun",
    "free_the_middle",
    "overwrite_the_top",
)
# There the heap is the program's own: what is written over its books ends it sooner or later.
INLINE = ("free_twice", "free_twice_among_others", "free_the_middle")


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = (children.HERE / "misuse.c").read_text()
    return support.build_library(tmp_path_factory.mktemp("misuse"), source, name="misuse")


def check(library: Path, tier: str, function: str) -> None:
    ending = children.run("misuse.py", library, tier, function, *SIZES, deadline=180)
    assert ending.status == 0, ending.errors
    ways = dict(zip(SIZES, ending.lines, strict=True))
    assert {size: way for size, way in ways.items() if not way.endswith(" works 0")} == {}
    crashes = [way for way in ways.values() if way.startswith("Nif")]
    assert len(crashes) == len(SIZES), "not noticed"


@pytest.mark.parametrize("function", ON_A_WORKER)
def test_the_program_goes_on_after_a_worker_misused_the_heap(library: Path, function: str) -> None:
    check(library, "thread", function)


@pytest.mark.parametrize("function", INLINE)
def test_the_program_goes_on_after_an_inline_call_misused_the_heap(
    library: Path, function: str
) -> None:
    check(library, "inline", function)
