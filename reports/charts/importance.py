"""Head importance: what each head of each layer was worth to the criterion, and which were cut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import altair as alt

from reports.charts.theme import GRID, INK, PAPER, WIDE, Spec, colour_of, data, finished

_ROW = 24


class Head(NamedTuple):
    """A head's score, higher is worth more, and whether it stayed."""

    layer: int
    head: int
    score: float
    kept: bool


def importance(heads: Sequence[Head]) -> Spec:
    """Layers below one another, heads side by side; the stronger the colour, the higher the score; x is a cut head."""
    rows = [
        {"layer": head.layer, "head": head.head, "score": head.score, "fate": "kept" if head.kept else "cut"}
        for head in heads
    ]
    base = alt.Chart(data(rows)).encode(
        x=alt.X("head:O", title="head", axis=alt.Axis(labelAngle=0)), y=alt.Y("layer:O", title="layer")
    )
    told = [
        alt.Tooltip("layer:O"),
        alt.Tooltip("head:O"),
        alt.Tooltip("score:Q", format=".3g"),
        alt.Tooltip("fate:N", title="it was"),
    ]
    legend = alt.Legend(
        orient="right", gradientLength=_ROW * min(5, len({head.layer for head in heads})), title="score"
    )
    scale = alt.Scale(range=[GRID, colour_of("step")], zero=False)
    squares = base.mark_rect(stroke=PAPER, strokeWidth=2)
    cut = base.transform_filter("datum.fate == 'cut'").mark_text(text="x", fontWeight="bold", color=INK, tooltip=None)
    return finished(
        alt.layer(
            squares.encode(color=alt.Color("score:Q", scale=scale, legend=legend), tooltip=told),
            cut,
        ).properties(width=WIDE, height=_ROW * len({head.layer for head in heads}))
    )
