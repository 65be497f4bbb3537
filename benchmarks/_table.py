"""The table, for people and for machines."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from benchmarks._measure import Row

__all__ = ("as_json", "as_table")

_VERDICTS = {True: "pass", False: "MISS", None: ""}
_SIGNS = {"low": "<=", "high": ">="}


def _number(value: float) -> str:
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 100 else f"{value:.0f}"


def _figure(row: Row) -> tuple[str, str]:
    if row.value is None:
        return "-", row.problem
    spread = f"{_number(min(row.samples))} to {_number(max(row.samples))}"
    return f"{_number(row.value)} {row.unit}", spread


def _target(row: Row) -> str:
    return "" if row.target is None else f"{_SIGNS[row.better]} {_number(row.target)} {row.unit}"


def as_table(machine: dict[str, str], rows: Iterable[Row]) -> str:
    """Return the machine's facts and one line a row, in columns."""
    lines = [f"{key + ':':<10}{value}" for key, value in machine.items()]
    cells = [("measure", "median", "rounds", "target", "", "behind it")]
    for row in rows:
        value, spread = _figure(row)
        cells.append((row.name, value, spread, _target(row), _VERDICTS[row.passed], row.detail))
    widths = [max(len(line[column]) for line in cells) for column in range(len(cells[0]))]
    lines.append("")
    for line in cells:
        padded = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        lines.append("  ".join(padded).rstrip())
    return "\n".join(lines)


def as_json(machine: dict[str, str], rows: Iterable[Row]) -> str:
    """Return the same as one JSON object: {"machine": {...}, "rows": [...]}."""
    return json.dumps(
        {
            "machine": machine,
            "rows": [
                {
                    "name": row.name,
                    "unit": row.unit,
                    "value": row.value,
                    "samples": row.samples,
                    "target": row.target,
                    "better": row.better,
                    "passed": row.passed,
                    "detail": row.detail,
                    "problem": row.problem,
                }
                for row in rows
            ],
        },
        indent=1,
    )
