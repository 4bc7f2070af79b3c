"""Splits are disjoint and stay put."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from compress.data import DataSettings, Split, load_data, text_places
from compress.errors import DataError
from compress.sources import Sources

WORDS = [f"w{number}" for number in range(50)]


def make_split(count: int, *, pairs: bool = False, seed: int = 0) -> Split:
    random = np.random.default_rng(seed)
    texts = tuple(" ".join(random.choice(WORDS, size=random.integers(1, 60))) for _ in range(count))
    return Split("train", texts, texts[::-1] if pairs else None, random.integers(0, 2, count), ("no", "yes"))


@pytest.fixture
def load(tmp_path):
    """Write tables of (text, label), and plain ones of texts, and split them."""

    def write_and_load(
        tables: dict[str, list[tuple[str, str]]], plain: dict[str, str] | None = None, **settings: object
    ):
        files = {name: f"{name}.jsonl" for name in tables} | {name: f"{name}.txt" for name in plain or {}}
        for name, rows in tables.items():
            lines = [json.dumps({"text": text, "label": label}) + "\n" for text, label in rows]
            (tmp_path / files[name]).write_text("".join(lines))
        for name, text in (plain or {}).items():
            (tmp_path / files[name]).write_text(text)
        sources = {name: {"source": file} for name, file in files.items()}
        data = DataSettings.model_validate({"tables": sources, **settings})
        return load_data(data, Sources(tmp_path / "cache", tmp_path))

    return write_and_load


def rows_of(count: int, start: int = 0) -> list[tuple[str, str]]:
    return [(f"text {number}", "ab"[number % 2]) for number in range(start, start + count)]


SHARES = {
    "train": {"table": "t", "split": 0.8},
    "dev": {"table": "t", "split": 0.1},
    "test": {"table": "t", "split": 0.1},
}


# Splits


def test_fractions_that_add_up_to_one_share_out_every_row_once(load):
    rows = rows_of(2000)
    splits = load({"t": rows}, **SHARES)
    parts = [splits.train, splits.dev, splits.test]
    assert sorted(text for part in parts for text in part.texts) == sorted(text for text, _ in rows)
    assert [len(part) / 2000 for part in parts] == pytest.approx([0.8, 0.1, 0.1], abs=0.03)
    label_of = dict(rows)
    for part in parts:
        assert [part.label_names[label] for label in part.labels] == [label_of[text] for text in part.texts]


def test_a_text_keeps_its_split_when_rows_come_go_and_move(load):
    before = load({"t": rows_of(500)}, **SHARES)
    after = load({"t": rows_of(400, start=200)[::-1]}, **SHARES)
    home = {text: name for name in ("train", "dev", "test") for text in getattr(before, name).texts}
    for name in ("train", "dev", "test"):
        assert all(home.get(text, name) == name for text in getattr(after, name).texts)


def test_texts_that_differ_in_case_or_space_alone_share_a_split(load):
    rows = [(variant, "ab"[number % 2]) for number in range(300) for variant in (f"Text  {number}", f" text {number}")]
    splits = load({"t": rows}, **SHARES)
    for part in (splits.train, splits.dev, splits.test):
        assert len(part) == 2 * len({" ".join(text.lower().split()) for text in part.texts})


def test_what_a_judging_split_holds_is_dropped_and_counted(load):
    tables = {
        "a": [*rows_of(20), ("Shared one", "a"), ("shared two", "a")],
        "b": [*rows_of(10, 100), ("shared one", "a"), ("shared both", "b")],
        "c": [*rows_of(10, 200), ("shared two", "a"), ("shared  both", "b")],
    }
    splits = load(tables, train={"table": "a"}, dev={"table": "b"}, test={"table": "c"})
    assert [len(splits.train), len(splits.dev), len(splits.test)] == [20, 11, 12]
    assert splits.card["splits"]["train"]["dropped"] == {"also in dev": 1, "also in test": 1}
    assert splits.card["splits"]["dev"]["dropped"] == {"also in test": 1}
    assert splits.card["splits"]["test"]["labels"] == {"a": 6, "b": 6}


def test_the_table_trained_on_settles_the_classes(load):
    tables = {"a": [("x", "c"), ("y", "b"), ("z", "a")], "b": [("u", "c")], "c": [("v", "b")]}
    splits = load(tables, train={"table": "a"}, dev={"table": "b"}, test={"table": "c"})
    assert splits.label_names == splits.test.label_names == ("a", "b", "c")
    assert (splits.dev.labels.tolist(), splits.test.labels.tolist()) == ([2], [1])
    with pytest.raises(DataError, match="label is 'd'"):
        load({**tables, "c": [("v", "d")]}, train={"table": "a"}, dev={"table": "b"}, test={"table": "c"})


CONTEXTS = [f"context {number}" for number in range(100)]


def questions(number: int) -> list[dict[str, object]]:
    """Several questions about each context, all answered by its first word."""
    return [
        {
            "question": f"q{place} of {number}?",
            "context": context,
            "answers": {"text": ["context"], "answer_start": [0]},
        }
        for context in CONTEXTS
        for place in range(number)
    ]


PAIRED = {"columns": {"text": "question", "text_pair": "context"}}


def load_pairs(home: Path, tables: dict[str, list[dict[str, object]]], label: str, target: str, **settings: object):
    for name, rows in tables.items():
        (home / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    sources = {name: {"source": f"{name}.jsonl", **PAIRED, "label": {"column": label}} for name in tables}
    data = DataSettings.model_validate({"tables": sources, **settings})
    return load_data(data, Sources(home / "cache", home), target=target)


def test_all_questions_about_a_context_stand_in_one_split(tmp_path):
    splits = load_pairs(tmp_path, {"t": questions(5)}, "answers", "span", **SHARES)
    parts = [splits.train, splits.dev, splits.test]
    assert sum(map(len, parts)) == 5 * len(CONTEXTS)
    assert sum(len(set(part.pairs)) for part in parts) == len(CONTEXTS)


def test_a_context_that_judges_is_trained_on_with_no_question(tmp_path):
    rows = questions(3)
    tables = {"a": rows[::3], "b": rows[1:60:3], "c": rows[62:120:3]}
    whole = {"train": {"table": "a"}, "dev": {"table": "b"}, "test": {"table": "c"}}
    splits = load_pairs(tmp_path, tables, "answers", "span", **whole)
    assert not set(splits.train.pairs) & (set(splits.dev.pairs) | set(splits.test.pairs))
    assert splits.card["splits"]["train"]["dropped"] == {"also in dev": 20, "also in test": 20}


def test_texts_that_judge_and_are_trained_on_in_other_pairs_are_counted(tmp_path):
    def pairs(*texts: str) -> list[dict[str, object]]:
        return [{"question": text[0], "context": text[1], "score": 1.0} for text in texts]

    tables = {"a": pairs("xy", "zu", "vw"), "b": pairs("x1", "2Y", "3X"), "c": pairs("xy", "45")}
    whole = {"train": {"table": "a"}, "dev": {"table": "b"}, "test": {"table": "c"}}
    splits = load_pairs(tmp_path, tables, "score", "number", **whole)
    assert len(splits.train) == 2  # the pair that judges is gone
    card = splits.card["splits"]
    assert (card["dev"]["shared_texts"], card["test"]["shared_texts"]) == (0, 0)
    tables["a"] += pairs("x8", "9y")
    again = load_pairs(tmp_path, tables, "score", "number", **whole).card["splits"]
    assert (again["dev"]["shared_texts"], again["test"]["shared_texts"]) == (2, 2)
    assert "shared_texts" not in again["train"]


def test_transfer_texts_may_lack_labels_and_never_hold_test_texts(load):
    tables = {"a": rows_of(20), "b": rows_of(10, 100), "c": rows_of(10, 200)}
    settings = {"train": {"table": "a"}, "dev": {"table": "b"}, "test": {"table": "c"}, "transfer": {"table": "m"}}
    splits = load(tables, {"m": "text 3\nnew one\nTEXT 205\n"}, **settings)
    assert splits.transfer.texts == ("text 3", "new one")
    assert splits.transfer.labels is None


def test_calibration_is_a_spread_choice_of_its_split(load):
    splits = load({"t": rows_of(1000)}, **SHARES, calibration={"from": "train", "examples": 50})
    assert len(splits.calibration) == 50
    assert splits.calibration.name == "calibration"
    assert set(splits.calibration.texts) <= set(splits.train.texts)
    positions = [splits.train.texts.index(text) for text in splits.calibration.texts]
    assert positions == sorted(positions)
    assert max(positions) > len(splits.train) / 2


def test_an_empty_split_and_a_missing_label_are_told(load):
    with pytest.raises(DataError, match=r"data\.(dev|test): no row"):
        load({"t": rows_of(2)}, **SHARES)
    with pytest.raises(DataError, match=r"data\.dev: table p has no labels"):
        load({"a": rows_of(9)}, {"p": "x\n", "q": "y\n"}, train={"table": "a"}, dev={"table": "p"}, test={"table": "q"})


@given(st.lists(st.text(min_size=1), min_size=1))
def test_a_place_depends_on_the_text_alone(texts):
    texts = [text.encode(errors="replace").decode() for text in texts]
    places = text_places(texts, None)
    assert places[::-1].tolist() == text_places(texts[::-1], None).tolist()
    assert ((places >= 0) & (places < 1)).all()


def test_taking_more_is_taking_the_same_and_more():
    split = make_split(200)
    fewer, more = split.take(20), split.take(60)
    assert set(fewer.texts) < set(more.texts)
    assert split.take(60).digest == more.digest
    assert split.take(200) is split


def test_a_digest_knows_texts_pairs_and_labels_but_not_the_name():
    split = make_split(10, pairs=True)
    same = Split("other", split.texts, split.pairs, split.labels.copy(), split.label_names)
    assert same.digest == split.digest
    changed = [
        Split("train", split.texts[::-1], split.pairs, split.labels, split.label_names),
        Split("train", split.texts, None, split.labels, split.label_names),
        Split("train", split.texts, split.pairs, 1 - split.labels, split.label_names),
        Split("train", split.texts, split.pairs, None, split.label_names),
        Split("train", ("".join(split.texts[:2]), "", *split.texts[2:]), split.pairs, split.labels, split.label_names),
    ]
    assert len({one.digest for one in [split, *changed]}) == 6


@pytest.mark.parametrize("pairs", [False, True])
def test_the_sum_of_two_splits_is_the_split_of_both(pairs):
    whole = make_split(20, pairs=pairs)
    first, rest = whole.rows(np.arange(13)), whole.rows(np.arange(13, 20))
    assert first.plus(rest).digest == whole.digest
    bare = Split("transfer", rest.texts, rest.pairs)
    assert first.plus(bare).digest == Split("all", whole.texts, whole.pairs, None, whole.label_names).digest


def test_second_texts_in_one_table_alone_are_refused(tmp_path):
    rows = [{"text": f"w{n}", "pair": f"w{n} w1", "label": "a" if n % 2 else "b"} for n in range(40)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "bare.txt").write_text("w1 w2\nw3\n")
    columns = {"text": "text", "text_pair": "pair", "label": "label"}
    tables = {
        "t": {"source": "pairs.jsonl", "columns": columns, "label": {"column": "label"}},
        "x": {"source": "bare.txt"},
    }
    shares = {name: {"table": "t", "split": share} for name, share in (("train", 0.5), ("dev", 0.25), ("test", 0.25))}
    settings = DataSettings.model_validate({"tables": tables, **shares, "transfer": {"table": "x"}})
    with pytest.raises(DataError, match=r"data\.transfer: its table has no second texts, but train has"):
        load_data(settings, Sources(tmp_path / "cache", tmp_path))


def test_labels_cannot_be_written_through_a_split():
    labels = np.zeros(3, dtype=np.int64)
    split = Split("train", ("a", "b", "c"), None, labels)
    with pytest.raises(ValueError, match="read-only"):
        split.labels[0] = 1
    labels[0] = 1  # the caller's own array is left as it was


# Settings


def faults(**settings: object) -> dict[tuple[int | str, ...], str]:
    with pytest.raises(ValidationError) as fault:
        DataSettings.model_validate({"tables": {"t": {"source": "a"}, "u": {"source": "b"}}, **settings})
    return {error["loc"]: error["msg"] for error in fault.value.errors()}


def test_a_fault_across_keys_stands_at_the_key_to_change():
    whole = {"train": {"table": "t"}, "dev": {"table": "u"}}
    assert set(faults(**whole)) == {("test",)}
    assert "one of t, u" in faults(**whole, test={"table": "v"})[("test", "table")]
    assert "fraction" in faults(**whole, test={"table": "u"})[("test", "split")]
    assert set(faults(**{**SHARES, "train": {"table": "t", "split": 0.85}})) == {("test", "split")}
    assert set(faults(**SHARES, transfer={"table": "t", "split": 0.1})) == {("transfer", "split")}
    assert set(faults(**{**SHARES, "train": {"table": "t", "split": 1.5}})) == {("train", "split")}
    assert set(faults(**SHARES, calibration={"from": "test"})) == {("calibration", "from")}


def test_all_faults_are_found_at_once():
    found = faults(train={"table": "x"}, dev={"table": "y"}, test={"tabel": "t"}, calibration={"examples": 0})
    wanted = {("train", "table"), ("dev", "table"), ("test", "table"), ("test", "tabel"), ("calibration", "examples")}
    assert set(found) == wanted


def test_settings_with_every_default_spelled_out_mean_the_same():
    settings = DataSettings.model_validate({"tables": {"t": {"source": "a"}}, **SHARES, "calibration": {"from": "dev"}})
    dumped = settings.model_dump(mode="json")
    assert dumped["calibration"] == {"from": "dev", "examples": 512}
    assert DataSettings.model_validate(dumped) == settings


SHARED = Path(__file__).parents[2] / "shared" / "data"


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data is not here")
def test_a_public_data_set_loses_from_train_what_judges_it():
    tables = {name: {"source": f"clinc150/{name}.jsonl"} for name in ("train", "validation", "test")}
    parts = {"train": {"table": "train"}, "dev": {"table": "validation"}, "test": {"table": "test"}}
    splits = load_data(DataSettings.model_validate({"tables": tables, **parts}), Sources(SHARED, SHARED))
    lost = sum(splits.card["splits"]["train"]["dropped"].values())
    assert len(splits.train) + lost == splits.card["tables"]["train"]["rows"]
    assert not set(splits.train.texts) & (set(splits.dev.texts) | set(splits.test.texts))
