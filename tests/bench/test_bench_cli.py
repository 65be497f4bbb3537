"""`aionif bench` and `aionif bench compare`, as they are typed. No time is asserted."""

from __future__ import annotations

import io
import re
import signal
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from rich.console import Console

from aionif.bench.result import Cell, Results, load_results, save_results
from aionif.bench.scenarios import SCENARIOS
from aionif.bench.subjects import SUBJECTS
from aionif.cli._bench_progress import shown
from tests.support.benching import synthetic

if TYPE_CHECKING:
    from aionif.bench.result import Status

COMMAND = Path(sysconfig.get_path("scripts"), "aionif")
DEADLINE = 120.0  # seconds, for a few cells
WHOLE = 400.0  # seconds, for all scenarios on a machine that has other things to do

CRC = "unsigned long crc32(unsigned long, const unsigned char *, unsigned int);"


def bench(*arguments: str | Path, deadline: float = DEADLINE) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, "bench", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=deadline,
    )


# ---- the quick form ----

# The others are measured in test_bench_scenarios.py.
MEASURED = "direct,call_nif,thread,process,process-fill,ThreadPoolExecutor,ProcessPoolExecutor"


@pytest.fixture(scope="module")
def quick(tmp_path_factory: pytest.TempPathFactory) -> tuple[Results, str, str]:
    room = tmp_path_factory.mktemp("quick")
    outputs = ("-o", room / "a.json", "--report", room / "a.html")
    done = bench("--quick", "--subject", MEASURED, *outputs, deadline=WHOLE)
    assert done.returncode == 0, done.stderr
    return load_results(room / "a.json"), done.stdout, (room / "a.html").read_text("utf-8")


def test_every_scenario_of_a_quick_run_has_samples(quick: tuple[Results, str, str]) -> None:
    results, _, _ = quick
    assert {each.name for each in results.scenarios} == {
        s.name for s in SCENARIOS.values() if s.quick
    }
    for scenario in results.scenarios:
        for tier in ("thread", "process"):
            [cell] = results.of(scenario.name, tier)
            assert cell.status == "measured", cell
            assert cell.seconds or cell.figures, cell


def test_every_event_was_tried_with_every_tier(quick: tuple[Results, str, str]) -> None:
    seen = {(each.subject, each.event) for each in quick[0].behaviours}
    assert {
        (tier, e) for tier in ("thread", "process") for e in ("crash", "hang", "cancel")
    } <= seen


def test_a_quick_run_is_marked_as_noise_wherever_it_is_shown(
    quick: tuple[Results, str, str],
) -> None:
    results, text, page = quick
    assert results.quick
    assert results.complete
    assert text.startswith("A quick look")
    assert "a quick look: the figures are noise" in page


# ---- a part of it ----


def test_a_function_of_ones_own(tmp_path: Path) -> None:
    done = bench(
        "--quick", "--subject", "direct,thread", "--subject", "process", "--baseline", "thread",
        "--lib", "libz.so.1", "--cdef", CRC, "--call", "crc32(0, b'abc', 3)",
        "-o", tmp_path / "a.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "crc32(0, b'abc', 3) (the baseline is aionif, thread tier)" in done.stdout
    results = load_results(tmp_path / "a.json")
    assert [each.x for each in results.scenarios] == [None, None]
    assert len(results.scenarios) == 2
    assert all(cell.seconds for cell in results.cells if cell.status == "measured")
    assert re.search(r"^crc32\(0, b'abc', 3\): (inline|thread|process)", done.stdout, re.MULTILINE)


def test_a_file_of_ones_own_benchmarks(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "import aionif\nfrom aionif.bench.suite import Suite\n"
        f"z = aionif.load('libz.so.1', {CRC!r})\n"
        "suite = Suite('zlib')\nsuite.call('crc32 of nothing', z.crc32, 0, b'', 0)\n"
    )
    done = bench("--quick", "--subject", "direct,thread", tmp_path / "mine.py")
    assert done.returncode == 0, done.stderr
    assert "crc32 of nothing, 100 in flight (the baseline is" in done.stdout


def test_rounds_and_seed_are_as_given(tmp_path: Path) -> None:
    done = bench(
        "--scenario", "empty", "--subject", "direct", "--rounds", "2", "--seed", "5",
        "--budget", "0.01", "--json", tmp_path / "a.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    results = load_results(tmp_path / "a.json")
    assert (results.rounds, results.seed, len(results.cells)) == (2, 5, 2)


def test_a_run_that_is_interrupted_keeps_what_it_has(tmp_path: Path) -> None:
    run = subprocess.Popen(
        [COMMAND, "bench", "--scenario", "empty", "--subject", "direct,thread",
         "--rounds", "50", "--budget", "0.01", "-o", tmp_path / "a.json"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert run.stderr is not None
        assert any("10 % done" in line for line in run.stderr)
        run.send_signal(signal.SIGINT)
        out, _ = run.communicate(timeout=DEADLINE)
    finally:
        run.kill()
        run.wait()
    assert run.returncode == 130
    assert out.startswith("Interrupted")
    results = load_results(tmp_path / "a.json")
    assert not results.complete
    assert results.cells


# ---- what is refused ----


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--scenario", "emty"], "did you mean 'empty'?"),
        (["--subject", "thread,thredd"], "did you mean 'thread'?"),
        (["--subject", "thread", "--baseline", "thred"], "did you mean 'thread'?"),
        (["--subject", "thread", "--baseline", "direct"], "the baseline 'direct' is not measured"),
        (["--pin", "first"], "Write: --pin 0,1"),
        (["--pin", "4096"], "no CPU 4096"),
        (["--rounds", "0"], "rounds must be 1 or more"),
        (["--quick", "--full"], "not allowed with"),
        (["--call", "abs"], "is not a call"),
        (["--cdef", CRC], "--call says how to call it"),
        (["--cdef", CRC, "--lib", "libnone.so", "--call", "crc32(0, b'', 0)"], "libnone.so"),
        (["no_such_file.py"], "no_such_file.py"),
        (["-o", "/no/such/place/a.json"], "can't be written"),
        (["--report", "/"], "is a directory"),
    ],
)
def test_what_can_not_be_done_is_refused_before_anything_is_measured(
    arguments: list[str], says: str
) -> None:
    done = bench(*arguments)
    assert done.returncode == 2
    assert says in done.stderr
    assert done.stdout == ""


def child(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=DEADLINE
    )


@pytest.mark.parametrize("missing", ["altair", "rich", "vl_convert"])
@pytest.mark.parametrize("arguments", [["bench"], ["bench", "compare", "a.json", "b.json"]])
def test_an_extra_that_is_missing_is_named(missing: str, arguments: list[str]) -> None:
    done = child(
        f"import sys; sys.modules[{missing!r}] = None\n"
        f"from aionif.cli import main; sys.exit(main({arguments!r}))"
    )
    assert done.returncode == 2
    assert f"{missing} is not installed: pip install 'aionif[bench]'" in done.stderr


def test_other_commands_load_nothing_of_it() -> None:
    done = child(
        "import sys\nfrom aionif.cli import main\nmain([])\n"
        "print(sorted({'altair', 'vl_convert', 'aionif.bench'} & set(sys.modules)))"
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_the_list_names_everything() -> None:
    done = bench("--list")
    assert done.returncode == 0
    named = re.findall(r"^  (\S+)", done.stdout, re.MULTILINE)
    assert named == [*SCENARIOS, *SUBJECTS]


# ---- compare ----


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    room = tmp_path_factory.mktemp("files")
    save_results(synthetic(), room / "old.json")
    save_results(synthetic(slower=1.5), room / "new.json")
    (room / "older.json").write_text('{"aionif": {"format": 0}}')
    return room


@pytest.mark.parametrize(
    ("old", "new", "more", "status"),
    [
        ("old", "old", [], 0),
        ("old", "new", [], 1),
        ("new", "old", [], 0),
        ("old", "new", ["--threshold", "300%"], 0),
        ("old", "older", [], 2),
        ("none", "old", [], 2),
        ("old", "new", ["--threshold", "much"], 2),
    ],
)
def test_the_status_of_a_comparison(
    files: Path, old: str, new: str, more: list[str], status: int
) -> None:
    done = bench("compare", files / f"{old}.json", files / f"{new}.json", *more)
    assert done.returncode == status, done.stderr


def test_an_older_file_is_named_with_its_format(files: Path) -> None:
    done = bench("compare", files / "old.json", files / "older.json")
    assert "older.json: has format 0" in done.stderr


# ---- progress ----


def cell(status: Status, note: str = "") -> Cell:
    return Cell(scenario="empty", subject="pebble", round=0, status=status, note=note)


def told(*, terminal: bool) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=100)
    with shown(console) as show:
        for left in range(19, -1, -1):
            show(cell("died", "ended by SIGSEGV") if left == 7 else cell("measured"), left)
    return stream.getvalue()


def test_progress_is_a_line_for_every_tenth_where_there_is_no_terminal() -> None:
    lines = told(terminal=False).splitlines()
    assert [line for line in lines if "done" in line] == [f"{n}0 % done" for n in range(1, 11)]
    assert "empty, pebble: died: ended by SIGSEGV" in lines


def test_progress_is_a_bar_on_a_terminal() -> None:
    text = told(terminal=True)
    assert "empty, pebble: died: ended by SIGSEGV" in text
    assert "\x1b[" in text
    assert "% done" not in text
