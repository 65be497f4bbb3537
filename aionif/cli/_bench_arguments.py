"""The arguments of `aionif bench` and `aionif bench compare`."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    # It has no public name.
    _Commands = argparse._SubParsersAction[argparse.ArgumentParser]  # noqa: SLF001

__all__ = ("add_bench", "comparing")


def add_bench(commands: _Commands) -> None:
    """Add `bench` to the commands."""
    bench = commands.add_parser(
        "bench",
        usage="aionif bench [options] [FILE]\n       aionif bench compare OLD.json NEW.json",
        help="measure what calls cost, and what you would use instead",
        description="Measures aionif's tiers beside thread and process pools, in rounds, and shows "
        "medians, ratios with 95 %% intervals, percentiles, and what each does when a call goes "
        "wrong. Exit status: 0 if it was measured, whatever the figures are; 1 if a tier of aionif "
        "hung, died or failed; 2 if it could not start; 130 if it was interrupted, and what was "
        "found by then is shown and kept. Needs the extra bench.",
    )
    bench.add_argument(
        "file", nargs="?", type=Path, metavar="FILE", help="a file with benchmarks of your own"
    )
    _add_what(bench)
    _add_how(bench)
    _add_own(bench)
    _add_output(bench)


def _add_what(bench: argparse.ArgumentParser) -> None:
    what = bench.add_argument_group("what is measured")
    size = what.add_mutually_exclusive_group()
    size.add_argument(
        "--quick", action="store_true", help="one short round: it shows that everything runs"
    )
    size.add_argument("--full", action="store_true", help="everything (default)")
    for kind in ("scenario", "subject"):
        what.add_argument(
            f"--{kind}",
            action="append",
            default=[],
            metavar="NAME",
            help=f"only this {kind}; several: again, or with commas",
        )
    what.add_argument(
        "--list", action="store_true", help="name the scenarios and the subjects, and stop"
    )


def _add_how(bench: argparse.ArgumentParser) -> None:
    how = bench.add_argument_group("how it is measured")
    how.add_argument("--rounds", type=int, metavar="N", help="default: 4, quick: 1")
    how.add_argument("--seed", type=int, metavar="N", help="of the random order; default: new")
    how.add_argument(
        "--budget", type=float, metavar="SECONDS", help="for each subject, scenario and round"
    )
    how.add_argument(
        "--bound", type=float, metavar="SECONDS", help="after which a cell is taken to hang"
    )
    how.add_argument("--workers", type=int, metavar="N", help="of each subject")
    how.add_argument("--pin", default="", metavar="CPUS", help="use these CPUs alone, as in 0,1")


def _add_own(bench: argparse.ArgumentParser) -> None:
    own = bench.add_argument_group("a function of your own")
    own.add_argument("--lib", metavar="LIBRARY", help="a shared library; default: what is loaded")
    own.add_argument("--cdef", default="", metavar="C", help="its declaration, as in C")
    own.add_argument(
        "--call",
        action="append",
        default=[],
        metavar="CALL",
        help="the call, as in Python, with literals: \"crc32(0, b'abc', 3)\"",
    )


def _add_output(bench: argparse.ArgumentParser) -> None:
    output = bench.add_argument_group("what comes out")
    output.add_argument(
        "--baseline", default="", metavar="SUBJECT", help="what ratios are taken to"
    )
    output.add_argument(
        "-o", "--json", type=Path, metavar="FILE", help="write the results; pyperf reads them too"
    )
    output.add_argument(
        "--report", type=Path, metavar="FILE", help="write a page that opens without a network"
    )


def comparing() -> argparse.ArgumentParser:
    """Return the parser of what follows `aionif bench compare`."""
    parser = argparse.ArgumentParser(
        prog="aionif bench compare",
        description="Tells what became slower from one run to another. Exit status: 0 if nothing "
        "became worse, 1 if something did, beyond the threshold and beyond chance, 2 if a file "
        "can't be read. Needs the extra bench.",
    )
    parser.add_argument("old", type=Path, metavar="OLD.json")
    parser.add_argument("new", type=Path, metavar="NEW.json")
    parser.add_argument(
        "--threshold",
        type=_share,
        default=0.05,
        metavar="PERCENT",
        help="what may change without being named, as in 5%% (default)",
    )
    return parser


def _share(text: str) -> float:
    try:
        value = float(text.removesuffix("%")) / 100
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a percentage. Write: 5%")
    return value
