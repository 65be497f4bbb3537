"""The layers are real: no module imports one above it; what is public is listed, and documented."""

from __future__ import annotations

import ast
import importlib
import inspect
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import aionif

if TYPE_CHECKING:
    from collections.abc import Iterator

PACKAGE = Path(aionif.__file__).parent

# From the bottom up. Modules of one line do not import each other. "" is the package itself.
LAYERS = (
    (
        "_cgroup",
        "_child",
        "_child_python",
        "_elf",
        "_frames",
        "_gallery",
        "_log",
        "_message",
        "_processor",
        "_shortage",
        "_siginfo",
        "bench._bare.aionif_bench_work",
        "bench._tree",
        "bench.latency",
        "bench.result",
        "_window",
    ),
    ("_abi", "_symbols", "bench.statistics"),
    ("bench.advise",),
    ("_report",),
    ("errors",),
    ("_native", "_syscalls", "telemetry", "telemetry.log"),
    ("_arena", "_binding", "_bpf", "_checks", "_series", "_zygote"),
    ("_census", "_shared"),
    (
        "_binding_cffi",
        "_binding_ctypes",
        "_catalog",
        "_crash",
        "_profiles",
        "breaker",
        "buffer",
        "limits",
    ),
    ("_breakers", "sandbox"),
    ("policy",),
    ("_seal",),
    ("_pools", "_watched"),
    ("_learn",),
    ("_notices", "telemetry.metrics"),
    ("_wakeup",),
    ("_submit", "_wakeup_trio"),
    ("_admission", "_caller", "_packing", "_remote", "_strands", "inline"),
    ("telemetry.tracing",),
    ("_process_routes",),
    ("_session",),
    ("executor",),
    ("_driver", "library", "supervision", "supervision.errors", "supervision.spec"),
    ("supervision._child", "supervision._report"),
    ("supervision._keeper", "supervision.task_group"),
    ("supervision._server",),
    ("supervision.supervisor",),
    ("supervision.tree",),
    ("telemetry.top",),
    ("futures", "testing"),
    ("",),
    ("bench._clock", "bench.workload"),
    ("bench.subjects", "bench.machine", "bench.suite"),
    ("bench._case",),
    (
        "bench._subjects_own",
        "bench._subjects_threads",
        "bench._timing",
        "bench.scenarios",
    ),
    ("bench.plan",),
    ("bench._subjects_processes", "bench._scenarios_calls", "bench._scenarios_faults"),
    ("bench._scenarios_states",),
    ("bench._cell", "bench._children"),
    ("bench._behave",),
    ("bench.behaviour",),
    ("bench.runner",),
    ("bench",),
    ("bench.markup", "bench.units"),
    ("bench.reading",),
    ("bench.compare", "bench.styles"),
    ("bench.charts", "bench.tables"),
    ("bench.page", "bench.table"),
    (
        "cli._bench_arguments",
        "cli._bench_progress",
        "cli._calls",
        "cli._stderr",
        "cli._ticker",
        "cli.sandbox",
        "cli.top",
    ),
    ("cli._real_work", "cli._specimens", "cli._table", "cli.bench"),
    ("cli.demo",),
    ("cli",),
)

COMPILED = "_core"

# A layer may choose among its own implementations, above it, when it is called.
CHOICES = {
    ("_binding", "_binding_cffi"),
    ("_binding", "_binding_ctypes"),
    ("_wakeup", "_wakeup_trio"),
}

HEIGHT = {name: height for height, names in enumerate(LAYERS) for name in names}


def modules() -> set[str]:
    files = (path.relative_to(PACKAGE).with_suffix("") for path in PACKAGE.rglob("*.py"))
    return {".".join(file.parts).removesuffix("__init__").removesuffix(".") for file in files}


def tree_of(module: str) -> ast.Module:
    path = PACKAGE.joinpath(*module.split(".")) if module else PACKAGE
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text(encoding="utf-8"))


def imports(node: ast.AST) -> Iterator[str]:
    """What of this package is imported anywhere in `node`."""
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
    return name.removeprefix("aionif.") in {*HEIGHT, COMPILED}


def in_functions(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield from imports(node)


def test_every_module_has_its_layer() -> None:
    assert modules() == set(HEIGHT)


@pytest.mark.parametrize("module", HEIGHT)
def test_no_import_points_up(module: str) -> None:
    tree = tree_of(module)
    for imported in set(imports(tree)) - {COMPILED}:
        if (module, imported) in CHOICES:
            assert imported in in_functions(tree), "it would import itself"
        else:
            assert HEIGHT[imported] < HEIGHT[module], f"{module or 'aionif'} imports {imported}"


def test_the_core_has_one_importer() -> None:
    assert [module for module in HEIGHT if COMPILED in imports(tree_of(module))] == ["_native"]


@pytest.mark.parametrize("module", [name for name in HEIGHT if not name.startswith("cli")])
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
