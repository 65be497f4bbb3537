"""Rooms are real: no import points up or in a circle; what is public is listed, documented."""

from __future__ import annotations

import ast
import importlib
import inspect
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import aionif

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(aionif.__file__).parent

COMPILED = "_core"

# From the bottom up: rooms, and the public faces between them, each of which may use what is before
# it. "" is the package itself.
ORDER = (
    "system",
    "log",
    "crash",
    "errors",
    "core",
    "telemetry",
    "filters",
    "limits",
    "breaker",
    "sandbox",
    "policy",
    "binding",
    "memory",
    "buffer",
    "sealing",
    "process",
    "loops",
    "calls",
    "inline",
    "executor",
    "default",
    "library",
    "futures",
    "supervision",
    "testing",
    "",
    "bench",
    "cli",
)

HEIGHT = {name: height for height, name in enumerate(ORDER)}

# Loaded by path where the package must not be, and importing nothing of it.
ALONE = (
    "process.child",
    "process.child_group",
    "process.child_outlet",
    "process.child_python",
    "process.child_sharing",
    "process.child_stderr",
    "process.child_template",
    "process.child_worker",
    "process.child_zygote",
    "process.message",
    "bench._bare.aionif_bench_work",
)

# The loops do not know each other.
LOOPS = ("loops.on_asyncio", "loops.on_trio", "loops.on_thread")


def modules() -> set[str]:
    files = (path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.py"))
    return {".".join(file.parts).removesuffix("__init__").removesuffix(".") for file in files}


MODULES = sorted(modules())


def room_of(module: str) -> str:
    return module.partition(".")[0]


@cache
def tree_of(module: str) -> ast.Module:
    path = PACKAGE.joinpath(*module.split(".")) if module else PACKAGE
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


def imports(node: ast.AST) -> Iterator[str]:
    """What of this package is imported anywhere in `node`: modules."""
    for found in ast.walk(node):
        if isinstance(found, ast.Import):
            names = [alias.name for alias in found.names]
        elif isinstance(found, ast.ImportFrom):
            assert not found.level, "imports are absolute"
            module = found.module or ""
            inner = [f"{module}.{alias.name}" for alias in found.names]
            names = [name if is_module(name) else module for name in inner]
        else:
            continue
        for name in names:
            if name == "aionif" or name.startswith("aionif."):
                yield name.removeprefix("aionif").removeprefix(".")


def is_module(name: str) -> bool:
    return name.removeprefix("aionif.") in {*MODULES, COMPILED}


def that_point_up(module: str, tree: ast.Module) -> list[str]:
    """Return what the module imports, anywhere in it, that stands above its room."""
    height = HEIGHT[room_of(module)]
    used = set(imports(tree)) - {COMPILED}
    return sorted(imported for imported in used if HEIGHT[room_of(imported)] > height)


def circle_in(graph: dict[str, set[str]]) -> list[str]:
    """Return the members of one circle of imports; empty if there is none."""
    left = dict(graph)
    while left:
        free = [name for name, used in left.items() if not used & left.keys()]
        if not free:
            return sorted(left)
        for name in free:
            del left[name]
    return []


def test_every_room_has_its_place() -> None:
    assert {room_of(module) for module in MODULES} == set(ORDER)


@pytest.mark.parametrize("module", MODULES)
def test_no_import_points_up(module: str) -> None:
    assert not that_point_up(module, tree_of(module))


def test_there_is_no_circle_within_a_room_either() -> None:
    graph = {module: set(imports(tree_of(module))) & set(MODULES) for module in MODULES}
    # A room's own file is loaded with each of its modules: what it shows of them makes no circle.
    for module, used in graph.items():
        used -= {"", module}
    assert not circle_in(graph)


@pytest.mark.parametrize(
    "source",
    [
        "import aionif.calls.submit",
        "from aionif.calls import submit",
        "from aionif.calls.submit import Route",
        "def late():\n    from aionif.calls.submit import Route",
        "if TYPE_CHECKING:\n    from aionif.calls.submit import Route",
        "from aionif.loops import port\nfrom aionif.calls import submit",
    ],
)
def test_an_import_that_points_up_would_be_seen(source: str) -> None:
    assert that_point_up("loops.port", ast.parse(source)) == ["calls.submit"]
    assert not that_point_up("calls.caller", ast.parse(source))


def test_an_import_of_the_package_itself_would_be_seen() -> None:
    assert that_point_up("loops.port", ast.parse("import aionif")) == [""]


def test_a_circle_would_be_seen() -> None:
    assert not circle_in({"a": {"b"}, "b": {"c"}, "c": set(), "d": {"a"}})
    assert circle_in({"a": {"b"}, "b": {"c"}, "c": {"a"}, "d": {"a"}}) == ["a", "b", "c", "d"]


@pytest.mark.parametrize("module", LOOPS)
def test_loops_do_not_know_each_other(module: str) -> None:
    assert not set(imports(tree_of(module))) & set(LOOPS)


@pytest.mark.parametrize("module", ALONE)
def test_what_is_loaded_alone_imports_nothing_of_the_package(module: str) -> None:
    assert not set(imports(tree_of(module)))


def test_every_room_says_what_it_is_for_and_may_use() -> None:
    for room in ORDER:
        if room and (PACKAGE / room).is_dir() and room not in ("bench", "cli", "errors", "futures"):
            text = ast.get_docstring(tree_of(room)) or ""
            assert "May use" in text or room == "testing", room


def test_the_core_has_one_importer() -> None:
    assert [name for name in MODULES if COMPILED in imports(tree_of(name))] == ["core.native"]


@pytest.mark.parametrize("module", [name for name in MODULES if not name.startswith("cli")])
def test_what_a_module_offers_is_a_tuple_in_order(module: str) -> None:
    loaded = importlib.import_module(f"aionif.{module}".removesuffix("."))
    offered = getattr(loaded, "__all__", ())
    assert isinstance(offered, tuple)
    assert len(set(offered)) == len(offered)
    for name in offered:
        assert hasattr(loaded, name)


def public() -> Iterator[tuple[str, object]]:
    """Everything public, and the public members of its classes."""
    for name in aionif.__all__:
        thing = getattr(aionif, name)
        yield name, thing
        if inspect.isclass(thing):
            for member, value in vars(thing).items():
                if not member.startswith("_") and (callable(value) or isinstance(value, property)):
                    yield f"{name}.{member}", value


@pytest.mark.parametrize(("name", "thing"), list(public()), ids=lambda part: str(part)[:40])
def test_what_is_public_has_a_docstring(name: str, thing: object) -> None:
    text = inspect.getdoc(thing)
    assert text, name
    assert text.strip().endswith((".", ":", ")")), f"{name}: {text!r}"
    if inspect.isclass(thing):
        assert not text.startswith(f"{name}("), "the docstring that dataclass makes"


def test_the_package_lists_what_it_imports() -> None:
    names = {name for name in vars(aionif) if not name.startswith("_")}
    names -= {"annotations", *modules()}
    assert names == set(aionif.__all__)
    assert list(aionif.__all__) == sorted(aionif.__all__)
