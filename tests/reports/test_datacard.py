"""Laws of the data section: rows, balance, lengths, duplicates and reasons, for labels of every form."""

import pytest

from evaluation.measurement import Run
from reports.page import render_markdown

LENGTHS = {
    "text": {"characters": {"median": 113, "p95": 240, "max": 301}, "words": {"median": 21, "p95": 44, "max": 60}}
}


def split(**more):
    return {"rows": 200, "dropped": {}, "digest": "sha256:" + "a1" * 32, "duplicates": 3, "lengths": LENGTHS, **more}


def page_of(**splits):
    card = {
        "tables": {"reviews": split(source="texts.tsv", dropped={"score of zero": 37, "no text": 2})},
        "splits": splits,
    }
    return render_markdown([Run(name="r", tables={"data": card})]).replace("\\", "")


def test_what_a_table_holds_and_lost_is_told():
    text = page_of(test=split())
    [table] = [line for line in text.splitlines() if line.startswith("| reviews")]
    for told in ("200", "37 (score of zero), 2 (no text)", "3", "21, 44, 60", "texts.tsv", "a1a1a1a1a1a1"):
        assert f"| {told} |" in table


@pytest.mark.parametrize(
    ("labels", "more", "told"),
    [
        ({"negative": 150, "positive": 50}, {}, ["150 (75.0 %)", "50 (25.0 %)"]),
        ({"funny": 150, "sad": 100}, {"without_class": 20}, ["150 (75.0 %)", "100 (50.0 %)", "without class: 20"]),
        ({"O": 900, "B-PER": 100}, {}, ["900 (90.0 %)", "100 (10.0 %)"]),
        ({"answered": 180, "unanswered": 20}, {}, ["180 (90.0 %)", "20 (10.0 %)"]),
        ({"min": 0.0, "p25": 1.5, "median": 2.5, "p75": 3.0, "max": 5.0}, {}, ["| 1.5 |", "| 2.5 |"]),
    ],
    ids=["classes", "several classes", "tags", "answers", "numbers"],
)
def test_the_balance_of_labels_is_told_in_their_own_terms(labels, more, told):
    text = page_of(test=split(labels=labels, **more))
    assert all(each in text for each in told)
    assert ("%)" in text) == ("median" not in labels)


def test_many_labels_are_folded():
    labels = {f"intent-{place}": 5 for place in range(40)}
    assert "<summary>Splits: labels (40 of them)</summary>" in page_of(test=split(labels=labels))


def test_a_card_of_another_form_is_shown_as_it_is():
    text = render_markdown([Run(name="r", tables={"data": {"rows": 7, "splits": {"test": 3}, "odd": [1, 2]}})])
    assert "| rows | 7 |" in text
    assert "| test | 3 |" in text
    assert "| odd | 1, 2 |" in text
