"""Symbolisation, against libraries that are compiled here and whose addresses `nm` tells."""

from __future__ import annotations

import shutil
import subprocess
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest
import structlog
from structlog.testing import capture_logs

from aionif.crash import symbols
from aionif.crash.symbols import build_id, symbolise
from aionif.errors import CrashReport, Frame, Inlined

if TYPE_CHECKING:
    from collections.abc import Iterator

BUILD_ID = "0123456789abcdef0123456789abcdef01234567"

# A label inside the innermost inlined call, so that `nm` tells its address. It has no type, and so
# is no function to a symboliser.
MARK = '__asm__ volatile(".globl at_mark\\nat_mark:");'

C_SOURCE = f"""\
#include <stdlib.h>
static inline __attribute__((always_inline)) int inner(volatile int *p)
{{
    {MARK} int x = *p; /* inner */
    return x;
}}
static inline __attribute__((always_inline)) int middle(volatile int *p)
{{
    return inner(p) + 1; /* middle */
}}
int outer(volatile int *p)
{{
    return middle(p) * 2; /* outer */
}}
__attribute__((noinline)) static void hidden(volatile int *p)
{{
    *p = 1; /* hidden */
}}
__attribute__((noinline)) void last(int *p)
{{
    hidden(p);
    abort(); /* last */
}}
void after(void) {{ __asm__ volatile(""); }}
int main(void) {{ return 0; }}
"""

CXX_SOURCE = f"""\
namespace shapes {{
template <class T> struct Box {{
    __attribute__((noinline)) int poke(T *p);
}};
template <class T> int Box<T>::poke(T *p)
{{
    auto look = [](volatile T *q) __attribute__((always_inline)) {{
        {MARK} return *q; /* lambda */
    }};
    return look(p) + 1; /* poke */
}}
template struct Box<int>;
}}
"""

RUST_SOURCE = """\
pub mod deep {
    pub struct Probe;
    impl Default for Probe {
        #[inline(never)]
        fn default() -> Probe { unsafe { core::arch::asm!("nop") }; Probe } // default
    }
}
#[no_mangle]
pub extern "C" fn entry() { let _probe: deep::Probe = Default::default(); }
"""

FLAGS = ("-g", "-O1", "-fPIC", "-shared", f"-Wl,--build-id=0x{BUILD_ID}")


def run(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def line_of(source: str, marker: str) -> int:
    (line,) = (n for n, text in enumerate(source.split("\n"), 1) if marker in text)
    return line


def symbols_of(library: Path) -> dict[str, tuple[int, int]]:
    """Return address and size of each symbol by its linked name."""
    rows = [row.split() for row in run("nm", "-S", "--defined-only", library).splitlines()]
    return {row[-1]: (int(row[0], 16), int(row[1], 16) if len(row) > 3 else 0) for row in rows}


def build(directory: Path, name: str, source: str, *flags: str) -> Path:
    """Compile the source, keeping it beside the library."""
    code = directory / name
    code.write_text(source)
    library = code.with_suffix(".so")
    compiler = {".c": "cc", ".cc": "c++"}[code.suffix]
    run(compiler, *(flags or FLAGS), code, "-o", library)
    return library


@pytest.fixture(scope="module")
def c_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("c"), "probe.c", C_SOURCE)


@pytest.fixture(scope="module")
def cxx_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("cxx"), "shapes.cc", CXX_SOURCE)


@pytest.fixture(autouse=True)
def empty_cache() -> Iterator[None]:
    symbols._cache.clear()
    yield
    symbols._cache.clear()
    structlog.reset_defaults()  # capture_logs leaves it configured, for the tests that follow


TOOLS = {name: (name, options) for name, options in symbols._TOOLS}


@pytest.fixture(params=TOOLS)
def tool(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Each external symboliser in turn, as the only one."""
    name: str = request.param
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    monkeypatch.setattr(symbols, "_TOOLS", (TOOLS[name],))
    return name


@pytest.fixture
def no_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symbols, "_TOOLS", (("no-such-symboliser", ()),))


def frame_at(library: Path, offset: int, *, is_return_address: bool = False) -> Frame:
    return Frame(
        address=0x7F00_0000_0000 + offset,
        module=str(library),
        build_id=build_id(str(library)),
        offset=offset,
        is_return_address=is_return_address,
    )


def symbolise_one(frame: Frame) -> Frame:
    (result,) = symbolise([frame])
    return result


# --- what is found ------------------------------------------------------------------------------


@pytest.mark.usefixtures("tool")
def test_function_file_and_line(c_library: Path) -> None:
    start, _ = symbols_of(c_library)["hidden"]
    frame = frame_at(c_library, start)
    source = str(c_library.with_suffix(".c"))
    found = symbolise_one(frame)
    assert found.line in range(line_of(C_SOURCE, "void hidden"), line_of(C_SOURCE, "hidden */") + 1)
    assert found == replace(
        frame, symbol="hidden", symbol_offset=0, file=source, line=found.line, inlined=()
    )


@pytest.mark.usefixtures("tool")
def test_inlined_calls(c_library: Path) -> None:
    symbols = symbols_of(c_library)
    mark, _ = symbols["at_mark"]
    source = str(c_library.with_suffix(".c"))
    frame = frame_at(c_library, mark)
    assert symbolise_one(frame) == replace(
        frame,
        symbol="outer",
        symbol_offset=mark - symbols["outer"][0],
        file=source,
        line=line_of(C_SOURCE, "/* outer"),
        inlined=(
            Inlined(function="inner", file=source, line=line_of(C_SOURCE, "/* inner")),
            Inlined(function="middle", file=source, line=line_of(C_SOURCE, "/* middle")),
        ),
    )


@pytest.mark.usefixtures("tool")
def test_a_return_address_belongs_to_the_call_before_it(c_library: Path) -> None:
    # `last` ends in a call that does not return: the address after it is not in `last` any more.
    start, size = symbols_of(c_library)["last"]
    found = symbolise_one(frame_at(c_library, start + size, is_return_address=True))
    assert (found.symbol, found.symbol_offset) == ("last", size)
    assert found.line == line_of(C_SOURCE, "/* last")
    assert symbolise_one(frame_at(c_library, start + size)).symbol != "last"


@pytest.mark.usefixtures("tool")
def test_an_executable_that_is_not_relocated(tmp_path: Path) -> None:
    flags = ("-g", "-O1", "-no-pie", f"-Wl,--build-id=0x{BUILD_ID}")
    program = build(tmp_path, "probe.c", C_SOURCE, *flags)
    start, _ = symbols_of(program)["hidden"]
    found = symbolise_one(frame_at(program, start))
    assert (found.symbol, found.symbol_offset) == ("hidden", 0)
    assert found.line is not None


@pytest.mark.usefixtures("no_tool")
def test_without_a_tool_the_symbol_table_is_read(c_library: Path) -> None:
    start, _ = symbols_of(c_library)["hidden"]
    frame = frame_at(c_library, start + 1)
    with capture_logs() as logs:
        assert symbolise_one(frame) == replace(frame, symbol="hidden", symbol_offset=1)
    assert logs == []


POKE = "_ZN6shapes3BoxIiE4pokeEPi"


def test_cxx_names_and_an_inlined_lambda(cxx_library: Path, tool: str) -> None:
    symbols = symbols_of(cxx_library)
    mark, _ = symbols["at_mark"]
    found = symbolise_one(frame_at(cxx_library, mark))
    assert found.symbol == "shapes::Box<int>::poke(int*)"
    assert found.symbol_offset == mark - symbols[POKE][0]
    assert found.line == line_of(CXX_SOURCE, "/* poke")
    (call,) = found.inlined
    assert call.line == line_of(CXX_SOURCE, "/* lambda")
    # addr2line does not know the lambda's name and gives that of poke instead.
    assert call.function is None or "operator()" in call.function
    assert call.function is not None or tool == "addr2line"


@pytest.mark.usefixtures("no_tool")
def test_cxx_names_are_demangled_without_a_tool(cxx_library: Path) -> None:
    found = symbolise_one(frame_at(cxx_library, symbols_of(cxx_library)[POKE][0]))
    assert found.symbol_text == "shapes::Box<int>::poke(int*)+0x0"


def test_a_name_stays_mangled_where_there_is_no_demangler(
    cxx_library: Path, no_tool: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    del no_tool
    monkeypatch.setattr(symbols, "_demangler", lambda: None)
    found = symbolise_one(frame_at(cxx_library, symbols_of(cxx_library)[POKE][0]))
    assert found.symbol == POKE


@pytest.mark.usefixtures("tool")
@pytest.mark.parametrize("options", [(), ("-Csymbol-mangling-version=v0",)])
def test_rust_names_and_lines(tmp_path: Path, options: tuple[str, ...]) -> None:
    if shutil.which("rustc") is None:
        pytest.skip("rustc is not installed")
    code, library = tmp_path / "probe.rs", tmp_path / "probe.so"
    code.write_text(RUST_SOURCE)
    run("rustc", "--crate-type=cdylib", "-O", "-g", *options, code, "-o", library)
    (start,) = (
        start
        for name, (start, _) in symbols_of(library).items()
        if "Probe" in name and "default" in name
    )
    found = symbolise_one(frame_at(library, start))
    assert found.symbol == "<probe::deep::Probe as core::default::Default>::default"
    assert found.line == line_of(RUST_SOURCE, "// default")
    assert found.file == str(code)


@pytest.mark.parametrize(
    ("mangled", "name"),
    [
        ("_ZN4core9panicking5panic17h0123456789abcdefE", "core::panicking::panic"),
        (
            "_ZN4main4main28_$u7b$$u7b$closure$u7d$$u7d$17h0123456789abcdefE",
            "main::main::{{closure}}",
        ),
        ("plain_c", "plain_c"),
        ("_Zbroken", "_Zbroken"),
        ("_Z" + "N" * 20_000, "_Z" + "N" * 20_000),
    ],
)
def test_demangling(mangled: str, name: str) -> None:
    assert symbols._demangled(mangled) == name


# --- what must not be claimed -------------------------------------------------------------------


@pytest.fixture
def stripped(c_library: Path, tmp_path: Path) -> Path:
    library = tmp_path / "stripped.so"
    run("strip", "-o", library, c_library)
    return library


@pytest.mark.usefixtures("tool")
def test_a_stripped_library_gives_its_exported_names_only(c_library: Path, stripped: Path) -> None:
    symbols = symbols_of(c_library)
    exported = symbolise_one(frame_at(stripped, symbols["outer"][0]))
    assert (exported.symbol, exported.symbol_offset, exported.file) == ("outer", 0, None)
    static = frame_at(stripped, symbols["hidden"][0])
    assert symbolise_one(static) == static, "the nearest exported name would be a wrong one"


@pytest.mark.usefixtures("tool")
def test_a_stripped_copy_does_not_spoil_the_original(c_library: Path, stripped: Path) -> None:
    offset = symbols_of(c_library)["outer"][0]
    assert build_id(str(stripped)) == build_id(str(c_library))
    assert symbolise_one(frame_at(stripped, offset)).file is None
    assert symbolise_one(frame_at(c_library, offset)).file is not None


def test_another_build_at_the_same_path_is_not_believed(tmp_path: Path) -> None:
    library = build(tmp_path, "probe.c", C_SOURCE)
    frame = frame_at(library, symbols_of(library)["outer"][0])
    assert symbolise_one(frame).symbol == "outer"
    flags = [flag.replace(BUILD_ID, "ff" * 20) for flag in FLAGS]
    build(tmp_path, "probe.c", C_SOURCE, *flags)
    assert symbolise_one(frame) == frame
    assert symbolise_one(replace(frame, build_id="FF" * 20)).symbol == "outer"
    library.unlink()
    assert symbolise_one(frame) == frame


def test_a_file_without_a_build_id_does_not_match_one(tmp_path: Path) -> None:
    library = build(tmp_path, "probe.c", C_SOURCE, *FLAGS[:-1], "-Wl,--build-id=none")
    frame = frame_at(library, symbols_of(library)["outer"][0])
    assert frame.build_id is None
    assert symbolise_one(frame).symbol == "outer"
    frame = replace(frame, build_id=BUILD_ID)
    assert symbolise_one(frame) == frame


def test_a_file_replaced_during_the_lookup_is_not_believed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = build(tmp_path, "probe.c", C_SOURCE)
    frame = frame_at(library, symbols_of(library)["outer"][0])
    original = symbols._ask_tools

    def replacing(
        path: str, addresses: list[int], deadline: float
    ) -> dict[int, list[Inlined]] | None:
        answer = original(path, addresses, deadline)
        copy = shutil.copy(library, tmp_path / "copy.so")
        Path(copy).replace(library)
        return answer

    monkeypatch.setattr(symbols, "_ask_tools", replacing)
    assert symbolise_one(frame) == frame
    monkeypatch.undo()
    assert symbolise_one(frame).symbol == "outer"


# --- through a report ---------------------------------------------------------------------------


def expected_text(source: Path) -> str:
    outer, middle, inner = (
        line_of(C_SOURCE, f"/* {name}") for name in ("outer", "middle", "inner")
    )
    return f"""\
Native traceback (most recent call last):
  File "{source}", line {outer}, in outer
    return middle(p) * 2; /* outer */
  File "{source}", line {middle}, in middle (inlined)
    return inner(p) + 1; /* middle */
  File "{source}", line {inner}, in inner (inlined)
    {MARK} int x = *p; /* inner */
boom"""


@pytest.mark.usefixtures("tool")
def test_a_report_with_source_lines(c_library: Path) -> None:
    frame = frame_at(c_library, symbols_of(c_library)["at_mark"][0])
    report = CrashReport(frames=(frame,), message="boom")
    assert report.symbolise().render() == expected_text(c_library.with_suffix(".c"))
    assert report.frames == (frame,), "a report is frozen"


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_off_the_loop(c_library: Path, backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    frame = frame_at(c_library, symbols_of(c_library)["at_mark"][0])
    report = CrashReport(frames=(frame,))
    ticks = []

    async def main() -> CrashReport:
        async with anyio.create_task_group() as group:

            async def tick() -> None:
                while True:
                    ticks.append(anyio.current_time())
                    await anyio.sleep(0.005)

            group.start_soon(tick)
            result = await report.symbolise_async()
            group.cancel_scope.cancel()
        return result

    original = symbols._ask_tools

    def slow(path: str, addresses: list[int], deadline: float) -> dict[int, list[Inlined]] | None:
        time.sleep(0.1)
        return original(path, addresses, deadline)

    monkeypatch.setattr(symbols, "_ask_tools", slow)
    assert anyio.run(main, backend=backend) == report.symbolise()
    assert len(ticks) >= 5
