"""Heads against quality at equal parameters: what a model of one size is worth with more heads or more FFN channels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import altair as alt

from reports.charts.mark import Mark, tooltip
from reports.charts.theme import MUTED, WIDE, Spec, colour_of, data, extent, finished, whiskers

_HEIGHT = 260


class Count(NamedTuple):
    """A number of heads, what stands beside it, and the quality with it."""

    heads: int
    channels: str
    quality: Mark


def head_counts(counts: Sequence[Count], *, title: str, whole: Mark | None) -> Spec:
    """Quality over the number of heads, with error bars; a dashed line is the model before any cut."""
    rows = [{"heads": count.heads, "channels": count.channels, **count.quality.row()} for count in counts]
    marks = [count.quality for count in counts] + ([whole] if whole else [])
    low, high = extent([end for mark in marks for end in (mark.low, mark.value, mark.high)])
    x = alt.X(
        "heads:Q", title="heads in all layers", scale=alt.Scale(zero=False, padding=20), axis=alt.Axis(tickMinStep=1)
    )
    y = alt.Y("value:Q", title=title, scale=alt.Scale(domain=[low, high], nice=False, zero=False))
    base = alt.Chart(data(rows)).encode(x=x)
    colour = colour_of("step")
    told = tooltip(alt.Tooltip("heads:Q", title="heads"), alt.Tooltip("channels:N", title="FFN channels"), figure=title)
    layers = [
        base.mark_line(color=colour, strokeWidth=1.6).encode(y=y),
        whiskers(base, upright=True, color=alt.value(colour)),
        base.mark_point(filled=True, size=80, color=colour, opacity=1).encode(y=y, tooltip=told),
    ]
    if whole is not None:
        uncut = alt.Chart(data([{"text": f"uncut: {whole.text}", "value": whole.value}]))
        layers.append(uncut.mark_rule(color=MUTED, strokeDash=[4, 3]).encode(y="value:Q"))
        layers.append(
            uncut.mark_text(color=MUTED, align="left", dy=-7).encode(y="value:Q", x=alt.value(4), text="text:N")
        )
    return finished(alt.layer(*layers).properties(width=WIDE, height=_HEIGHT))
