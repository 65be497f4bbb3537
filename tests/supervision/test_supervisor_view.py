"""The supervision tree as it is seen from outside: as plain data, and on the screen of `top`."""

from __future__ import annotations

import json
from io import StringIO
from typing import Any

import anyio
import pytest
from rich.console import Console

from aionif import ChildSpec, NifBreaker, NifExecutor, NifPolicy, NifSignal, NifSupervisor, call_nif
from aionif.cli.top import picture
from aionif.supervision import tree
from aionif.supervision.tree import MOST_LISTED, supervision_tree
from aionif.telemetry.top import _snapshot
from tests.support import gather, load_gallery
from tests.support.supervising import Script, settle


def screen() -> list[str]:
    """Return what `aionif top` shows of this process, line by line."""
    now = json.loads(json.dumps(_snapshot()))
    text = StringIO()
    Console(file=text, width=200).print(picture(now, now))
    return [line.rstrip() for line in text.getvalue().splitlines()]


def below(*headings: str) -> list[list[str]]:
    """Return the cells of the table with these headings."""
    lines = screen()
    start = next(index for index, line in enumerate(lines) if {*headings} <= {*line.split()})
    rows = []
    for line in lines[start + 2 :]:
        if not line.strip():
            break
        rows.append([cell.strip() for cell in line.split("  ") if cell.strip()])
    return rows


def child_supervisor(name: str, children: Any, **settings: Any) -> ChildSpec:
    return ChildSpec(id=name, start=NifSupervisor(children, name=name, **settings))


def test_the_tree_is_told_from_the_top(run: Any) -> None:
    async def main() -> None:
        script = Script()
        inner = child_supervisor("inner", script.children("bc"), strategy="rest_for_one")
        top = [script.child("a"), inner, script.child("d", restart="transient")]
        async with NifSupervisor(top, name="outer"):
            await script.crash("b")
            script.end("d")
            await settle()
            [outer] = supervision_tree()
            assert (outer["name"], outer["strategy"]) == ("outer", "one_for_one")
            assert (outer["restarts"], outer["active"], outer["specs"]) == (0, 2, 3)
            assert [child["id"] for child in outer["children"]] == ["a", "inner", "d"]
            assert [child["state"] for child in outer["children"]] == [
                "running",
                "running",
                "stopped",
            ]
            within = outer["children"][1]["supervisor"]
            assert (within["strategy"], within["restarts"]) == ("rest_for_one", 1)
            assert [child["id"] for child in within["children"]] == ["b", "c"]
            assert below("supervision") == [
                ["outer", "one_for_one", "running", "2 of 3", "0"],
                ["├─ a", "running"],
                ["├─ inner", "rest_for_one", "running", "2 of 2", "1"],
                ["│", "├─ b", "running"],
                ["│", "└─ c", "running"],
                ["└─ d", "stopped"],
            ]
        assert not supervision_tree()
        assert not [line for line in screen() if "supervision" in line]

    run(main)


def test_of_many_children_some_are_listed_and_the_rest_counted(run: Any) -> None:
    async def main() -> None:
        async with NifSupervisor(name="crowd") as supervisor:
            for number in range(MOST_LISTED + 30):
                name = f"child {number} {'x' * 500}"
                await supervisor.start_child(ChildSpec(id=name, start=anyio.sleep_forever))
            last = child_supervisor("last", ())
            await supervisor.start_child(last)
            [crowd] = supervision_tree()
            assert len(crowd["children"]) == MOST_LISTED + 1
            assert crowd["children"][-1]["id"] == "last"
            assert crowd["more"] == {"running": 30}
            assert len(json.dumps(crowd)) < 4096
            assert below("supervision")[-1] == ["└─ and 30 running"]

    run(main)


def test_of_many_supervisors_some_are_told(run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tree, "MOST_SUPERVISORS", 5)

    def told(nodes: list[Any]) -> int:
        children = [child for node in nodes for child in node["children"]]
        inner = [child["supervisor"] for child in children if "supervisor" in child]
        return len(nodes) + (told(inner) if inner else 0)

    async def main() -> None:
        deep = child_supervisor("0", ())
        for number in range(1, 9):
            deep = child_supervisor(str(number), [deep])
        async with NifSupervisor([deep], name="a"), NifSupervisor(name="b"):
            assert told(supervision_tree()) == 5

    run(main)


def test_breakers_are_shown_with_their_states(run: Any, backend: str) -> None:
    gallery = load_gallery()
    policy = NifPolicy(breaker=NifBreaker(max_crashes=1))

    async def main() -> None:
        async with NifExecutor(policy=policy, name=f"breaks-{backend}") as executor:
            await gather(lambda: executor.execute_nif(gallery.gallery_segv_read))
            rows = [row for row in below("executor", "breaker") if row[0] == f"breaks-{backend}"]
            assert rows == [[f"breaks-{backend}", "gallery_segv_read", "open", "1"]]

    run(main)


def test_inline_calls_that_failed_are_shown_with_the_other_functions() -> None:
    crash = load_gallery().gallery_segv_read
    with pytest.raises(NifSignal):
        call_nif(crash)
    rows = [row for row in below("executor", "function", "failed") if row[0] == "(inline)"]
    [row] = [row for row in rows if row[1] == "gallery_segv_read"]
    assert row[-1].startswith("SIGSEGV ")
    assert not [row for row in below("executor", "workers") if row[0] == "(inline)"]
