"""The page of a run: what is drawn, that nothing is loaded, and that no title breaks it."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import altair as alt
import pytest
import vl_convert

from aionif.bench import charts
from aionif.bench.markup import Markup, as_data, join, tag
from aionif.bench.page import page_of
from aionif.bench.reading import lines
from aionif.bench.styles import DARK, LIGHT, styles
from tests.support import chromium
from tests.support.benching import BASELINE, renamed, synthetic

if TYPE_CHECKING:
    from pathlib import Path

    from aionif.bench.result import Results

RESULTS = synthetic()
EVIL = "</script><script>alert(1)</script><!-- \"'&\u2028"


class Reader(HTMLParser):
    """Collects what a browser would see: the tags, the text of scripts by id, what is loaded."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.scripts: dict[str, str] = {}
        self.loads: list[str] = []
        self._script: str | None = None
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, name: str, attributes: list[tuple[str, str | None]]) -> None:
        found = dict(attributes)
        self.tags.append(name)
        self._script = (
            found.get("id") or f"script-{len(self.scripts)}" if name == "script" else None
        )
        self.loads += [found[key] or "" for key in ("src", "href") if key in found]

    def handle_endtag(self, name: str) -> None:
        if name == "script":
            self._script = None

    def handle_data(self, data: str) -> None:
        if self._script:
            self.scripts[self._script] = self.scripts.get(self._script, "") + data
        else:
            self.text += data


@pytest.fixture(scope="module")
def page() -> str:
    return page_of(renamed(synthetic(slower=100.0), "pebble", EVIL))


@pytest.fixture(scope="module")
def read(page: str) -> Reader:
    return Reader(page)


def specs(reader: Reader) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(reader.scripts["specs"])
    return found


def svg_of(spec: charts.Spec) -> str:
    version = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
    svg: str = vl_convert.vegalite_to_svg(
        spec | {"width": 500, "config": charts.theme(dark=False)}, vl_version=version
    )
    return svg


# ---- the page ----


def test_the_page_loads_nothing(read: Reader, page: str) -> None:
    assert [load for load in read.loads if not load.startswith(("#", "data:"))] == []
    assert "default-src 'none'" in page


def test_the_scripts_are_there_once(read: Reader, page: str) -> None:
    assert read.tags.count("script") == 4  # the charts, the themes, what draws, and what calls it
    assert {"specs", "themes"} < set(read.scripts)
    assert page.count("window.vegaEmbed=") == 1


def test_no_title_becomes_markup(read: Reader) -> None:
    assert read.tags.count("script") == 4
    assert EVIL in read.text
    assert EVIL in json.dumps(specs(read), ensure_ascii=False).replace('\\"', '"')


def test_every_chart_has_its_place_and_every_place_its_chart(read: Reader, page: str) -> None:
    places = re.findall(r'<div id="(chart-\d+)"', page)
    assert places == list(specs(read))


def test_the_page_says_what_the_results_say(read: Reader) -> None:
    titles = {each.title for each in RESULTS.subjects} | {each.title for each in RESULTS.scenarios}
    for title in titles - {"pebble.ProcessPool (forkserver)"}:
        assert title in read.text
    for text in (RESULTS.command, *RESULTS.warnings, *RESULTS.machine.values(), "pip install loky"):
        assert text in read.text
    assert "Where aionif is slower" in read.text
    assert "aionif, thread tier" in read.text


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"quick": True}, "a quick look"),
        ({"complete": False}, "interrupted"),
        ({"rounds": 1}, "One round has no intervals"),
        ({"cells": (), "behaviours": ()}, "Nowhere"),
    ],
)
def test_what_is_to_be_known_of_a_run_is_said(changes: dict[str, Any], says: str) -> None:
    few = replace(RESULTS, scenarios=RESULTS.scenarios[:1], cells=RESULTS.of("empty", "thread"))
    assert says in Reader(page_of(replace(few, **changes))).text


# ---- the charts ----


def every_chart(results: Results) -> dict[str, charts.Spec | None]:
    return {
        "latency": charts.latency_curves(results, "empty"),
        "legend": charts.latency_curves(results, "empty", legend=True),
        "ratio": charts.ratio_bars(results, lines(results, "empty", BASELINE)),
        "throughput": charts.throughput_over_x(results, "in-flight"),
        "time": charts.time_over_x(results, "arguments"),
        "tail": charts.tail_over_x(results, "arrivals"),
    }


@pytest.mark.parametrize("name", every_chart(RESULTS))
def test_a_chart_draws_marks(name: str) -> None:
    spec = every_chart(RESULTS)[name]
    assert spec is not None
    svg = svg_of(spec)
    drawn = {look.color for subject, look in styles(RESULTS).items() if subject != BASELINE}
    drawn -= {styles(RESULTS)["loky"].color}
    if name in ("throughput", "tail"):
        drawn -= {styles(RESULTS)[subject].color for subject in ("direct", "call_nif")}
    for color in drawn:
        assert color in svg
    assert "NaN" not in svg


def test_a_ratio_of_a_thousand_is_labelled_in_figures() -> None:
    spec = every_chart(RESULTS)["ratio"]
    assert spec is not None
    labels = re.findall(r">(1/[^<]*)</text>", svg_of(spec))
    assert "1/100" in labels
    assert not [label for label in labels if "e" in label]


def test_nothing_is_drawn_of_nothing() -> None:
    empty = replace(RESULTS, cells=())
    assert set(every_chart(empty).values()) == {None}


def test_a_single_subject_in_a_single_scenario_is_drawn() -> None:
    few = replace(RESULTS, cells=(*RESULTS.of("empty", "thread"), *RESULTS.of("empty", BASELINE)))
    for spec in (
        charts.latency_curves(few, "empty"),
        charts.ratio_bars(few, lines(few, "empty", BASELINE)),
    ):
        assert spec is not None
        assert styles(few)["thread"].color in svg_of(spec)


# ---- the colours ----


def luminance(color: str) -> float:
    parts = (int(color[at : at + 2], 16) / 255 for at in (1, 3, 5))
    linear = [p / 12.92 if p <= 0.03928 else ((p + 0.055) / 1.055) ** 2.4 for p in parts]
    return sum(part * weight for part, weight in zip(linear, (0.2126, 0.7152, 0.0722), strict=True))


@pytest.mark.parametrize("background", [LIGHT, DARK])
def test_every_line_is_seen_on_its_background(background: str) -> None:
    for look in styles(RESULTS).values():
        dark, light = sorted((luminance(look.color), luminance(background)))
        assert (light + 0.05) / (dark + 0.05) >= 3, look.color


def test_subjects_are_told_apart_without_colours() -> None:
    looks = [(look.dash, look.shape, look.width) for look in styles(RESULTS).values()]
    assert len(set(looks)) == len(looks)


# ---- the markup ----


def test_text_is_escaped_and_markup_is_not() -> None:
    assert tag("p", "<b>", Markup("<i>x</i>")) == "<p>&lt;b&gt;<i>x</i></p>"
    assert tag("a", "x", href='"', class_="y", data_z="1", hidden=True, open=False) == (
        '<a href="&quot;" class="y" data-z="1" hidden>x</a>'
    )
    assert isinstance(join("a", "b"), Markup)


def test_data_survives_and_can_not_end_its_element() -> None:
    made = as_data({"x": EVIL}, id_="d")
    inside = made.removeprefix('<script type="application/json" id="d">').removesuffix("</script>")
    assert not set(inside) & set("<>&\u2028")
    assert json.loads(inside) == {"x": EVIL}


# ---- in a browser ----


needs_chromium = pytest.mark.skipif(not chromium.PROGRAM, reason="there is no chromium here")


@needs_chromium
def test_a_browser_draws_every_chart_and_asks_for_nothing(page: str, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    seen = chromium.visit(tmp_path / "page.html", tmp_path)
    assert seen.said == ()
    assert seen.hosts == frozenset()
    count = len(specs(Reader(page)))
    plots = re.findall(r'<div id="chart-\d+" class="plot[^>]*>.*?</figure>', seen.html, re.DOTALL)
    assert len(plots) == count
    for plot in plots:
        assert 'data-drawn="yes"' in plot
        assert re.search(r'<g class="mark-(line|rect)[^>]*>.*?<path[^>]* d="M', plot, re.DOTALL)


# Chooses a subject once all is drawn, as a click does.
CHOOSING = """<script>
const wait = setInterval(() => {
  if (!document.body.dataset.drawn) return;
  clearInterval(wait);
  document.querySelector('button[data-subject="thread"]').click();
}, 50);
</script>"""


@needs_chromium
def test_a_subject_that_is_chosen_is_seen_alone(page: str, tmp_path: Path) -> None:
    before, _, after = page.rpartition("</body>")
    (tmp_path / "page.html").write_text(f"{before}{CHOOSING}{after}", encoding="utf-8")
    seen = chromium.visit(tmp_path / "page.html", tmp_path)
    assert seen.said == ()
    pressed = re.findall(r'data-subject="([^"]*)" aria-pressed="true"', seen.html)
    assert pressed == ["thread"]
    looks = styles(RESULTS)
    for name, opacity in (("thread", "1"), (BASELINE, "0.1")):
        lines_of = re.findall(rf'<path [^>]*stroke="{looks[name].color}"[^>]*>', seen.html)
        drawn = [line for line in lines_of if f'opacity="{opacity}"' in line]
        assert len(drawn) > len(RESULTS.scenarios) / 2


@needs_chromium
def test_who_prefers_dark_gets_charts_for_dark(page: str, tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(page, encoding="utf-8")
    for dark in (True, False):
        room = tmp_path / str(dark)
        room.mkdir()
        html = chromium.visit(tmp_path / "page.html", room, dark=dark).html
        labels = charts.theme(dark=dark)["axis"]["labelColor"]
        others = charts.theme(dark=not dark)["axis"]["labelColor"]
        assert f'fill="{labels}"' in html
        assert f'fill="{others}"' not in html


@needs_chromium
def test_a_page_that_complains_and_loads_is_noticed(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(
        "<img src='http://aionif.invalid/x.png'><script>missing()</script>", encoding="utf-8"
    )
    seen = chromium.visit(tmp_path / "page.html", tmp_path)
    assert any("missing is not defined" in line for line in seen.said)
    assert seen.hosts == {"aionif.invalid"}
