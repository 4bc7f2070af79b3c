"""Whether two SVG drawings of a chart say the same, where the machine that drew one may have other fonts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from xml.etree import ElementTree

NEAR_PIXELS = 2.0
"""How far apart two places may be: fonts that stand in for Arial have its widths, but for what rounding leaves."""

_PLACING = ("d", "transform", "viewBox", "width", "height", "x", "y", "x1", "x2", "y1", "y2")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:e-?\d+)?")


def alike(one: str, other: str) -> bool:
    """True where every element, word and colour is the same, and every place is within `NEAR_PIXELS`.

    >>> bar = '<svg><rect x="0" width="{}"/><text>{}</text></svg>'
    >>> alike(bar.format(90, "9.8x"), bar.format(90.5, "9.8x")), alike(bar.format(90, "9.8x"), bar.format(90, "9.9x"))
    (True, False)
    """
    if one == other:
        return True
    try:
        (words, places), (other_words, other_places) = _told(one), _told(other)
    except ElementTree.ParseError:
        return False
    pairs = zip(places, other_places, strict=False)  # as many where the words, which say where they stand, are the same
    return words == other_words and all(abs(here - there) <= NEAR_PIXELS for here, there in pairs)


def _told(svg: str) -> tuple[list[str], list[float]]:
    """All that a drawing says, in its order, and the numbers that only place it."""
    words: list[str] = []
    places: list[float] = []
    for name, value in _parts(ElementTree.fromstring(svg)):
        numbers = _NUMBER.findall(value) if name in _PLACING else []
        places += map(float, numbers)
        words.append(f"{name}={_NUMBER.sub('#', value) if numbers else value}")
    return words, places


def _parts(root: ElementTree.Element) -> Iterator[tuple[str, str]]:
    for element in root.iter():
        yield "element", element.tag
        yield from element.attrib.items()
        yield "text", element.text or ""
        yield "tail", element.tail or ""
