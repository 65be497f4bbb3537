"""`aionif top`: what the executors and supervisors of a running program do, second by second.

It reads counts through the socket that the program has opened (aionif.telemetry.top). Rates and
quantiles are those between two readings, so they are about now, not about the whole past.
"""

from __future__ import annotations

import sys
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

from aionif.cli._top_reading import Snapshot, read
from aionif.crash.siginfo import signal_name
from aionif.telemetry.series import BREAKER_STATES, Histogram

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Group
    from rich.table import Table

__all__ = ("run",)

_FAILURES = ("crashed", "panicked", "exited", "lost", "timed_out", "rejected")

_TEXTS = (
    "executor",
    "function",
    "crashes by signal",
    "breaker",
    "supervision",
    "strategy",
    "state",
)


def run(pid: int, *, interval: float, once: bool) -> int:
    """Show process `pid` until it ends or the user does; return the exit status.

    once: print one picture, after one interval, and return.
    """
    pictures = _pictures(pid, interval)
    try:
        return _print_one(pictures) if once else _show(pictures)
    except KeyboardInterrupt:
        return 0
    except (FileNotFoundError, ConnectionRefusedError):
        print(
            f"aionif top: process {pid} of this user has no window; "
            "it opens one with aionif.telemetry.top.allow()",
            file=sys.stderr,
        )
    except (OSError, ValueError) as problem:
        print(f"aionif top: {problem}", file=sys.stderr)
    return 1


def _pictures(pid: int, interval: float) -> Iterator[Group]:
    before = read(pid)
    while True:
        time.sleep(interval)
        now = read(pid)
        yield picture(before, now)
        before = now


def _print_one(pictures: Iterator[Group]) -> int:
    from rich.console import Console  # noqa: PLC0415 - the other commands need none of it

    Console(width=None if sys.stdout.isatty() else 100, markup=False).print(next(pictures))
    return 0


def _show(pictures: Iterator[Group]) -> int:
    from rich.live import Live  # noqa: PLC0415 - the same

    with Live(next(pictures), screen=True, auto_refresh=False) as live:
        for each in pictures:
            live.update(each, refresh=True)
    return 0


def picture(before: Snapshot, now: Snapshot) -> Group:
    """Return what is shown for the time between two readings."""
    from rich.console import Group  # noqa: PLC0415 - the same
    from rich.text import Text  # noqa: PLC0415 - the same

    seconds = max(now["time"] - before["time"], 1e-9)
    tainted = ", ".join(now["tainted"])
    title = f"process {now['pid']}" + (f"   TAINTED: {tainted}" if tainted else "")
    tables = [_executors(before, now, seconds), _functions(before, now, seconds)]
    if any(executor["breakers"] for executor in now["executors"].values()):
        tables.append(_breakers(now))
    if now["supervisors"]:
        tables.append(_supervision(now))
    return Group(Text(title), *tables)


def _table(*columns: str) -> Table:
    from rich import box  # noqa: PLC0415 - the same
    from rich.table import Table  # noqa: PLC0415 - the same

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, justify="left" if column in _TEXTS else "right")
    return table


def _add(table: Table, *cells: str) -> None:
    """Add a row of text: in a plain string rich would obey markup, such as that of a name."""
    from rich.text import Text  # noqa: PLC0415 - the same

    table.add_row(*map(Text, cells))


def _executors(before: Snapshot, now: Snapshot, seconds: float) -> Table:
    table = _table("executor", "workers", "busy", "queued", "calls/s", "calls", "replaced")
    for name, executor in now["executors"].items():
        counts = executor["counts"]
        if not counts:
            continue  # call_nif, which has no workers
        earlier = before["executors"].get(name, {}).get("counts", {})
        rate = (counts["submitted"] - earlier.get("submitted", 0)) / seconds
        _add(
            table,
            name,
            str(counts["workers"]),
            str(counts["running"]),
            str(counts["queued"]),
            f"{rate:.1f}",
            str(counts["submitted"]),
            str(sum(executor["restarts"].values())),
        )
    return table


def _functions(before: Snapshot, now: Snapshot, seconds: float) -> Table:
    table = _table(
        "executor",
        "function",
        "calls/s",
        "median",
        "p99",
        "wait p99",
        "failed",
        "crashes by signal",
    )
    earlier = dict(_each_function(before))
    rows = []
    for key, function in _each_function(now):
        past = earlier.get(key)
        rate = sum(function["calls"].values()) - (sum(past["calls"].values()) if past else 0)
        duration, wait = (_between(past, function, of) for of in ("duration", "queue_wait"))
        failed = sum(function["calls"][fate] for fate in _FAILURES)
        crashes = Counter({_signal(number): n for number, n in function["crashes"].items()})
        rows.append((rate, (
            key[0], key[1], f"{rate / seconds:.1f}", _time(duration.quantile(0.5)),
            _time(duration.quantile(0.99)), _time(wait.quantile(0.99)), str(failed),
            ", ".join(f"{name} {n}" for name, n in crashes.most_common()),
        )))  # fmt: skip
    for _, row in sorted(rows, key=lambda row: -row[0]):
        _add(table, *row)
    return table


def _breakers(now: Snapshot) -> Table:
    table = _table("executor", "function", "breaker", "opened")
    rows = []
    for name, executor in now["executors"].items():
        for each in executor["breakers"]:
            states = [state for state in BREAKER_STATES if each.get(state)]
            text = ", ".join(state.replace("_", " ") for state in states)
            rows.append((states == ["closed"], name, each["function"], text, each["openings"]))
    for _, name, function, text, openings in sorted(rows):  # what is not closed comes first
        _add(table, name, function, text, str(openings))
    return table


def _supervision(now: Snapshot) -> Table:
    table = _table("supervision", "strategy", "state", "running", "restarts")
    for supervisor in now["supervisors"]:
        for row in _branch(supervisor, "running", "", ""):
            _add(table, *row)
    return table


def _branch(supervisor: Any, state: str, first: str, rest: str) -> Iterator[tuple[str, ...]]:
    """Make the rows of a supervisor and of what is below it.

    first, rest: what stands before its name, and before those of its children.
    """
    count = f"{supervisor['active']} of {supervisor['specs']}"
    restarts = str(supervisor["restarts"])
    yield first + supervisor["name"], supervisor["strategy"], state, count, restarts
    more = ", ".join(f"{count} {state}" for state, count in supervisor["more"].items())
    children = supervisor["children"]
    for index, child in enumerate(children):
        is_last = not more and index == len(children) - 1
        stem, below = ("└─ ", "   ") if is_last else ("├─ ", "│  ")
        if "supervisor" in child:
            yield from _branch(child["supervisor"], child["state"], rest + stem, rest + below)
        else:
            yield rest + stem + child["id"], "", child["state"], "", ""
    if more:
        yield f"{rest}└─ and {more}", "", "", "", ""


def _each_function(snapshot: Snapshot) -> Iterator[tuple[tuple[str, str, str], Any]]:
    for name, executor in snapshot["executors"].items():
        for function in executor["functions"]:
            yield (name, function["function"], function["library"] or ""), function


def _between(past: Any, now: Any, of: str) -> Histogram:
    if past is None:
        return Histogram(tuple(now[of]))
    return Histogram(tuple(b - a for a, b in zip(past[of], now[of], strict=True)))


def _signal(number: str) -> str:
    return signal_name(int(number)) if int(number) else "other"


def _time(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= scale:
            return f"{seconds / scale:.3g} {unit}"
    return f"{seconds / 1e-9:.0f} ns"
