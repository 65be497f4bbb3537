"""Symbolisation, against libraries that are compiled here and whose addresses `nm` tells."""

from __future__ import annotations

import shutil
import time
from dataclasses import replace
from typing import TYPE_CHECKING

import anyio
import pytest
from structlog.testing import capture_logs

from aionif.crash import symbols
from aionif.errors import CrashReport, Inlined
from tests.support.symbols import (
    BUILD_ID,
    C_SOURCE,
    MARK,
    build,
    frame_at,
    line_of,
    run,
    symbolise_one,
    symbols_of,
)

if TYPE_CHECKING:
    from pathlib import Path

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


@pytest.fixture(scope="module")
def cxx_library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("cxx"), "shapes.cc", CXX_SOURCE)


@pytest.fixture
def no_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(symbols, "_TOOLS", (("no-such-symboliser", ()),))


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
