"""Entities are counted as conlleval counts them: worked out by hand, and by a plain walk along the words."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from compress.errors import DataError
from evaluation.metrics.entity_f1 import EntityF1

BIO = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
BIOES = ("O", *(f"{letter}-{kind}" for kind in ("PER", "LOC") for letter in "BIES"))
BILOU = ("O", *(f"{letter}-{kind}" for kind in ("PER", "LOC") for letter in "BILU"))
PLAIN = ("O", "PER", "LOC")

Entity = tuple[str, int, int]
"""Type, first word, last word."""


def numbered(names: tuple[str, ...], *texts: str) -> np.ndarray:
    """Tags as numbers, one text of names an example; `.` stands for no word."""
    rows = [[-100 if tag == "." else names.index(tag) for tag in text.split()] for text in texts]
    width = max(map(len, rows))
    return np.array([row + [-100] * (width - len(row)) for row in rows])


def counts(names: tuple[str, ...], truth: str, decisions: str) -> list[int]:
    """Entities of one text that are right, true and decided."""
    [found] = EntityF1(names=names).evidence(numbered(names, truth), numbered(names, decisions)).tolist()
    return list(found)


@pytest.mark.parametrize(
    ("truth", "decisions", "expected"),
    [
        ("B-PER I-PER O B-LOC", "B-PER I-PER O B-LOC", [2, 2, 2]),
        ("B-PER I-PER O B-LOC", "B-PER O O B-LOC", [1, 2, 2]),  # too short is wrong, twice: missed and made up
        ("B-PER I-PER O B-LOC", "B-LOC I-LOC O B-LOC", [1, 2, 2]),  # of another type is wrong
        ("B-PER I-PER I-PER O", "B-PER I-PER B-PER O", [0, 1, 2]),  # B- ends what was open
        ("B-PER B-PER O O", "B-PER I-PER O O", [0, 2, 1]),
        ("O O O O", "O B-LOC O O", [0, 0, 1]),
        ("O O O O", "O O O O", [0, 0, 0]),
        # Malformed, by conlleval's convention: I- that continues nothing begins an entity.
        ("B-PER I-PER O B-LOC", "I-PER I-PER O I-LOC", [2, 2, 2]),
        ("B-PER I-PER O O", "B-PER I-LOC O O", [0, 1, 2]),  # I- of another type begins another one
        ("B-PER B-LOC O O", "B-PER I-LOC O O", [2, 2, 2]),
        ("O B-LOC I-LOC O", "O I-LOC B-LOC O", [0, 1, 2]),
    ],
)
def test_entities_are_counted_as_by_hand(truth: str, decisions: str, expected: list[int]) -> None:
    assert counts(BIO, truth, decisions) == expected


@pytest.mark.parametrize(
    ("names", "truth", "decisions", "expected"),
    [
        (BIOES, "B-PER I-PER E-PER S-LOC", "B-PER I-PER E-PER S-LOC", [2, 2, 2]),
        (BIOES, "S-PER S-PER O O", "B-PER E-PER O O", [0, 2, 1]),
        (BIOES, "B-PER E-PER I-PER O", "B-PER E-PER S-PER O", [2, 2, 2]),  # E- ends, so I- begins anew
        (BIOES, "S-PER O O O", "E-PER O O O", [1, 1, 1]),
        (BILOU, "B-PER L-PER U-LOC U-LOC", "B-PER L-PER B-LOC L-LOC", [1, 3, 2]),
        (PLAIN, "PER PER O LOC", "PER PER O LOC", [2, 2, 2]),
        (PLAIN, "PER PER O LOC", "PER LOC O LOC", [1, 2, 3]),  # neighbours of one type are one entity
        (("NOUN", "VERB"), "NOUN VERB NOUN", "NOUN VERB VERB", [1, 3, 2]),
    ],
)
def test_other_ways_to_tag(names: tuple[str, ...], truth: str, decisions: str, expected: list[int]) -> None:
    assert counts(names, truth, decisions) == expected


def test_f1_is_micro_over_all_texts() -> None:
    metric = EntityF1(names=BIO)
    truth = numbered(BIO, "B-PER O B-LOC", "B-PER I-PER", "O")
    decisions = numbered(BIO, "B-PER O B-PER", "B-PER I-PER", "B-LOC")
    precision, recall = 2 / 4, 2 / 3
    found = metric.value(metric.evidence(truth, decisions))
    assert found == pytest.approx(2 * precision * recall / (precision + recall))


def test_entities_do_not_reach_over_the_end_of_a_text() -> None:
    assert counts(BIO, "B-PER I-PER . .", "B-PER I-PER . .") == [1, 1, 1]
    truth = numbered(BIO, "O B-PER", "I-PER O")
    assert EntityF1(names=BIO).evidence(truth, truth).tolist() == [[1, 1, 1], [1, 1, 1]]


def test_an_entity_that_was_cut_off_is_missed() -> None:
    truth = numbered(BIO, "B-PER O B-LOC I-LOC")
    decisions = numbered(BIO, "B-PER O B-LOC")  # the model came to three words
    assert EntityF1(names=BIO).evidence(truth, decisions).tolist() == [[1, 2, 2]]


def test_what_is_decided_where_no_word_is_does_not_count() -> None:
    assert counts(BIO, "B-PER . .", "B-PER I-PER B-LOC") == [1, 1, 1]


def test_a_tag_without_a_name_is_refused() -> None:
    with pytest.raises(DataError, match="a tag is 5, wanted 0 to 4"):
        EntityF1(names=BIO).evidence(np.array([[5]]), np.array([[0]]))


def walked(tags: list[str]) -> list[Entity]:
    """The entities, found by walking along the words with one open entity at most."""
    found: list[Entity] = []
    open_kind, first, closed = "", 0, True
    for place, tag in enumerate([*tags, "O"]):
        letter, _, kind = tag.partition("-")
        goes_on = tag != "O" and letter in "IE" and kind == open_kind and not closed
        if not goes_on:
            if open_kind:
                found.append((open_kind, first, place - 1))
            open_kind, first = kind, place
        closed = letter in "ES"
    return found


@given(
    st.sampled_from([BIO, BIOES]).flatmap(
        lambda names: st.tuples(
            st.just(names), st.lists(st.tuples(st.sampled_from(names), st.sampled_from(names)), min_size=1, max_size=12)
        )
    )
)
def test_any_tags_are_counted_as_by_walking_along_the_words(
    drawn: tuple[tuple[str, ...], list[tuple[str, str]]],
) -> None:
    names, pairs = drawn
    truth, decisions = ([pair[side] for pair in pairs] for side in (0, 1))
    right = set(walked(truth)) & set(walked(decisions))
    expected = [len(right), len(walked(truth)), len(walked(decisions))]
    assert counts(names, " ".join(truth), " ".join(decisions)) == expected
