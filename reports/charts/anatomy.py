"""Anatomy before and after: how many heads, FFN channels and the like each layer holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import altair as alt

from reports.charts.theme import Spec, colour_of, colours, data, finished, legend_toggle, run_colour, shown_if

_WIDTH, _HEIGHT = 280, 150
_MOST_LAYERS = 12  # in half the width; with more a panel has a line of its own
_DIGIT = 6.0  # pixels

Units = Mapping[str, Mapping[int, int]]


def anatomy(rows: Sequence[tuple[str, str, Units]]) -> Spec:
    """Units per layer. A row is a target, its role, and for each axis the units of each layer by its number."""
    titles = list(dict.fromkeys(axis for _, _, units in rows for axis in units))
    shown, named = legend_toggle("target"), _named(rows)
    first, *others = (_view(title, rows, named, shown) for title in titles)
    deepest = max(len(units) for _, _, axes in rows for units in axes.values())
    columns = 2 if deepest <= _MOST_LAYERS and len(titles) > 1 else 1
    return finished(alt.concat(first.add_params(shown), *others, columns=columns))


def _view(
    title: str, rows: Sequence[tuple[str, str, Units]], named: Mapping[str, str], shown: alt.Parameter
) -> alt.LayerChart | alt.FacetChart:
    drawn = [
        {"target": target, "layer": layer, "units": count, "of": f"{title}, layer {layer}"}
        for target, _, axes in rows
        for layer, count in axes.get(title, {}).items()
    ]
    base = alt.Chart(data(drawn)).encode(
        x=alt.X("layer:O", title="layer", axis=alt.Axis(labelAngle=0)),
        xOffset=alt.XOffset("target:N", scale=alt.Scale(domain=list(named))),
        y=alt.Y("units:Q", title=None, axis=alt.Axis(tickCount=3, format="~s")),
        opacity=shown_if(shown),
    )
    told = [alt.Tooltip("target:N", title="after"), alt.Tooltip("of:N", title="of"), alt.Tooltip("units:Q", format=",")]
    layers = [base.mark_bar().encode(color=colours("target", named), tooltip=told)]
    widest = max(len(str(row["units"])) for row in drawn)
    bars = len(named) * len({row["layer"] for row in drawn})
    if _DIGIT * widest < _WIDTH / bars:  # else the numbers would run into one another
        layers.append(base.mark_text(dy=-7, fontSize=10).encode(text="units:Q"))
    return alt.layer(*layers).properties(width=_WIDTH, height=_HEIGHT, title=f"{title} per layer")


def _named(rows: Sequence[tuple[str, str, Units]]) -> dict[str, str]:
    """A colour for each target: that of its role, but one of its own for each step."""
    steps = [target for target, role, _ in rows if role == "step"]
    own = {target: run_colour(place if place == 0 else place + 1) for place, target in enumerate(steps)}
    return {target: own.get(target) or colour_of(role) for target, role, _ in rows}
