"""Laws of README's markers: they can be filled again and again, touch nothing else, and a broken one is refused."""

import pytest
from sample import sample_run

from compress.errors import DataError
from reports.readme import fill_markers
from reports.table import results_table

README = "# Title\n\n<!-- results:trio -->\nold\n<!-- /results -->\n\nEnd.\n"


def test_filling_markers_twice_changes_nothing():
    runs = {"trio": sample_run()}
    once = fill_markers(README, runs)
    assert results_table(runs["trio"]) in once
    assert "old" not in once
    assert fill_markers(once, runs) == once


def test_text_outside_markers_is_untouched():
    filled = fill_markers(README, {"trio": sample_run()})
    assert filled.startswith("# Title\n\n<!-- results:trio -->\n")
    assert filled.endswith("\n<!-- /results -->\n\nEnd.\n")
    assert fill_markers("no markers", {}) == "no markers"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (README, "line 3: .*names no known run; known: other"),
        ("<!-- results:other -->", "not closed"),
        ("<!-- results:other -->\n<!-- results:other -->\n<!-- /results -->", "line 1: .*not closed"),
        ("\n<!-- /results -->", "line 2: .*closes nothing"),
    ],
)
def test_broken_markers_are_refused(text, told):
    with pytest.raises(DataError, match=told):
        fill_markers(text, {"other": sample_run()})


def test_gates_are_written_as_well_as_results():
    filled = fill_markers("<!-- gates:trio -->\n<!-- /gates -->\n", {"trio": sample_run(min_speedup=12)})
    assert "| **min_speedup** |" in filled
    assert "FAILED" in filled
    assert fill_markers(filled, {"trio": sample_run(min_speedup=12)}) == filled


def test_a_marker_is_not_closed_by_one_of_another_kind():
    with pytest.raises(DataError, match=r"line 1: .*not closed; wanted <!-- /gates -->"):
        fill_markers("<!-- gates:trio -->\n<!-- /results -->", {"trio": sample_run()})
