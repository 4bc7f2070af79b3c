"""From a spec to what stands still: the SVG beside `report.md`, which a page shows in print and without scripts."""

from __future__ import annotations

import html
import json
import re
from functools import lru_cache

from reports.charts.theme import COLOURS, Spec
from reports.outline import SVG_OPENING

VEGA_LITE = "6.4"
"""The version that altair writes, as the converter names it."""
_KEPT = 256  # drawings of one page, and of the same page written twice
_ROLE_OF = {light: name for name, (light, _) in COLOURS.items()}


def still(name: str, alt: str, spec: Spec) -> str:
    """The chart as SVG that is readable on white, described by `alt`. Equal input gives equal bytes.

    `name` stands before every id in it, so that many charts fit on one page.
    """
    return _drawn(name, alt, json.dumps(spec))


def themed(svg: str) -> str:
    """The same SVG for a page: its colours are the page's own (`var(--ink)` and so on), its size follows the page."""
    coloured = re.sub(
        r'(?<= )(fill|stroke)="(#[0-9a-f]{6})"',
        lambda found: f'{found[1]}="var(--{_ROLE_OF[found[2]]})"' if found[2] in _ROLE_OF else found[0],
        svg,
    )
    return re.sub(r' (?:width|height)="[\d.]+"(?= viewBox| height)', "", coloured, count=2)


@lru_cache(maxsize=_KEPT)
def _drawn(name: str, alt: str, spec: str) -> str:
    import vl_convert

    svg = vl_convert.vegalite_to_svg(spec, vl_version=VEGA_LITE, allowed_base_urls=[])
    places: dict[str, int] = {}  # the converter counts its ids on from one drawing to the next
    svg = re.sub(
        r'(?<= id=")\w+(?=")|(?<=url\(#)\w+(?=\))',
        lambda found: f"{name}-{places.setdefault(found[0], len(places))}",
        svg,
    )
    svg = re.sub(r' (?:role|aria-roledescription)="[^"]*"', "", svg)  # the drawing is one image to a screen reader
    return svg.replace("<svg ", f'{SVG_OPENING}{html.escape(alt)}" ', 1)
