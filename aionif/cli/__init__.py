"""The `aionif` command."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

import aionif

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ("main",)

_INTERRUPTED = 130  # what a shell makes of SIGINT


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status; `demo` ends the process itself.

    arguments: without the program's name; None for those of the process.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    from aionif.cli import demo  # noqa: PLC0415 - --version and --help need none of it

    try:
        status = demo.run(backend=options.backend, as_json=options.json, verbose=options.verbose)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        status = _INTERRUPTED
    demo.leave(status)
    return None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="aionif", description="Await native functions that may crash, and go on running."
    )
    parser.add_argument("--version", action="version", version=f"aionif {aionif.__version__}")
    commands = parser.add_subparsers(dest="command", title="commands", metavar="")
    demo = commands.add_parser(
        "demo",
        help="call real native code, crash it in every way there is, and go on",
        description="Real work through libz and libsqlite3, then every kind of native crash, in "
        "one process whose event loop ticks on. Exit status: 0 if every call came out as expected, "
        "1 if one did not, 2 if the demonstration could not start.",
    )
    demo.add_argument(
        "--backend",
        choices=("asyncio", "uvloop", "trio"),
        default="asyncio",
        help="the event loop (default: %(default)s)",
    )
    demo.add_argument("--json", action="store_true", help="print one JSON document, and no table")
    demo.add_argument(
        "--verbose",
        action="store_true",
        help="also show what native code and the log wrote to stderr meanwhile",
    )
    return parser
