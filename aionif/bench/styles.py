"""How a subject is drawn: the same in every chart, and told apart without seeing colours too.

aionif's tiers take blues, teals and violets in thick lines, peers warm colours in thin dashed
ones, the direct call a dotted grey; the families differ for the colour-blind as well. Within a
family a shape tells subjects apart where a colour doesn't. Every colour keeps a contrast of 3 to 1
with the light and with the dark background, the least that WCAG asks of graphics.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import cycle
from typing import TYPE_CHECKING

from aionif.bench.reading import is_floor, is_ours

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aionif.bench.result import Results

__all__ = ("DARK", "LIGHT", "Style", "styles")

LIGHT, DARK = "#ffffff", "#14171c"
"""What charts are drawn on."""

_OURS = ("#1f77d0", "#0f9488", "#8066d6", "#3a92b8", "#5c70c4", "#4d8c6a")
_PEERS = (
    "#d2691e",
    "#b8860b",
    "#c8558f",
    "#a0522d",
    "#8a8a3c",
    "#d1495b",
    "#86776b",
    "#9b6fb0",
    "#6f8f2f",
)
_DASHES = ((6, 3), (2, 2), (9, 3, 2, 3), (4, 2))
_SHAPES = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down")


@dataclass(frozen=True, slots=True, kw_only=True)
class Style:
    """color: as #rrggbb. dash: lengths in pixels, none for a solid line. shape: as Vega names it.

    width: of a line, in pixels.
    """

    color: str
    dash: tuple[int, ...]
    shape: str
    width: float


_FLOOR = Style(color="#7d8590", dash=(1, 3), shape="circle", width=2.0)


def styles(results: Results) -> dict[str, Style]:
    """Return how each subject of a run is drawn, by name."""
    ours, peers = _family(_OURS, ((),), 3.0), _family(_PEERS, _DASHES, 1.5)
    return {
        each.name: _FLOOR if is_floor(each) else next(ours if is_ours(each) else peers)
        for each in results.subjects
    }


def _family(
    colors: tuple[str, ...], dashes: tuple[tuple[int, ...], ...], width: float
) -> Iterator[Style]:
    looks = zip(cycle(colors), cycle(dashes), cycle(_SHAPES), strict=False)
    return (Style(color=c, dash=d, shape=s, width=width) for c, d, s in looks)
