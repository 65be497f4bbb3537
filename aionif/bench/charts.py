"""The pictures of a run, as Vega-Lite specifications.

They carry no colours of a background: whoever draws them merges a theme in, one of `theme`, so that
a page can follow the reader's light or dark. Times are drawn on logarithmic scales: what counts is
how many times as long something takes. A chart has a parameter `focus`, the name of a subject, or
nothing: every other subject is then drawn faintly.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import altair as alt

from aionif.bench import latency
from aionif.bench.reading import is_ours
from aionif.bench.statistics import distribution, figure, median_seconds
from aionif.bench.styles import styles
from aionif.bench.units import format_count, format_ratio, format_seconds, format_times

if TYPE_CHECKING:
    from collections.abc import Callable

    from aionif.bench.reading import Line
    from aionif.bench.result import Results, ScenarioFacts, SubjectFacts

__all__ = (
    "TOGETHER",
    "Spec",
    "latency_curves",
    "ratio_bars",
    "tail_over_x",
    "theme",
    "throughput_over_x",
    "time_over_x",
)

Spec = dict[str, Any]
"""A Vega-Lite specification."""

TOGETHER = "in-flight"
"""The group whose times a call are those of calls that are awaited together."""

_CURVE = (0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 0.995, 0.999, 0.9995, 0.9999)
_LEAST = 0.9  # a curve that ends before says less than the table
_TICKS = (0.5, 0.9, 0.99, 0.999, 0.9999)
_FAINT = 0.1
_HEIGHT = 260  # pixels
_BAR = 18  # pixels for each subject, at the least
_MARGIN = 1.15  # that many times beyond what is drawn
_FEWEST_TICKS = 3
_ROOM_FOR_FIGURE = 0.65

# A thousandth of a second is "1 ms" on every axis; d3's own "m" suffix would leave out the unit.
_TIME_LABEL = (
    "datum.value >= 1 ? format(datum.value, '~g') + ' s' : "
    "datum.value >= 1e-3 ? format(datum.value * 1e3, '.3~g') + ' ms' : "
    "datum.value >= 1e-6 ? format(datum.value * 1e6, '.3~g') + ' us' : "
    "format(datum.value * 1e9, '.3~g') + ' ns'"
)
_RATIO_LABEL = (
    "datum.value < 1 ? '1/' + format(1 / datum.value, ',.3~r') : format(datum.value, ',.3~r')"
)


def latency_curves(results: Results, scenario: str, *, legend: bool = False) -> Spec | None:
    """Return the latency that ever fewer calls exceed, p25 to p99.99, a line for each subject.

    The horizontal axis gives the same room to every tenth that is left, so that the slowest one in
    a thousand is seen. Shares that fewer than one call lies beyond are left out.
    None: single calls were not timed, or too few.
    """
    rows = [
        _row(subject) | {"x": _nines(share), "share": f"p{share * 100:g}", **_time(seconds)}
        for subject in results.subjects
        for share, seconds in _curve(distribution(results, scenario, subject.name))
    ]
    if max((row["x"] for row in rows), default=0.0) < _nines(_LEAST):
        return None
    ticks = [_nines(share) for share in _TICKS if _nines(share) <= max(row["x"] for row in rows)]
    names = {_nines(share): f"p{share * 100:g}" for share in _TICKS}
    labels = " : ".join(f"abs(datum.value - {x}) < 0.01 ? '{name}'" for x, name in names.items())
    x = alt.X(
        "x:Q",
        title="share of calls",
        axis=alt.Axis(values=ticks, labelExpr=f"{labels} : ''", grid=False),
    )
    y = _time_axis("latency", rows)
    return _curves(results, rows, x, y, ("share", "time"), legend=legend)


def throughput_over_x(results: Results, group: str, *, legend: bool = False) -> Spec | None:
    """Return the calls a second over what a group of scenarios varies. None: nothing measured."""

    def rate(scenario: str, subject: str) -> float | None:
        counted = figure(results, scenario, subject, "calls_per_second")
        seconds = median_seconds(results, scenario, subject)
        return counted if counted is not None or not seconds else 1 / seconds

    rows = _over_x(results, group, rate)
    for row in rows:
        row["rate"] = f"{format_count(row['y'])}/s"
    if not rows:
        return None
    axis = alt.Axis(format="~s", values=_ticks([row["y"] for row in rows]))
    y = alt.Y("y:Q", title="calls a second", scale=_log_scale(rows), axis=axis)
    return _curves(results, rows, _x_axis(rows), y, ("at", "rate"), legend=legend)


def time_over_x(results: Results, group: str, *, legend: bool = False) -> Spec | None:
    """Return the median time over what a group varies. None: nothing measured."""

    def seconds(scenario: str, subject: str) -> float | None:
        return median_seconds(results, scenario, subject)

    rows = [row | _time(row["y"]) for row in _over_x(results, group, seconds)]
    if not rows:
        return None
    y = _time_axis("median time", rows)
    return _curves(results, rows, _x_axis(rows), y, ("at", "time"), legend=legend)


def tail_over_x(results: Results, group: str, *, legend: bool = False) -> Spec | None:
    """Return the 99th percentile over what a group varies. None: single calls were not timed."""

    def p99(scenario: str, subject: str) -> float | None:
        calls = distribution(results, scenario, subject)
        return latency.percentile(calls, 0.99) if calls else None

    rows = [row | _time(row["y"]) for row in _over_x(results, group, p99)]
    if not rows:
        return None
    y = _time_axis("p99 latency", rows)
    return _curves(results, rows, _x_axis(rows), y, ("at", "time"), legend=legend)


def ratio_bars(results: Results, found: list[Line]) -> Spec | None:
    """Return the ratios of `lines`, a bar for each with its 95 % interval. None: no ratios."""
    rows = []
    for line in found:
        over = line.ratio
        if over is None:
            continue
        low, high = (over.low, over.high) if over.bounded else (over.value, over.value)
        text = {"label": format_times(over.value), "ratio": format_ratio(over)}
        row = _row(line.subject) | text
        rows.append(row | {"x": over.value, "low": low, "high": high, "one": 1.0})
    return _bars(results, rows) if rows else None


def theme(*, dark: bool) -> Spec:
    """Return the `config` that draws on a light or on a dark background, itself transparent."""
    ink, faint, grid = (
        ("#d7dce2", "#9aa4af", "#2b3138") if dark else ("#24292f", "#59636e", "#e4e7eb")
    )
    font = "system-ui, -apple-system, 'Segoe UI', 'Liberation Sans', Arial, sans-serif"
    words = {"labelColor": faint, "titleColor": faint, "labelFontSize": 11, "titleFontSize": 11}
    return {
        "background": "transparent",
        "font": font,
        "view": {"stroke": None},
        "axis": {**words, "titleFontWeight": "normal", "gridColor": grid, "domainColor": grid,
                 "tickColor": grid, "labelOverlap": True, "labelSeparation": 8},
        "legend": {**words, "labelColor": ink, "labelLimit": 320, "symbolStrokeWidth": 0},
        "text": {"color": ink},
        "rule": {"color": ink},
    }  # fmt: skip


# ---- rows of data ----


def _row(subject: SubjectFacts) -> dict[str, Any]:
    return {"subject": subject.name, "title": subject.title}


def _time(seconds: float) -> dict[str, Any]:
    return {"y": seconds, "time": format_seconds(seconds)}


def _nines(share: float) -> float:
    return round(-math.log10(1 - share), 4)


def _curve(calls: dict[int, int]) -> list[tuple[float, float]]:
    count = sum(calls.values())
    known = (share for share in _CURVE if round(count * (1 - share), 6) >= 1)
    return [(share, latency.percentile(calls, share)) for share in known]


def _over_x(
    results: Results, group: str, figure_of: Callable[[str, str], float | None]
) -> list[dict[str, Any]]:
    return [
        _row(subject) | {"x": scenario.x, "y": value, "at": scenario.title}
        for scenario in _of_group(results, group)
        for subject in results.subjects
        if (value := figure_of(scenario.name, subject.name)) is not None
    ]


def _of_group(results: Results, group: str) -> list[ScenarioFacts]:
    found = [each for each in results.scenarios if each.group == group and each.x]
    return sorted(found, key=lambda scenario: scenario.x or 0.0)


# ---- how they are drawn ----


def _x_axis(rows: list[dict[str, Any]]) -> alt.X:
    values = sorted({row["x"] for row in rows})
    axis = alt.Axis(values=values, format="~s", grid=False)
    return alt.X("x:Q", title=None, scale=alt.Scale(type="log"), axis=axis)


def _time_axis(title: str, rows: list[dict[str, Any]]) -> alt.Y:
    axis = alt.Axis(labelExpr=_TIME_LABEL, values=_ticks([row["y"] for row in rows]))
    return alt.Y("y:Q", title=title, scale=_log_scale(rows), axis=axis)


def _log_scale(rows: list[dict[str, Any]]) -> alt.Scale:
    low, high = min(row["y"] for row in rows), max(row["y"] for row in rows)
    domain = [low / _MARGIN, high * _MARGIN]
    return alt.Scale(type="log", nice=False, domain=domain)


def _ticks(values: list[float]) -> list[float]:
    """Return the powers of ten in a range; what is between them too, where they are few.

    Vega's own choice for a logarithmic axis is every 2, 3, ... 9 of them: too many to label.
    """
    low, high = min(values) / _MARGIN, max(values) * _MARGIN
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for parts in ((1,), (1, 2, 5)):
        ticks = [float(f"{part}e{power}") for power in powers for part in parts]
        shown = [tick for tick in ticks if low <= tick <= high]
        if len(shown) >= _FEWEST_TICKS:
            break
    return shown


def _curves(  # noqa: PLR0913 - what differs between curves, one each
    results: Results,
    rows: list[dict[str, Any]],
    x: alt.X,
    y: alt.Y,
    told: tuple[str, ...],
    *,
    legend: bool,
) -> Spec:
    drawn = _drawn(results, rows)
    widths = {each.name: look.width for each, look in drawn}
    rows = [row | {"width": widths[row["subject"]]} for row in rows]
    shown = [each.title for each, _ in drawn]
    key = alt.Legend(title=None, orient="bottom", columns=2, symbolSize=60) if legend else None

    def by(values: list[Any]) -> Any:
        return alt.Scale(domain=shown, range=values)

    # One legend for both: Vega-Lite merges those of the same field and title.
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        x=x,
        y=y,
        color=alt.Color("title:N", scale=by([look.color for _, look in drawn]), legend=key),
        opacity=_opacity(),
        tooltip=[alt.Tooltip("title:N", title="subject"), *(alt.Tooltip(f"{n}:N") for n in told)],
    )
    line = base.mark_line(strokeCap="round").encode(
        strokeDash=alt.StrokeDash(
            "title:N", scale=by([list(look.dash) or [1, 0] for _, look in drawn]), legend=None
        ),
        # as it is in the row: a scale would take widths for the ends of a range
        strokeWidth=alt.StrokeWidth("width:Q", scale=None),
    )
    point = base.mark_point(filled=True, size=38).encode(
        shape=alt.Shape("title:N", scale=by([look.shape for _, look in drawn]), legend=key)
    )
    return _finished((line + point).properties(height=_HEIGHT))


def _bars(results: Results, rows: list[dict[str, Any]]) -> Spec:
    drawn = _drawn(results, rows)
    rows = sorted(rows, key=lambda row: row["x"])
    scale = alt.Scale(domain=[e.title for e, _ in drawn], range=[look.color for _, look in drawn])
    base = alt.Chart(alt.InlineData(values=rows)).encode(
        # In the order of the rows: an order by name would put titles into an expression, and Vega's
        # parser takes some characters there for the end of a line.
        y=alt.Y("title:N", sort=None, title=None, axis=alt.Axis(labelLimit=190, ticks=False)),
        opacity=_opacity(),
        tooltip=[alt.Tooltip("title:N", title="subject"), alt.Tooltip("ratio:N")],
    )
    x = alt.X(
        "x:Q",
        title=None,
        scale=_ratio_scale(rows),
        axis=alt.Axis(labelExpr=_RATIO_LABEL, values=_ticks(_edges(rows))),
    )
    bar = base.mark_bar(height={"band": 0.62}, cornerRadius=2).encode(
        x=x, x2="one:Q", color=alt.Color("title:N", scale=scale, legend=None)
    )
    interval = base.mark_rule(strokeWidth=1.5).encode(x="low:Q", x2="high:Q")
    words = (
        base.mark_text(align="left", dx=5, fontSize=10)
        .encode(x="far:Q", text="label:N")
        .transform_calculate(far="max(datum.high, 1)")
    )
    same = alt.Chart(alt.InlineData(values=[{"x": 1}])).mark_rule(strokeDash=[2, 2]).encode(x="x:Q")
    return _finished(
        (bar + interval + words + same).properties(height=max(_HEIGHT, _BAR * len(rows)))
    )


def _ratio_scale(rows: list[dict[str, Any]]) -> alt.Scale:
    low, high = _edges(rows)
    # each figure stands to the right of its bar: on a narrow page, two fifths of the width
    room = (high / low) ** _ROOM_FOR_FIGURE
    return alt.Scale(type="log", nice=False, domain=[low / _MARGIN, high * max(room, 1.5)])


def _edges(rows: list[dict[str, Any]]) -> list[float]:
    return [min(1.0, *(row["low"] for row in rows)), max(1.0, *(row["high"] for row in rows))]


def _drawn(results: Results, rows: list[dict[str, Any]]) -> list[tuple[SubjectFacts, Any]]:
    """Return the subjects that are in a chart, aionif's last: they lie above the others."""
    looks, present = styles(results), {row["subject"] for row in rows}
    found = [(each, looks[each.name]) for each in results.subjects if each.name in present]
    return sorted(found, key=lambda pair: is_ours(pair[0]))


def _opacity() -> Any:
    chosen = "focus === '' || datum.subject === focus"
    return alt.condition(chosen, alt.value(1), alt.value(_FAINT))


def _finished(chart: Any) -> Spec:
    focused = chart.add_params(alt.param(name="focus", value=""))
    spec: Spec = focused.properties(width="container").to_dict()
    spec.pop("config", None)  # altair's own theme: that of the page is merged in
    return spec
