"""Laws of comparing drawings: no figure, word, colour or mark may differ, and places only as far as fonts move them."""

import re

import pytest
from sample import sample_run

from reports.charts.still import still, themed
from reports.drawing import latency_chart
from reports.likeness import NEAR_PIXELS, alike


@pytest.fixture(scope="module")
def drawing():
    chart = latency_chart(sample_run(), "")
    return still(chart.name, chart.alt, chart.draw())


def changed(drawing, before, after):
    text, count = re.subn(before, after, drawing, count=1, flags=re.DOTALL)
    assert count
    assert text != drawing
    return text


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (r'(aria-label="[^"]*?result )[\d.]+', r"\g<1>0.1"),
        (r"(role-axis-label.*?>)0(</text>)", r"\g<1>7\g<2>"),
        (r'(mark-rect role-mark.*?d="M[\d.]+,[\d.]+h)[\d.]+', r"\g<1>9"),
        (r'(mark-rect role-mark.*?fill=")#\w+', r"\g<1>#d55e00"),
        (r"(mark-rect role-mark[^>]*>)<path [^>]*>", r"\g<1>"),
        ("</svg>", ""),
    ],
    ids=["a figure in its words", "a label of an axis", "a bar's length", "a colour", "a bar less", "cut short"],
)
def test_a_drawing_that_says_something_else_is_not_alike(drawing, before, after):
    assert not alike(changed(drawing, before, after), drawing)
    assert not alike(drawing, changed(drawing, before, after))


@pytest.mark.parametrize("part", [0.5, 1.5])
def test_places_may_differ_as_far_as_fonts_move_them(drawing, part):
    moved = changed(drawing, r"(?<=translate\()\d+", lambda found: str(float(found[0]) + part * NEAR_PIXELS))
    assert alike(drawing, moved) is (part < 1)


def test_a_drawing_is_like_itself_and_not_like_the_page_s_in_other_colours(drawing):
    assert alike(drawing, str(drawing))
    assert not alike(drawing, themed(drawing))
