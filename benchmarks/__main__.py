"""`python -m benchmarks [--json] [--quick] [name...]`: run the measures, print the table."""

from __future__ import annotations

import argparse
import asyncio
import gc
import sys
from typing import TYPE_CHECKING

from aionif.bench import machine
from benchmarks import (
    c_level,
    concurrent,
    crashes,
    in_flight,
    inline,
    open_loop,
    process,
    sealed,
    sequential,
    supervision,
    telemetry,
)
from benchmarks._measure import Row, Scale
from benchmarks._table import as_json, as_table

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

MEASURES: dict[str, Callable[[Scale], Awaitable[list[Row]]]] = {
    "core": c_level.core,
    "call-nif": inline.call_nif_cost,
    "awake": sequential.awake,
    "parked": sequential.parked,
    "at-once": concurrent.at_once,
    "open-loop-1000": open_loop.open_loop_1000,
    "open-loop-10000": open_loop.open_loop_10000,
    "in-flight": in_flight.time_each,
    "memory": in_flight.memory,
    "crashes": crashes.rate,
    "ticker": crashes.ticker,
    "process": process.process,
    "sealed": sealed.sealed,
    "supervision": supervision.children,
    "telemetry": telemetry.watched,
}


def main() -> int:
    """Run what was asked for. The exit status does not depend on the figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quick", action="store_true", help="see that it runs; figures are noise")
    parser.add_argument("name", nargs="*", help=f"of {', '.join(MEASURES)}; default: all")
    options = parser.parse_args()
    unknown = sorted(set(options.name) - set(MEASURES))
    if unknown:
        parser.error(f"no measure named {', '.join(unknown)}; there are {', '.join(MEASURES)}")
    found = machine.facts()
    rows: list[Row] = []
    for name in options.name or MEASURES:
        if sys.stderr.isatty():
            print(f"\r\033[K{name} ...", end="", file=sys.stderr, flush=True)
        rows += asyncio.run(_one(MEASURES[name], Scale(options.quick)))
        gc.collect()
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr, flush=True)
    print((as_json if options.json else as_table)(found, rows))
    return 0


async def _one(measure: Callable[[Scale], Awaitable[list[Row]]], scale: Scale) -> list[Row]:
    return await measure(scale)


if __name__ == "__main__":
    sys.exit(main())
