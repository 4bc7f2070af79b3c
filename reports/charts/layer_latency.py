"""Latency layer by layer: a bar for each layer, its attention and the rest of it one behind the other."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import altair as alt

from reports.charts.mark import Mark, tooltip
from reports.charts.theme import WIDE, Spec, colour_of, colours, data, finished, legend_toggle, run_colour, shown_if

_ROW = 22
_COLOURS = (run_colour(0), run_colour(2), colour_of("baseline"))


class Piece(NamedTuple):
    """A part of a row: the row's name, the part's, and its milliseconds."""

    row: str
    part: str
    median: Mark


def layer_latency(pieces: Sequence[Piece]) -> Spec:
    """Rows in their order from the top, each as long as the sum of its parts' medians."""
    parts = list(dict.fromkeys(piece.part for piece in pieces))
    listed = list(dict.fromkeys(piece.row for piece in pieces))
    rows = [{"row": p.row, "part": p.part, "place": parts.index(p.part), **p.median.row()} for p in pieces]
    shown = legend_toggle("part")
    told = tooltip(alt.Tooltip("row:N", title="of"), alt.Tooltip("part:N", title="part"), figure="median")
    view = (
        alt.Chart(data(rows))
        .mark_bar(height=14)
        .encode(
            x=alt.X("value:Q", title="ms", stack="zero"),
            y=alt.Y("row:N", title=None, scale=alt.Scale(domain=listed)),
            color=colours("part", dict(zip(parts, _COLOURS, strict=False))),
            order="place:Q",
            opacity=shown_if(shown),
            tooltip=told,
        )
        .add_params(shown)
    )
    return finished(view.properties(width=WIDE, height=_ROW * len(listed)))
