"""A map of attention heads: one figure of each head of each layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import altair as alt

from reports.charts.theme import GRID, PAPER, WIDE, Spec, colour_of, data, finished

_ROW = 24
_FEWEST_ROWS, _MOST_ROWS = 3, 6  # of the map, that the legend is as high as


class Cell(NamedTuple):
    """A head's figure, and how it is written."""

    layer: int
    head: int
    value: float
    text: str


def heads(cells: Sequence[Cell], *, title: str, span: tuple[float, float] | None = None) -> Spec:
    """Layers below one another, heads side by side; the stronger the colour, the higher the figure.

    `span` is what the colours go from and to, where maps are to be compared; left out, from the least to the most.
    """
    rows = [cell._asdict() for cell in cells]
    layers = len({cell.layer for cell in cells})
    limits: dict[str, Any] = {} if span is None else {"domain": list(span), "clamp": True}
    scale = alt.Scale(range=[GRID, colour_of("step")], zero=False, **limits)
    height = _ROW * min(max(layers, _FEWEST_ROWS), _MOST_ROWS) - 20
    told = [alt.Tooltip("layer:O"), alt.Tooltip("head:O"), alt.Tooltip("text:N", title=title)]
    view = (
        alt.Chart(data(rows))
        .mark_rect(stroke=PAPER, strokeWidth=2)
        .encode(
            x=alt.X("head:O", title="head", axis=alt.Axis(labelAngle=0)),
            y=alt.Y("layer:O", title="layer"),
            color=alt.Color(
                "value:Q", scale=scale, legend=alt.Legend(orient="right", gradientLength=height, title=title)
            ),
            tooltip=told,
        )
    )
    return finished(view.properties(width=WIDE, height=_ROW * layers))
