"""A user's own calls: how they are named, what is refused, and that they are measured."""

from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

import pytest

import aionif
from aionif.bench import PlanError, Suite, WorkError, calls_in, calls_of_library, make_plan, run
from aionif.bench.workload import call_of
from tests.support import run_on

if TYPE_CHECKING:
    from pathlib import Path

CDEF = "unsigned long crc32(unsigned long, const void *, unsigned);"
CRC = 0x352441C2  # of b"abc"

FILE = """
    import ctypes
    import aionif
    from aionif.bench import Suite

    z = aionif.load("libz.so.1", "unsigned long crc32(unsigned long, const void *, unsigned);")
    suite = Suite("mine")
    suite.call("checksum", z.crc32, 0, b"abc", 3)
    suite.call("ctypes", ctypes.CDLL("libc.so.6").abs, -4)
    suite.call("Python", sorted, [3, 1, 2])
"""


@pytest.fixture
def file(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    # Modules are known by their names, so each test has a file of its own name.
    path = tmp_path / f"{request.node.originalname}.py"
    path.write_text(textwrap.dedent(FILE))
    return path


def test_a_call_of_a_library_is_written_as_in_python() -> None:
    (call,) = calls_of_library("libz.so.1", CDEF, ["crc32(0, b'abc', 3)"])
    work = call_of(call)
    assert (call.title, call.slug) == ("crc32(0, b'abc', 3)", "crc32-0-b-abc-3")
    assert work.direct(*work.arguments) == CRC
    assert aionif.call_nif(work.nif, *work.arguments) == CRC
    function, *first = work.remote
    assert function(*first, *work.arguments) == CRC


@pytest.mark.parametrize(
    ("call", "says"),
    [
        ("crc(0)", "Did you mean 'crc32'"),
        ("crc32(0", "is not a call"),
        ("crc32", "is not a call. Write"),
        ("crc32(size)", "must be Python literals"),
        ("crc32(crc=0)", "no arguments by name"),
        ("z.crc32(0)", "is not a call"),
    ],
)
def test_a_wrong_call_is_refused_and_told_why(call: str, says: str) -> None:
    with pytest.raises(WorkError, match=says):
        calls_of_library("libz.so.1", CDEF, [call])


def test_a_library_that_cannot_be_loaded_is_named() -> None:
    with pytest.raises(WorkError, match=r"libnone\.so"):
        calls_of_library("libnone.so", CDEF, ["crc32(0, b'', 0)"])


def test_a_declaration_that_does_not_parse_is_refused() -> None:
    with pytest.raises(WorkError, match="does not parse"):
        calls_of_library("libz.so.1", "unsigned lnog crc32(", ["crc32()"])


def test_calls_of_a_file_are_found_by_title(file: Path) -> None:
    checksum, foreign, python = calls_in(file)
    assert [call.slug for call in (checksum, foreign, python)] == ["checksum", "ctypes", "python"]
    assert call_of(checksum).direct(0, b"abc", 3) == CRC
    assert call_of(foreign).direct(-4) == 4
    assert call_of(python).nif is None
    function, *first = call_of(python).remote
    assert function(*first, [2, 1]) == [1, 2]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "there is no call in it"),
        ("import nothing_of_that_name", "ModuleNotFoundError"),
        ("def f(:", "SyntaxError"),
        ("from aionif.bench import Suite\nSuite('s').call('t', 7)", "7 is not a function"),
    ],
)
def test_a_file_without_calls_is_refused_and_told_why(text: str, says: str, tmp_path: Path) -> None:
    path = tmp_path / f"without_calls_{abs(hash(text))}.py"
    path.write_text(text)
    with pytest.raises(WorkError, match=says):
        calls_in(path)


def test_titles_of_a_suite_are_its_calls_own() -> None:
    suite = Suite("s")
    suite.call("one", abs, 1)
    with pytest.raises(WorkError, match="two calls named 'one'"):
        suite.call("one", abs, 2)


def test_calls_with_like_titles_get_names_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "like_titles.py"
    path.write_text(
        "from aionif.bench import Suite\n"
        "s = Suite('s')\n"
        "s.call('A b', abs, 1)\n"
        "s.call('a-B', abs, 2)\n"
    )
    assert [call.slug for call in calls_in(path)] == ["a-b", "a-b-2"]


def test_a_name_of_the_runners_own_scenarios_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "taken_name.py"
    path.write_text("from aionif.bench import Suite\ns = Suite('s')\ns.call('empty', abs, 1)\n")
    with pytest.raises(PlanError, match="two scenarios named 'empty'"):
        make_plan(own=calls_in(path))


def test_own_calls_are_measured_across_subjects_one_by_one_and_together(file: Path) -> None:
    subjects = ["call_nif", "process", "ThreadPoolExecutor", "anyio.to_process"]
    plan = make_plan(own=calls_in(file), subjects=subjects, quick=True, budget=0.005)
    results = run_on("asyncio", run, plan)
    found = {(cell.subject, cell.scenario): cell for cell in results.cells}
    for subject in subjects:
        assert found[subject, "checksum"].status == "measured", found[subject, "checksum"].note
    for subject in subjects[1:]:
        assert found[subject, "ctypes-x100"].status == "measured"
        assert found[subject, "python"].status == "measured", found[subject, "python"].note
    assert found["call_nif", "python"].status == "unsupported"
    assert not results.behaviours
