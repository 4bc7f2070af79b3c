"""How tokenizers read the test texts is told where they differ, and counted as it is."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

from tiny import tiny_bundle, tiny_split

from compress.bundle import Bundle
from compress.data import Split
from compress.vocabulary import Vocabulary, trimmed
from evaluation.measurement import Target
from evaluation.quality.reading import reading_rows
from evaluation.sitting import Opened, Subject


def opened(name: str, bundle: Bundle) -> Opened:
    session: Any = None
    return Opened(Subject(Target(name=name, kind="stage", title=name, runtime="x", form="torch"), bundle), session, {})


def test_what_a_trimmed_tokenizer_does_not_know_is_counted(make_context) -> None:
    whole, seen = tiny_bundle(), tiny_split("train", 20, words=8)
    small = trimmed(whole, Vocabulary(), make_context(train=seen))
    texts = Split("test", ("w0 w3 w90", "w1 w91 w92 w2"), None, None, ())
    rows = reading_rows([opened("whole", whole), opened("small", small)], texts)
    assert rows == [
        {"target": "whole", "texts": 2, "tokens": 7, "tokens a text": 3.5, "unknown": 0},
        {"target": "small", "texts": 2, "tokens": 7, "tokens a text": 3.5, "unknown": 3},
    ]
    on_seen = reading_rows([opened("whole", whole), opened("small", small)], seen)
    assert [row["unknown"] for row in on_seen] == [0, 0]
    assert on_seen[0]["tokens"] == on_seen[1]["tokens"]


def test_second_texts_count_as_well_and_tokenizers_that_read_alike_are_not_told_of(make_context) -> None:
    whole = tiny_bundle()
    again = replace(whole, processor=copy.deepcopy(whole.processor))
    small = trimmed(whole, Vocabulary(), make_context(train=tiny_split("train", 20, words=8)))
    pairs = Split("test", ("w0 w3",), ("w1 w2 w4",), None, ())
    assert reading_rows([opened("whole", whole), opened("again", again)], pairs) == []
    assert reading_rows([opened("whole", whole), opened("small", small)], pairs)[0]["tokens"] == 5


def test_pictures_have_no_tokenizer() -> None:
    assert reading_rows([opened("vit", tiny_bundle("vit"))], tiny_split("test", 2)) == []
