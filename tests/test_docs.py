"""The documents say what is so: samples run, links and named tests exist, settings are all there.

A ```python block is a whole program: it is run in a child interpreter, and must end with status 0.
One that has tests is run by pytest, as by a user who has pytest-asyncio and aionif.testing.
Where nothing but blank lines stands between it and a following ```text block, that one is what it
prints to stdout. In it, `...` stands for any text within a line, as in `0x...`, and a line that is
`...` and nothing else for any number of lines. What must not be run is not marked as python.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from dataclasses import dataclass, fields
from inspect import signature
from itertools import zip_longest
from pathlib import Path

import pytest

import aionif
from aionif import NifBreaker, NifExecutor, NifLimits, NifPolicy, Statistics, load
from aionif.loops.core_events import _EVENTS
from tests.support import DEADLINE, no_core_dump

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

LANGUAGES = {"python", "text", "c", "console", "ini"}

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_TEST = re.compile(r"`(\w+\.(?:py|c))::(\w+)`")
_PATH = re.compile(r"`((?:aionif|csrc|tests|docs|benchmarks|examples|tools|cmake)/[\w./-]+)`")


def texts() -> dict[Path, str]:
    return {path: path.read_text(encoding="utf-8") for path in DOCUMENTS}


def prose(text: str) -> str:
    return _FENCE.sub("", text)


def everything() -> str:
    return "\n".join(texts().values())


# ---- samples ----


@dataclass(frozen=True)
class Sample:
    place: str
    code: str
    output: str | None


def samples() -> list[Sample]:
    found = []
    for path, text in texts().items():
        blocks = list(_FENCE.finditer(text))
        for block, following in zip_longest(blocks, blocks[1:]):
            if block[1] != "python":
                continue
            output = None
            if following and following[1] == "text":
                between = text[block.end() : following.start()]
                output = None if between.strip() else following[2]
            line = text.count("\n", 0, block.start()) + 1
            found.append(Sample(f"{path.name}:{line}", block[2], output))
    return found


def pattern(output: str) -> re.Pattern[str]:
    """Return what a program's output must match, whole."""
    lines = [
        r"(?:.*\n)*?" if line == "..." else ".*?".join(map(re.escape, line.split("..."))) + r"\n"
        for line in output.splitlines()
    ]
    return re.compile("".join(lines))


def command_for(sample: Sample, directory: Path) -> list[str]:
    if "def test_" not in sample.code:
        return [sys.executable, "-c", sample.code]
    (directory / "test_sample.py").write_text(sample.code, encoding="utf-8")
    plugins = ("-p", "pytest_asyncio", "-p", "aionif.testing")
    return [sys.executable, "-P", "-m", "pytest", "-q", *plugins, "test_sample.py"]


@pytest.mark.parametrize("sample", samples(), ids=lambda sample: sample.place)
def test_sample(sample: Sample, tmp_path: Path) -> None:
    child = subprocess.run(
        command_for(sample, tmp_path),
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        timeout=DEADLINE,
        preexec_fn=no_core_dump,
    )
    assert child.returncode == 0, child.stderr
    if sample.output is not None:
        assert pattern(sample.output).fullmatch(child.stdout), child.stdout


def test_the_readme_begins_with_a_sample_and_its_output() -> None:
    sample = next(sample for sample in samples() if sample.place.startswith("README.md"))
    code = [line for line in sample.code.splitlines() if line]
    assert len(code) <= 12
    assert sample.output is not None


@pytest.mark.parametrize(
    ("output", "printed", "same"),
    [
        ("at 0x... in f\n", "at 0x2a in f\n", True),
        ("at 0x... in f\n", "at 0x2a\n in f\n", False),
        ("first\n...\nlast\n", "first\nlast\n", True),
        ("first\n...\nlast\n", "first\n1\n2\nlast\n", True),
        ("first\n...\n", "second\n", False),
        ("a.c\n", "abc\n", False),
        ("a\n", "a\nb\n", False),
    ],
)
def test_what_may_be_left_out_of_an_output(output: str, printed: str, *, same: bool) -> None:
    assert bool(pattern(output).fullmatch(printed)) is same


# ---- references ----


def anchors(path: Path) -> set[str]:
    """Return the anchors of a document's headings, as GitHub makes them."""
    headings = re.findall(
        r"^#+ (.+)$", _FENCE.sub("", path.read_text(encoding="utf-8")), re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links(path: Path) -> None:
    for target in _LINK.findall(prose(texts()[path])):
        if re.match(r"[a-z]+:", target):
            continue
        file, _, anchor = target.partition("#")
        destination = (path.parent / file).resolve() if file else path
        assert destination.exists(), target
        assert not anchor or anchor in anchors(destination), target


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_named_tests_exist(path: Path) -> None:
    for file, function in _TEST.findall(texts()[path]):
        [source] = [*ROOT.glob(f"tests/**/{file}")]
        code = source.read_text(encoding="utf-8")
        assert re.search(rf"^(?:async )?(?:def|static \w+) {function}\(", code, re.MULTILINE), (
            function
        )


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_named_files_exist(path: Path) -> None:
    for name in _PATH.findall(prose(texts()[path])):
        assert list(ROOT.glob(name)), name


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_blocks_are_closed_and_of_a_known_kind(path: Path) -> None:
    text = texts()[path]
    assert text.count("```") == 2 * len(_FENCE.findall(text))
    assert {language for language, _ in _FENCE.findall(text)} <= LANGUAGES


# ---- what must not be missing ----


def test_every_public_name_is_documented() -> None:
    text = everything()
    missing = [name for name in aionif.__all__ if not re.search(rf"\b{name}\b", text)]
    assert not missing


def rows(heading: str) -> dict[str, str]:
    """Return the first two cells of each row of the table below a heading of docs/tuning.md."""
    text = (ROOT / "docs/tuning.md").read_text(encoding="utf-8")
    section = text.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    return dict(re.findall(r"^\| `(\w+)` \| ([^|]*?) \|", section, re.MULTILINE))


@pytest.mark.parametrize("cls", [NifPolicy, NifBreaker, NifExecutor])
def test_every_setting_is_documented_with_its_default(cls: type) -> None:
    parameters = signature(cls).parameters.values()
    names = {parameter.name: parameter.default for parameter in parameters}
    documented = rows(cls.__name__)
    assert set(documented) == set(names)
    for name, text in documented.items():
        value = text.split("`")[1]
        assert eval(value, {"NifLimits": NifLimits, "time": time}) == names[name], name


def test_every_count_is_documented() -> None:
    assert set(rows("Statistics")) == {field.name for field in fields(Statistics)}


def test_every_log_event_is_documented() -> None:
    source = (ROOT / "aionif/telemetry/failures.py").read_text(encoding="utf-8")
    events = set(re.findall(r'return "(nif_\w+)"', source))
    events |= {event for event, _ in _EVENTS.values()}
    breakers = (ROOT / "aionif/calls/breakers.py").read_text(encoding="utf-8")
    events |= set(re.findall(r'_log\("(\w+)"', breakers))
    text = (ROOT / "docs/errors.md").read_text(encoding="utf-8")
    assert not [event for event in sorted(events) if f"`{event}`" not in text]


def test_the_settings_of_load_are_documented() -> None:
    text = everything()
    assert all(f"`{name}`" in text for name in signature(load).parameters)
