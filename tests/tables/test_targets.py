"""Labels: whichever way a table writes them, the same array comes out; what fits no way is told with its line."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.errors import DataError
from compress.tables.columns import Columns
from compress.tables.labels import labels_of, missing_labels


def columns(values: list, class_names: tuple[str, ...] | None = None, **roles: list) -> Columns:
    texts = roles.pop("text", ["a"] * len(values))
    return Columns("t.jsonl", {"text": texts, "label": values, **roles}, range(1, len(values) + 1), class_names)


def read(target, values, own=None, settled=None, separator="|", **roles):
    return labels_of(columns(values, **roles), target, own, settled, separator=separator)


# Classes


@pytest.mark.parametrize("values", [["b", "a"], ["1", "0"], [1, 0], [1.0, 0.0], [" b ", "a"]])
def test_a_class_is_a_name_or_an_index(values):
    labels, names = read("class", values, own=("a", "b"))
    assert (labels.tolist(), labels.dtype, names) == ([1, 0], np.int64, ("a", "b"))


THREE = ("x", "y", "z")


@pytest.mark.parametrize(
    "values",
    [
        [["y", "z"], [], ["x"]],
        [[1, 2], [], [0]],
        [["1", "2"], [], [0.0]],
        ["y|z", "", "x"],
        [" z | y ", "  ", "x|"],
        [[0, 1, 1], [0, 0, 0], [1, 0, 0]],
        [[False, True, True], [False] * 3, [True, False, False]],
        [[0.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 0.0]],
    ],
)
def test_several_classes_are_a_list_or_a_text_of_them_or_a_bit_for_each(values):
    labels, names = read("classes", values, own=THREE)
    assert (labels.tolist(), names) == ([[0, 1, 1], [0, 0, 0], [1, 0, 0]], THREE)
    assert labels.dtype == np.int8


def test_the_names_of_several_classes_are_found_and_sorted():
    labels, names = read("classes", ["10;9", "", "9"], separator=";")
    assert (labels.tolist(), names) == ([[1, 1], [0, 0], [1, 0]], ("9", "10"))


def test_lists_of_one_are_no_bits_unless_they_can_be_nothing_else():
    assert read("classes", [[0], [1]])[1] == ("0", "1")
    assert read("classes", [[0], [1]], own=("only",))[0].tolist() == [[0], [1]]


@given(st.lists(st.sets(st.sampled_from(THREE)), min_size=1, max_size=6))
def test_several_classes_go_there_and_back(rows):
    labels, names = read("classes", [sorted(row) for row in rows], own=THREE, settled=("w", *THREE[::-1]))
    assert [{name for name, bit in zip(names, row, strict=True) if bit} for row in labels.tolist()] == rows


# Numbers and tags


def test_a_number_may_be_written_in_any_way_that_data_has():
    labels, names = read("number", ["1.5", 2, 3.0, " -4e-1 "])
    assert (labels.tolist(), labels.dtype, names) == ([1.5, 2.0, 3.0, -0.4], np.float64, ("score",))
    assert read("number", [1], settled=("LABEL_0",))[1] == ("LABEL_0",)


WORDS = ["EU rejects it", "Bonn"]


@pytest.mark.parametrize("values", [[["B", "O", "O"], ["B"]], ["B O O", " B "], [["0", "1", "1"], [0]]])
def test_each_word_has_a_tag(values):
    labels, names = read("tags", values, own=("B", "O"), text=WORDS)
    assert (labels.tolist(), labels.dtype, names) == ([[0, 1, 1], [0, -100, -100]], np.int64, ("B", "O"))


def test_settled_tags_are_imposed_on_words_and_not_on_what_fills_up():
    labels, names = read("tags", ["B O O", "B"], own=("B", "O"), settled=("O", "I", "B"), text=WORDS)
    assert (labels.tolist(), names) == ([[2, 0, 0], [2, -100, -100]], ("O", "I", "B"))


# Answers

CONTEXT = "Bonn was it, Bonn."


@pytest.mark.parametrize(
    "value",
    [
        {"text": ["Bonn", "it"], "answer_start": [13, 9]},
        [{"text": "Bonn", "answer_start": 13}, {"text": "it", "answer_start": 9}],
        {"text": ["Bonn", "it", "Bonn"], "answer_start": [13, 9, 13]},
    ],
)
def test_answers_are_spans_of_their_context(value):
    labels, names = read("span", [value, "Bonn"], text_pair=[CONTEXT, CONTEXT])
    assert (labels.tolist(), labels.dtype, names) == ([[[13, 17], [9, 11]], [[0, 4], [-1, -1]]], np.int64, ())
    found = [[CONTEXT[start:end] for start, end in row if start >= 0] for row in labels.tolist()]
    assert found == [["Bonn", "it"], ["Bonn"]]


@pytest.mark.parametrize("value", [{"text": [], "answer_start": []}, [], "", {"text": [""], "answer_start": [0]}])
def test_a_question_may_have_no_answer(value):
    assert read("span", [value], text_pair=[CONTEXT])[0].tolist() == [[[-1, -1]]]
    assert read("span", [value, "it"], text_pair=[CONTEXT] * 2)[0].tolist() == [[[-1, -1]], [[9, 11]]]


# Missing labels


@pytest.mark.parametrize(
    ("target", "values", "missing"),
    [
        ("class", [None, float("nan"), "", "  ", "nan", 0, -1], [1, 1, 1, 1, 0, 0, 0]),
        ("classes", [None, float("nan"), "", [], "a"], [1, 1, 0, 0, 0]),
        ("number", [None, "NaN", "", 0, "0"], [1, 1, 1, 0, 0]),
        ("tags", [None, "", [], ["O"]], [1, 1, 0, 0]),
        ("span", [None, "", {"text": []}], [1, 0, 0]),
    ],
)
def test_what_is_missing_depends_on_what_nothing_says(target, values, missing):
    assert missing_labels(columns(values), "label", target).tolist() == list(map(bool, missing))


def test_a_file_with_class_names_keeps_a_label_back_as_minus_one():
    assert missing_labels(columns([0, -1], ("a", "b")), "label", "class").tolist() == [False, True]


# Faults


@pytest.mark.parametrize(
    ("target", "values", "roles", "message"),
    [
        ("class", ["a", ["a"]], {}, r"line 2: label is \['a'\], wanted one of a.*one text or one number"),
        ("class", ["a", b"a"], {}, "line 2: label is b'a'"),
        ("class", ["x", "c"], {"own": THREE}, "line 2: label is 'c', wanted one of x, y, z"),
        ("class", [0, 3], {"own": THREE}, "line 2: label is 3, wanted one of x, y, z"),
        ("classes", ["x", "x|c"], {"own": THREE}, "line 2: label is 'c'"),
        ("classes", ["x", ["x", None]], {"own": THREE}, "line 2: label is None"),
        ("classes", ["x", "['x', 'y']"], {"own": THREE}, "line 2: .*a list that is written as text is not read"),
        ("classes", [[0, 0, 1], [1, 0, 0]], {}, r"line 1: label is \[0, 0, 1\].*give `names`"),
        ("classes", [[], []], {}, "no row is of any class"),
        ("number", [1, "x"], {}, "line 2: label is 'x', wanted a number"),
        ("number", [1, "inf"], {}, "line 2: label is 'inf'"),
        ("number", [1, "1_000"], {}, "line 2: label is '1_000'"),
        ("number", [1, True], {}, "line 2: label is True"),
        ("number", [1, 10**400], {}, "line 2: label is 1000"),
        ("number", [1, [2]], {}, r"line 2: label is \[2\]"),
        ("tags", ["O"], {"text": ["two words"]}, "line 1: 1 tags for 2 words, wanted a tag for each word"),
        ("tags", [["O", None]], {"text": ["two words"]}, "line 1: label is None"),
        ("tags", [3], {}, "line 1: label is 3, wanted a list of tags"),
        ("span", ["x"], {}, "t.jsonl: answers are looked for in a context"),
        ("span", ["Berlin"], {"text_pair": [CONTEXT]}, "line 1: the answer 'Berlin' does not occur"),
        ("span", [{"text": ["it"], "answer_start": [8]}], {"text_pair": [CONTEXT]}, r"has ' i' at 8, wanted .* 'it'"),
        ("span", [{"text": ["it"], "answer_start": [-4]}], {"text_pair": [CONTEXT]}, "has nothing at -4"),
        ("span", [{"text": ["it"], "answer_start": [10**30]}], {"text_pair": [CONTEXT]}, "has '' at 1000"),
        ("span", [{"text": ["it"], "answer_start": []}], {"text_pair": [CONTEXT]}, "line 1: label is .*wanted {text:"),
        ("span", [{"text": 3}], {"text_pair": [CONTEXT]}, "line 1: label is .*wanted {text:"),
        ("span", [[["it"]]], {"text_pair": [CONTEXT]}, "line 1: label is .*wanted {text:"),
    ],
)  # fmt: skip
def test_a_fault_is_told_with_its_place(target, values, roles, message):
    with pytest.raises(DataError, match=message):
        read(target, values, **roles)
