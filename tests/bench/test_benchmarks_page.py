"""docs/performance.md is made of a run, and of notes on what the run has missed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from aionif.bench.result import save_results
from aionif.bench.scenarios import SCENARIOS
from aionif.bench.subjects import SUBJECTS
from tests.support.benching import renamed, synthetic

if TYPE_CHECKING:
    from aionif.bench.result import Results

ROOT = Path(__file__).resolve().parents[2]
NOTES = (ROOT / "benchmarks" / "notes.md").read_text(encoding="utf-8")
RESULTS = renamed(synthetic(slower=100.0), "pebble", "a|b <c>")


def measure(name: str, *, passed: bool | None, target: float | None = 2.0) -> dict[str, Any]:
    return {
        "name": name, "unit": "x", "value": 1.5, "samples": [1.0, 2.0], "target": target,
        "better": "low", "passed": passed, "detail": "3 / 2 us", "problem": "",
    }  # fmt: skip


ROWS = [
    measure("awaited in turn, worker awake: faster than a thread pool", passed=False),
    measure("something new", passed=False),
    measure("10 to 100,000 in flight: cost a call", passed=True),
    measure("only told", passed=None, target=None),
]


def write(room: Path, results: Results) -> subprocess.CompletedProcess[str]:
    save_results(results, room / "results.json")
    (room / "measures.json").write_text(json.dumps({"rows": ROWS}))
    return run(room / "results.json", room / "measures.json", "--docs", room)


def run(*arguments: Path | str) -> subprocess.CompletedProcess[str]:
    # From the checkout, which is not on the path otherwise: `benchmarks` is not installed.
    code = (
        f"import sys; sys.path.append({str(ROOT)!r}); import runpy;"
        f"sys.argv[1:] = {list(map(str, arguments))!r};"
        "runpy.run_module('benchmarks.page', run_name='__main__')"
    )
    return subprocess.run(
        [sys.executable, "-P", "-c", code], capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    room = tmp_path_factory.mktemp("docs")
    done = write(room, RESULTS)
    assert done.returncode == 0, done.stderr
    return room


@pytest.fixture(scope="module")
def text(written: Path) -> str:
    return (written / "performance.md").read_text(encoding="utf-8")


def test_the_page_says_how_and_where_it_was_measured(text: str) -> None:
    assert RESULTS.command in text
    assert all(fact in text for fact in RESULTS.machine.values())
    assert all(warning in text for warning in RESULTS.warnings)


def test_where_a_peer_is_faster_it_says_why_or_that_nobody_has(text: str) -> None:
    """The run is a made-up one, whose scenarios no note knows."""
    section = text.partition("## Where aionif is slower")[2].partition("\n## ")[0]
    assert "\nWhy:\n" in section
    assert "Not explained yet." in section


def test_every_scenario_has_its_table(text: str) -> None:
    for scenario in RESULTS.scenarios:
        assert f"{scenario.title[1:]}</summary>" in text


def test_what_is_bad_for_aionif_is_in_it(text: str) -> None:
    assert "## Where aionif is slower" in text
    assert "| an empty call | aionif, thread tier |" in text
    assert "**missed**" in text


def test_every_picture_is_there_and_shown(written: Path, text: str) -> None:
    shown = set(re.findall(r"!\[[^]]*\]\(([^)]*)\)", text))
    assert shown == {path.name for path in written.glob("*.svg")}
    assert len(shown) == 4
    for name in shown:
        svg = (written / name).read_text(encoding="utf-8")
        assert svg.startswith("<svg")
        assert len(svg) < 100_000


def test_a_missed_measure_has_its_note_and_a_reached_one_none(text: str) -> None:
    assert "**awaited in turn, worker awake: faster than a thread pool.** A call takes" in text
    assert "**something new.** Not explained yet." in text
    assert "Each turn of the event loop" not in text


def test_every_row_of_a_table_has_as_many_cells_as_its_head(text: str) -> None:
    tables = re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)
    assert len(tables) > len(RESULTS.scenarios)
    for table in tables:
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(counts) == 1, table


def test_a_title_is_no_markup(text: str) -> None:
    assert r"a\|b &lt;c>" in text


@pytest.mark.parametrize("changes", [{"quick": True}, {"complete": False}])
def test_a_run_that_is_not_whole_leaves_the_page_as_it_is(
    changes: dict[str, Any], tmp_path: Path
) -> None:
    done = write(tmp_path, replace(RESULTS, **changes))
    assert done.returncode == 0
    assert "stays as it is" in done.stdout
    assert not (tmp_path / "performance.md").exists()


def test_a_file_that_can_not_be_read_is_named(tmp_path: Path) -> None:
    done = run(tmp_path / "none.json", tmp_path / "measures.json")
    assert done.returncode == 2
    assert "none.json" in done.stderr


def test_every_note_is_about_something_that_there_is() -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    names = re.findall(r"^\| ([^|]*) \|", page, re.MULTILINE)
    names += [f"{scenario}/{subject}" for scenario in SCENARIOS for subject in SUBJECTS]
    for heading in re.findall(r"^## (.*)$", NOTES, re.MULTILINE):
        for beginning in heading.split("|"):
            assert any(name.startswith(beginning.strip()) for name in names), beginning


def test_the_page_of_this_project_explains_all_that_falls_short() -> None:
    page = (ROOT / "docs" / "performance.md").read_text(encoding="utf-8")
    assert "Not explained yet." not in page
