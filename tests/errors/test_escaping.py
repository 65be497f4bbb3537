"""What others wrote is shown, never obeyed: errors, reports and logs are printable text."""

from __future__ import annotations

import logging
from signal import Signals
from typing import Any

import pytest
import structlog

from aionif import NifArgumentError, NifError, NifExit, NifPanic, NifSignal, log
from aionif.errors import CrashReport, Frame, Inlined
from aionif.process.remote_errors import RemoteTraceback
from aionif.supervision.errors import describe
from aionif.system.escape import one_line, printable

# Clears the screen, sets the title, turns the direction of text, forges a line, breaks encoders.
EVIL = (
    "\x1b[2J\x1b]0;title\x07\u202egnp.exe\u2066\nadmin logged in\r\x00\x9b31m\u200b\ud800\U000e0001"
)


def is_plain(text: str, keep: str = "") -> bool:
    return all(char.isprintable() or char in keep for char in text)


def frame(**fields: Any) -> Frame:
    return Frame(address=1, module=f"/lib/{EVIL}.so", offset=1, symbol=EVIL, **fields)


def report() -> CrashReport:
    inlined = (Inlined(function=EVIL, file=EVIL, line=1),)
    return CrashReport(
        signal=Signals.SIGSEGV,
        frames=(frame(), frame(file=EVIL, line=1, inlined=inlined)),
        thread_name=EVIL,
        taint=(EVIL,),
        message=EVIL,
        stderr=EVIL,
    )


ERRORS = [
    NifError(function=EVIL, library=EVIL),
    NifArgumentError(argument="fn", value=EVIL, problem=f"can't be loaded: {EVIL}", remedy=EVIL),
    NifPanic(language="C++", reason=EVIL, type_name=EVIL, report=report()),
    NifSignal(signal=Signals.SIGSEGV, report=report()),
    NifExit(status=1, report=report()),
]


@pytest.mark.parametrize("error", ERRORS, ids=lambda error: type(error).__name__)
def test_errors_are_shown_without_control_characters(error: NifError) -> None:
    assert is_plain(str(error), keep="\n")
    assert is_plain(repr(error))
    assert is_plain(describe(error))
    assert "admin logged in" not in str(error).splitlines()


def test_a_report_is_shown_without_control_characters() -> None:
    shown = NifSignal(signal=Signals.SIGSEGV, report=report()).report
    assert is_plain(shown.render(), keep="\n")
    assert is_plain(shown.describe())
    assert is_plain(shown.headline)
    assert is_plain(NifPanic(language="C++", reason=EVIL).report.headline)
    assert all(map(is_plain, shown.stacktrace))
    lines = shown.render().splitlines()
    assert [line for line in lines if line.startswith("admin")] == []
    assert "  | admin logged in" in lines, "stderr keeps its lines, marked as such"


def test_a_traceback_of_a_worker_has_lines_and_no_controls() -> None:
    shown = str(RemoteTraceback(f"Traceback:\n\tFile {EVIL}"))
    assert "Traceback:\n\tFile" in shown
    assert is_plain(shown, keep="\n\t")


def test_attributes_keep_the_text_as_it_is() -> None:
    assert NifPanic(language="C++", reason=EVIL).reason == EVIL


def test_logs_are_free_of_control_characters(caplog: pytest.LogCaptureFixture) -> None:
    heard: list[dict[str, Any]] = []

    def hear(_event: str, fields: dict[str, Any]) -> None:
        heard.append(fields)

    log.attach(hear)
    try:
        with caplog.at_level(logging.WARNING, "aionif"):
            log.warn("nif_panic", reason=EVIL, number=3)
    finally:
        log.detach(hear)
    (record,) = caplog.records
    assert is_plain(record.getMessage())
    assert heard == [{"reason": printable(EVIL), "number": 3}]


def test_structlog_gets_text_that_a_console_may_show(capsys: pytest.CaptureFixture[str]) -> None:
    structlog.configure(
        processors=[structlog.dev.ConsoleRenderer(colors=False)],
        logger_factory=structlog.PrintLoggerFactory(),
    )
    try:
        log.warn("nif_panic", reason=EVIL.replace(" ", ""))
    finally:
        structlog.reset_defaults()
    assert is_plain(capsys.readouterr().out, keep="\n")


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (
            "plain \N{SNOWMAN} e\N{COMBINING ACUTE ACCENT}",
            "plain \N{SNOWMAN} e\N{COMBINING ACUTE ACCENT}",
        ),
        ("a\tb\nc", r"a\tb\nc"),
        ("\x1b[31m", r"\x1b[31m"),
        ("\u202e\u2028\ufeff", r"\u202e\u2028\ufeff"),
        ("\udc80", r"\udc80"),
    ],
)
def test_what_is_escaped(text: str, shown: str) -> None:
    assert printable(text) == shown
    assert printable("a\nb", keep="\n") == "a\nb"


def test_one_line() -> None:
    assert one_line(" a\n\n b\t\x07") == r"a b \x07"
