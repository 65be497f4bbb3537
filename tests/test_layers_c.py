"""The C core's rooms are real: no include and no use of a name points up; no includes in a circle.

A room may use what stands before it in ORDER. Includes alone do not show that: a declaration can be
written anywhere. So names are looked at as well: a name of the core is defined in one file, and no
file in a room below may say it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from pathlib import Path

import pytest

from tests.test_layers import circle_in

CSRC = Path(__file__).parents[1] / "csrc"

# From the bottom up. "" is csrc itself: what Python calls, at the top.
ORDER = ("system", "arch", "threads", "lanes", "faults", "sealing", "workers", "processes", "")

HEIGHT = {room: height for height, room in enumerate(ORDER)}

# These know nothing of each other, whatever the order says.
STRANGERS = {("faults", "lanes"), ("sealing", "lanes"), ("sealing", "faults")}

# What Python sees: everyone may use its types, and what it declares is defined in many rooms.
FACE = ("core.h", "counts.h", "seals.h")

# Beside the core: libraries and a program of their own, and the header for authors of native code.
APART = ("bench", "gallery", "include", "launcher")

# Names that are used below where they are defined, and why no table or callback does instead.
CALLED_BACK = {
    "aionif__enter": "the thunk is assembly of the processor, and the way in for each call",
    "aionif__stop_landed": "the landing is assembly of the processor; stop.c says where it goes on",
    "aionif__stop_personality": "as aionif__personality",
    "aionif__personality": "named by the unwind tables of the assembly; the unwinder calls it",
}

_COMMENT = re.compile(r"/\*.*?\*/|//[^\n]*", re.DOTALL)
_INCLUDE = re.compile(r'^#include "([^"]+)"', re.MULTILINE)
_DIRECTIVE = re.compile(r"^#(?:[^\n]*\\\n)*[^\n]*", re.MULTILINE)
_ATTRIBUTE = re.compile(r"__attribute__\(\((?:[^()]|\([^()]*\))*\)\)")
_BRACES = re.compile(r"\{[^{}]*\}")
_TAG = re.compile(r"\b(struct|union|enum)\s+(aionif_\w+)")
_NAME = re.compile(r"\b(?:tag_)?aionif_\w+")
_LABEL = re.compile(r"^(aionif_\w+):", re.MULTILINE)
# At the outermost level, with "@" for what was in braces.
_FUNCTION = re.compile(r"\b(aionif_\w+)\s*\([^;@]*@")
_VARIABLE = re.compile(r"\b(aionif_\w+)(?:\[\w*\])?\s*(?:=[^;]*)?;")
_TYPE = re.compile(r"\b(tag_aionif_\w+)\s*@")

Files = dict[str, str]


def plain(text: str) -> str:
    """Drop comments, and tell a type from a function of the same name."""
    return _TAG.sub(r"\1 tag_\2", _COMMENT.sub(" ", text))


def read() -> Files:
    """All files of the core, by their names from csrc on."""
    found = {}
    for path in sorted(CSRC.rglob("*")):
        name = path.relative_to(CSRC)
        if path.suffix in (".c", ".h", ".S", ".cc") and name.parts[0] not in APART:
            found[name.as_posix()] = plain(path.read_text(encoding="utf-8"))
    return found


def room_of(file: str) -> str:
    return file.rpartition("/")[0]


def includes_in(text: str) -> set[str]:
    return set(_INCLUDE.findall(text)) - {"aionif.h"}


def defined_in(text: str) -> set[str]:
    """External functions and variables, inline functions, and types."""
    labels = set(_LABEL.findall(text))
    text = _ATTRIBUTE.sub("", _DIRECTIVE.sub("", text))
    text = text.replace('extern "C" {', "").replace("static inline", "")
    while _BRACES.search(text):
        text = _BRACES.sub("@", text)
    found = set(labels)
    for statement in re.findall(r"[^;@]*[;@]", re.sub(r"=\s*@\s*;", "= 0;", text)):
        words = statement.split()
        if not {"static", "extern", "typedef"} & set(words):
            found.update(_FUNCTION.findall(statement), _TYPE.findall(statement))
            announces_a_type = len(words) == 2 and words[0] in ("struct", "union", "enum")
            if "(" not in statement and not announces_a_type:
                found.update(_VARIABLE.findall(statement))
    return found


def rooms_of_names(files: Files) -> dict[str, str]:
    return {
        name: room_of(file)
        for file, text in files.items()
        if file not in FACE
        for name in defined_in(text)
    }


def used_rooms(files: Files) -> list[tuple[str, str, str]]:
    """Which file uses what room, and by what include or name."""
    rooms = rooms_of_names(files)
    found = []
    for file, text in files.items():
        if file in FACE:
            continue
        found += [(file, room_of(name), name) for name in sorted(includes_in(text) - set(FACE))]
        names = set(_NAME.findall(text)) & rooms.keys() - CALLED_BACK.keys()
        found += [(file, rooms[name], name) for name in sorted(names)]
    return found


def that_point_up(files: Files) -> list[str]:
    return [
        f"{file}: {by}"
        for file, room, by in used_rooms(files)
        if HEIGHT[room] > HEIGHT[room_of(file)]
    ]


def between(pair: tuple[str, str], files: Files) -> list[str]:
    """What one of two rooms uses of the other."""
    return [
        f"{file}: {by}"
        for file, room, by in used_rooms(files)
        if {room_of(file), room} == set(pair)
    ]


FILES = read()


def test_every_room_has_its_place() -> None:
    assert {room_of(file) for file in FILES} == set(ORDER)


def test_nothing_points_up() -> None:
    assert not that_point_up(FILES)


@pytest.mark.parametrize("pair", sorted(STRANGERS), ids="-".join)
def test_strangers_stay_strangers(pair: tuple[str, str]) -> None:
    assert not between(pair, FILES)


def test_there_is_no_circle_of_includes() -> None:
    assert not circle_in({file: includes_in(text) for file, text in FILES.items()})


def test_every_include_names_its_room() -> None:
    for file, text in FILES.items():
        assert includes_in(text) <= FILES.keys(), file


def test_names_are_defined_once() -> None:
    files = defaultdict(list)
    for file, text in FILES.items():
        if room_of(file) != "arch":  # where each processor has its own
            for name in defined_in(text):
                files[name].append(file)
    assert not {name: where for name, where in files.items() if len(where) > 1}


def test_lanes_do_not_ask_who_serves() -> None:
    asks = re.compile(r"\bis_process\b|_process_server\b|_thread_server\b")
    assert not [
        file for file, text in FILES.items() if room_of(file) == "lanes" and asks.search(text)
    ]


def test_what_is_called_back_is_needed() -> None:
    rooms = rooms_of_names(FILES)
    for name in CALLED_BACK:
        below = [file for file in FILES if HEIGHT[room_of(file)] < HEIGHT[rooms[name]]]
        assert any(re.search(rf"\b{name}\b", FILES[file]) for file in below), name


def test_what_is_wrong_would_be_seen() -> None:
    wrong = {
        "lanes/a.h": '#include "workers/b.h"\nstruct tag_aionif__a {\n    int x;\n};\n',
        "lanes/a.c": "int f(void) {\n    return aionif__b(1) + aionif__c.x;\n}\n",
        "workers/b.c": "bool\naionif__b(int x) {\n    if (x) {\n        return 1;\n    }\n}\n",
        "processes/c.c": "const struct tag_aionif__a aionif__c = {1};\nint aionif__d;\n",
        "workers/d.c": "static int aionif__e(void) { return aionif__d; }\n",
    }
    assert rooms_of_names(wrong) == {
        "tag_aionif__a": "lanes",
        "aionif__b": "workers",
        "aionif__c": "processes",
        "aionif__d": "processes",
    }
    assert that_point_up(wrong) == [
        "lanes/a.h: workers/b.h",
        "lanes/a.c: aionif__b",
        "lanes/a.c: aionif__c",
        "workers/d.c: aionif__d",
    ]
    assert between(("lanes", "workers"), wrong) == [
        "lanes/a.h: workers/b.h",
        "lanes/a.c: aionif__b",
    ]


def test_a_circle_would_be_seen() -> None:
    wrong = {"lanes/a.h": '#include "lanes/b.h"\n', "lanes/b.h": '#include "lanes/a.h"\n'}
    includes = {file: includes_in(text) for file, text in wrong.items()}
    assert circle_in(includes) == ["lanes/a.h", "lanes/b.h"]
