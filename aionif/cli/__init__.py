"""The `aionif` command."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

import aionif
from aionif.cli import _bench_arguments

if TYPE_CHECKING:
    from collections.abc import Sequence

    # It has no public name.
    _Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

__all__ = ("main",)

_INTERRUPTED = 130  # what a shell makes of SIGINT


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status; `demo` ends the process itself.

    arguments: without the program's name; None for those of the process.
    """
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments[:2] == ["bench", "compare"]:
        comparing = _bench_arguments.comparing().parse_args(arguments[2:])
        from aionif.cli import bench  # noqa: PLC0415 - --version and --help need none of it

        return bench.compare(comparing)
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command is None:
        parser.print_help()
        return 0
    if options.command == "bench":
        from aionif.cli import bench  # noqa: PLC0415 - the same

        return bench.run(options)
    if options.command == "sandbox":
        from aionif.cli import sandbox  # noqa: PLC0415 - the same

        return sandbox.learn(
            options.function, options.arguments, profile=options.profile, timeout=options.timeout
        )
    if options.command == "top":
        from aionif.cli import top  # noqa: PLC0415 - the same

        return top.run(options.pid, interval=options.interval, once=options.once)
    from aionif.cli import demo  # noqa: PLC0415 - the same

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
    _add_demo(commands)
    _add_sandbox(commands)
    _add_top(commands)
    _bench_arguments.add_bench(commands)
    return parser


def _add_demo(commands: _Commands) -> None:
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


def _add_top(commands: _Commands) -> None:
    top = commands.add_parser(
        "top",
        help="watch the executors of a running program",
        description="Shows workers, queues, rates, latencies and crashes of a process of the same "
        "user that has called aionif.telemetry.top.allow(). Exit status: 0, or 1 if there is no "
        "such process, or it has ended. Needs the extra cli.",
    )
    top.add_argument("pid", type=int)
    top.add_argument("--interval", type=float, default=1.0, metavar="SECONDS")
    top.add_argument("--once", action="store_true", help="print one picture as text")


def _add_sandbox(commands: _Commands) -> None:
    sandbox = commands.add_parser("sandbox", help="find out which policy some code needs")
    actions = sandbox.add_subparsers(
        dest="action", title="actions", metavar="ACTION", required=True
    )
    learn = actions.add_parser(
        "learn",
        help="call a function with nothing denied, and print the policy that it needs",
        description="Calls a function of a module in a child process, and prints as Python code "
        "the policy that this run needed. Exit status: 0 if the function returned, 1 if it did "
        "not, 2 if nothing could be learnt.",
    )
    learn.add_argument("--profile", choices=("compute", "python"), default="compute")
    learn.add_argument("--timeout", type=float, default=60.0, metavar="SECONDS")
    learn.add_argument("function", metavar="MODULE:FUNCTION")
    learn.add_argument("arguments", nargs="*", metavar="ARGUMENT", help="passed as strings")
