"""The data card counts what is there, by name; its figures are those of the rows."""

import json

import numpy as np

from compress.data import Split
from compress.tables.data_card import balance, split_card, table_card
from compress.tables.table import Table


def split(labels=None, names=(), texts=("a b", "a b", "ccc"), pairs=None) -> Split:
    return Split("train", texts, pairs, labels, names)


def test_classes_are_counted_by_name_also_those_that_nobody_has():
    assert balance(np.array([2, 0, 2]), ("a", "b", "c"), "class") == {"a": 1, "b": 0, "c": 2}
    assert balance(np.array([[1, 0], [1, 1]], dtype=np.int8), ("a", "b"), "classes") == {"a": 2, "b": 1}
    assert balance(np.array([[0, 1], [1, -100]]), ("O", "B"), "tags") == {"O": 1, "B": 2}
    many = np.ones((1000, 1), dtype=np.int8)
    assert balance(many, ("a",), "classes") == {"a": 1000}


def test_numbers_have_quantiles_and_questions_answers():
    spread = balance(np.arange(101, dtype=np.float64), ("score",), "number")
    assert spread == {"min": 0, "p25": 25, "median": 50, "p75": 75, "max": 100}
    spans = np.array([[[0, 2], [-1, -1]], [[-1, -1], [-1, -1]]])
    assert balance(spans, (), "span") == {"answered": 1, "unanswered": 1}


def test_a_split_s_card_says_rows_lengths_duplicates_and_losses():
    card = split_card(split(np.array([0, 1, 1]), ("no", "yes")), {"also in test": 4}, "class")
    assert card["rows"] == 3
    assert card["dropped"] == {"also in test": 4}
    assert card["duplicates"] == 1
    assert card["labels"] == {"no": 1, "yes": 2}
    assert card["lengths"]["text"]["characters"] == {"median": 3, "p95": 3, "max": 3}
    assert card["lengths"]["text"]["words"] == {"median": 2, "p95": 2, "max": 2}
    assert split_card(split(), {}, None).keys().isdisjoint({"labels"})


def test_a_pair_is_a_duplicate_only_as_a_whole():
    assert split_card(split(pairs=("x", "y", "z")), {}, None)["duplicates"] == 0
    assert set(split_card(split(pairs=("x", "x", "z")), {}, None)["lengths"]) == {"text", "text_pair"}


def test_no_label_at_all_is_counted_where_several_are_possible():
    card = split_card(split(np.array([[0, 0], [1, 1], [0, 0]], dtype=np.int8), ("a", "b")), {}, "classes")
    assert card["without_class"] == 2


def test_a_table_s_card_is_plain_json():
    table = Table(
        ["one two", "three"], None, np.array([0.5, 1.0]), ("score",), {"empty text": 3}, "a.tsv", "sha256:0",
        target="number",
    )  # fmt: skip
    card = table_card(table)
    assert json.loads(json.dumps(card)) == card
    assert (card["source"], card["dropped"], card["labels"]["median"]) == ("a.tsv", {"empty text": 3}, 0.75)


def test_pictures_have_no_length():
    pictures = Split("train", ("sha256:0",), None, np.array([0]), ("a", "b"), (b"x",))
    assert "lengths" not in split_card(pictures, {}, "class")


def test_an_empty_split_has_a_card():
    assert split_card(split(np.zeros(0), ("score",), ()), {}, "number")["rows"] == 0
