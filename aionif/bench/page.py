"""A run as one page that needs nothing else: it opens without a network, today and in ten years.

The scripts that draw the charts (Vega, Vega-Lite, vega-embed) are in the page, once for all charts;
a policy in its head forbids it to load anything. What is drawn is in tables too, and they are there
without scripts. See assets/ for its looks (page.css) and for what it does (page.js).
"""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING

import altair as alt
import vl_convert

from aionif.bench import charts
from aionif.bench.markup import Markup, as_data, join, tag
from aionif.bench.reading import baseline_in, default_baseline, is_ours, lines, title_of_group
from aionif.bench.styles import styles
from aionif.bench.tables import behaviour_grid, loss_grid, missing_grid, time_grid

if TYPE_CHECKING:
    from aionif.bench.result import Results, ScenarioFacts, SubjectFacts
    from aionif.bench.styles import Style
    from aionif.bench.tables import Cells, Grid

__all__ = ("page_of",)

# Vega compiles its expressions with Function(), which the policy calls 'unsafe-eval'.
_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval'; style-src 'unsafe-inline'; "
    "img-src data:"
)
_SHAPES = {
    "circle": "M-3.4,0a3.4,3.4 0 1,0 6.8,0a3.4,3.4 0 1,0 -6.8,0",
    "square": "M-3,-3h6v6h-6z",
    "diamond": "M0,-4.2L4.2,0L0,4.2L-4.2,0z",
    "triangle-up": "M0,-4L4,3.4L-4,3.4z",
    "triangle-down": "M0,4L4,-3.4L-4,-3.4z",
    "cross": "M-1.3,-4h2.6v2.7h2.7v2.6h-2.7v2.7h-2.6v-2.7h-2.7v-2.6h2.7z",
}


def page_of(results: Results, *, baseline: str = "") -> str:
    """Return the page. baseline: the subject of the ratios; empty for the usual one."""
    page = _Page(results, baseline or default_baseline(results))
    body = join(
        page.header(),
        tag("div", page.aside(), tag("main", *page.sections()), class_="columns"),
        as_data(page.specs, id_="specs"),
        as_data({"light": charts.theme(dark=False), "dark": charts.theme(dark=True)}, id_="themes"),
        tag("script", _bundle()),
        tag("script", Markup(_asset("page.js"))),
    )
    head = join(
        Markup('<meta charset="utf-8">'),
        Markup(f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'),
        Markup('<meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup('<meta name="color-scheme" content="light dark">'),
        # without an icon of its own, a browser asks the server for one
        Markup('<link rel="icon" href="data:,">'),
        tag("title", f"aionif bench, {results.created[:10]}"),
        tag("style", Markup(_asset("page.css"))),
    )
    return f'<!doctype html>\n<html lang="en">{tag("head", head)}{tag("body", body)}</html>\n'


def _asset(name: str) -> str:
    return files("aionif.bench").joinpath("assets", name).read_text(encoding="utf-8")


def _bundle() -> Markup:
    version = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    bundle = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;", vl_version=version)
    # in a string or an expression of the scripts, this is the same to JavaScript
    return Markup(bundle.replace("</script", r"<\/script"))


class _Page:
    """What the parts of the page share: the run, and the charts that are in it so far."""

    def __init__(self, results: Results, baseline: str) -> None:
        self.results = results
        self.baseline = baseline
        self.specs: dict[str, charts.Spec] = {}
        self._styles = styles(results)
        self._titles = {subject.name: subject.title for subject in results.subjects}

    # ---- around ----

    def header(self) -> Markup:
        run = self.results
        counts = (
            f"{len(run.subjects)} ways to call native code in {len(run.scenarios)} situations, "
            f"{run.rounds} {'round' if run.rounds == 1 else 'rounds'}"
        )
        when = run.created[:16].replace("T", " ")
        marks = [
            *(["a quick look: the figures are noise"] if run.quick else []),
            *(["interrupted: what was done until then"] if not run.complete else []),
        ]
        return tag(
            "header",
            tag("h1", "aionif ", tag("span", "bench")),
            tag("p", counts, ". ", tag("time", f"{when} UTC", datetime=run.created), class_="lead"),
            *(tag("p", mark, class_="mark") for mark in marks),
            tag("pre", tag("code", run.command), class_="command"),
            self._warnings(),
        )

    def _warnings(self) -> Markup:
        if not self.results.warnings:
            return join()
        items = (tag("li", warning) for warning in self.results.warnings)
        heading = tag("strong", "Doubt these figures")
        return tag("div", heading, tag("ul", *items), class_="warnings", role="note")

    def aside(self) -> Markup:
        keys = [self._key(subject) for subject in self.results.subjects]
        links = [tag("li", tag("a", title, href=f"#{anchor}")) for anchor, title in self._places()]
        return tag(
            "aside",
            tag("h2", "Subjects"),
            tag("p", "Choose one to see it alone.", class_="hint"),
            tag("ul", *keys, class_="keys"),
            tag("h2", "Contents"),
            tag("nav", tag("ul", *links)),
        )

    def _key(self, subject: SubjectFacts) -> Markup:
        version = tag("small", f" {subject.version}") if subject.version else join()
        button = tag(
            "button",
            _sample(self._styles[subject.name]),
            tag("span", subject.title, version),
            type="button",
            data_subject=subject.name,
            aria_pressed="false",
        )
        return tag("li", button, class_="ours" if is_ours(subject) else "peer")

    def _groups(self) -> dict[str, list[ScenarioFacts]]:
        """Return the scenarios by group, those of none under ""; in the order of the run."""
        groups: dict[str, list[ScenarioFacts]] = {}
        for scenario in self.results.scenarios:
            groups.setdefault(scenario.group, []).append(scenario)
        return groups

    def _places(self) -> list[tuple[str, str]]:
        groups = [(f"group-{n}", title_of_group(name)) for n, name in enumerate(self._groups())]
        behaviours = [("behaviour", "When a call goes wrong")] if self.results.behaviours else []
        ends = [("missing", "Not measured"), ("machine", "Machine"), ("method", "Method")]
        return [("losses", "Where aionif is slower"), *behaviours, *groups, *ends]

    # ---- sections ----

    def sections(self) -> list[Markup]:
        groups = self._groups().items()
        return [
            self._losses(),
            *([self._behaviour()] if self.results.behaviours else []),
            *(self._group(n, group, inside) for n, (group, inside) in enumerate(groups)),
            self._missing(),
            self._machine(),
            _section("method", "Method", Markup(_asset("method.html"))),
        ]

    def _losses(self) -> Markup:
        grid = loss_grid(self.results)
        if self.results.rounds == 1:
            text = "One round has no intervals, so nothing can be told apart."
        elif not grid.rows:
            text = "Nowhere: no peer was faster than a tier of aionif by more than chance."
        else:
            text = (
                "Every pair whose 95 % interval leaves out 1. The direct call, which has nothing "
            )
            text += "in between, does not count as a peer."
        return _section("losses", "Where aionif is slower", tag("p", text), _table(grid))

    def _behaviour(self) -> Markup:
        text = "Found by trying: one call goes wrong while others are in flight."
        table = _table(behaviour_grid(self.results), class_="behaviour")
        return _section("behaviour", "When a call goes wrong", tag("p", text), table)

    def _group(self, number: int, group: str, scenarios: list[ScenarioFacts]) -> Markup:
        curves = join()
        if group and len(scenarios) > 1:
            over_x = (
                self._chart(charts.throughput_over_x(self.results, group), "Calls a second")
                # calls in turn say nothing about how many there could be
                if group == charts.TOGETHER
                else self._chart(charts.time_over_x(self.results, group), "Median time")
            )
            tail = self._chart(charts.tail_over_x(self.results, group), "99th percentile")
            curves = tag("div", over_x, tail, class_="charts")
        cards = (self._scenario(scenario) for scenario in scenarios)
        return _section(f"group-{number}", title_of_group(group), curves, *cards)

    def _scenario(self, scenario: ScenarioFacts) -> Markup:
        baseline = baseline_in(self.results, scenario.name, self.baseline)
        found = lines(self.results, scenario.name, baseline)
        bars = charts.ratio_bars(self.results, found)
        drawn = join(
            self._chart(bars, f"Time, over that of {self._titles.get(baseline)}"),
            self._chart(charts.latency_curves(self.results, scenario.name), "Latency"),
        )
        table = _table(time_grid(found, baseline))
        return tag(
            "article",
            tag("h3", scenario.title[:1].upper(), scenario.title[1:]),
            *([tag("div", drawn, class_="charts")] if drawn else []),
            tag("details", tag("summary", "All figures"), table, open=not drawn),
        )

    def _chart(self, spec: charts.Spec | None, title: str) -> Markup:
        if spec is None:
            return join()
        name = f"chart-{len(self.specs)}"
        self.specs[name] = spec
        plot = tag("div", id=name, class_="plot", role="img", aria_label=title)
        return tag("figure", tag("figcaption", title), plot)

    def _missing(self) -> Markup:
        grid = missing_grid(self.results)
        text = "" if grid.rows else "Every subject was measured in every scenario."
        return _section("missing", "Not measured", tag("p", text), _table(grid))

    def _machine(self) -> Markup:
        rows = (
            join(tag("dt", name), tag("dd", fact)) for name, fact in self.results.machine.items()
        )
        return _section("machine", "Machine", tag("dl", *rows))


# ---- parts ----


def _section(anchor: str, title: str, *content: Markup) -> Markup:
    return tag("section", tag("h2", title), *content, id=anchor)


def _table(grid: Grid, class_: str = "") -> Markup:
    if not grid.rows:
        return join()
    head = (
        tag("th", name, scope="col", class_="" if column < grid.words else "figure")
        for column, name in enumerate(grid.head)
    )
    body = (_table_row(row, grid.words) for row in grid.rows)
    table = tag("table", tag("thead", tag("tr", *head)), tag("tbody", *body), class_=class_)
    # focusable, so that it can be scrolled with keys
    return tag("div", table, class_="scroll", tabindex="0", role="region", aria_label="table")


def _table_row(row: Cells, words: int) -> Markup:
    first, *others = row.texts
    cells = (
        tag("td", text, class_=f"{'' if at < words else 'figure'} {row.tone(at)}".strip())
        for at, text in enumerate(others, start=1)
    )
    heading = tag("th", first, scope="row", class_=row.tone(0))
    return tag("tr", heading, *cells, data_subject=row.subject, class_="ours" if row.ours else "")


def _sample(style: Style) -> Markup:
    """Return what a subject's line looks like."""
    line = tag(
        "path", d="M0,7H34", fill="none", stroke=style.color, stroke_width=str(style.width),
        stroke_dasharray=" ".join(map(str, style.dash)) or "none", stroke_linecap="round",
    )  # fmt: skip
    point = tag("path", d=_SHAPES[style.shape], fill=style.color, transform="translate(17,7)")
    return tag("svg", line, point, width="34", height="14", aria_hidden="true")
