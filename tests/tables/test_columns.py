"""Columns by role: the usual names of each kind of task, and columns that are not there."""

import pytest

from compress.errors import DataError
from compress.tables.columns import Columns, Wanted, shown


@pytest.mark.parametrize(
    ("target", "names", "roles"),
    [
        ("class", ["idx", "sentence", "label"], {"text": "sentence", "label": "label"}),
        ("class", ["premise", "hypothesis", "label"], {"text": "premise", "text_pair": "hypothesis", "label": "label"}),
        ("class", ["text", "context", "labels"], {"text": "text"}),
        ("classes", ["text", "labels", "label"], {"text": "text", "label": "labels"}),
        ("number", ["sentence1", "sentence2", "score", "label"],
         {"text": "sentence1", "text_pair": "sentence2", "label": "score"}),
        ("tags", ["id", "text", "tokens", "pos_tags", "ner_tags"], {"text": "tokens", "label": "ner_tags"}),
        ("span", ["id", "title", "context", "question", "answers"],
         {"text": "question", "text_pair": "context", "label": "answers"}),
        (None, ["text", "label"], {"text": "text"}),
    ],
)  # fmt: skip
def test_usual_names_depend_on_what_the_task_wants(target, names, roles):
    assert Wanted(target=target).names("a", names) == roles


def test_pictures_have_usual_names_of_their_own():
    assert Wanted(modality="image").names("a", ["file", "text", "label"]) == {"image": "file", "label": "label"}
    with pytest.raises(DataError, match=r"usual name for pictures; give columns: \{image: "):
        Wanted(modality="image").names("a", ["text", "label"])


def test_a_task_gets_the_role_that_it_reads_and_not_the_other():
    both = {"text": "caption", "text_pair": "caption", "image": "file"}
    assert Wanted(both).names("a", ["file", "caption"]) == {"text": "caption", "text_pair": "caption"}
    assert Wanted(both, modality="image").names("a", ["file", "caption"]) == {"image": "file"}
    with pytest.raises(DataError, match=r"the task reads pictures, but `columns` names none"):
        Wanted({"text": "caption"}, modality="image").names("a", ["file", "caption"])


def test_a_label_is_a_role_or_a_column_and_nothing_to_a_task_without_labels():
    columns = {"text": "t", "intent": "kind"}
    assert Wanted(columns, "intent").names("a", ["t", "kind"])["label"] == "kind"
    assert Wanted(columns, "kind").names("a", ["t", "kind"])["label"] == "kind"
    assert "label" not in Wanted(columns, "kind", target=None).names("a", ["t", "kind"])


def test_rows_keep_their_lines():
    read = Columns("a.tsv", {"text": ["x", "y", "z"]}, [2, 5, 9])
    assert read.rows([2, 0]).values == {"text": ["z", "x"]}
    assert read.rows([2, 0]).where(0) == "a.tsv: line 9"


def test_a_value_is_shown_short_however_long_or_deep_it_is():
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    for value in ("x" * 10**6, [["y" * 1000] * 1000], {str(number): number for number in range(1000)}, deep):
        assert len(shown(value)) <= 60
    while deep:  # freed from the outside in, so that Python's own recursion is not put to the test
        deep = deep.pop()


def test_a_long_list_of_columns_is_cut():
    with pytest.raises(DataError) as fault:
        Wanted().names("a", [f"{number}" * 1000 for number in range(1000)])
    assert len(str(fault.value)) < 1500
