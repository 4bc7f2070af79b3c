"""Batches hold every example once, its rows side by side, with little padding; what they give goes back in order."""

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from compress.batching import IGNORED, Encoded, batches, encode, in_order
from compress.data import Split

WORDS = [f"w{number}" for number in range(50)]


def make_tokenizer(**options: object) -> PreTrainedTokenizerFast:
    vocabulary = {word: number for number, word in enumerate(["[PAD]", "[CLS]", "[SEP]", "[UNK]", *WORDS])}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    names = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    inputs = ["input_ids", "token_type_ids", "attention_mask"]
    return PreTrainedTokenizerFast(tokenizer_object=backend, model_input_names=inputs, **names, **options)


def make_split(count: int, *, pairs: bool = False, seed: int = 0) -> Split:
    random = np.random.default_rng(seed)
    texts = tuple(" ".join(random.choice(WORDS, size=random.integers(1, 60))) for _ in range(count))
    return Split("train", texts, texts[::-1] if pairs else None, random.integers(0, 2, count), ("no", "yes"))


@pytest.mark.parametrize("seed", [None, 0, 7])
@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("pairs", [False, True])
def test_batches_hold_every_example_once_and_unharmed(seed, side, pairs):
    split, tokenizer = make_split(101, pairs=pairs), make_tokenizer(padding_side=side)
    encoded = encode(split, tokenizer, max_tokens=48)
    found = list(batches(encoded, 8, shuffle_seed=seed))
    assert sorted(np.concatenate([batch.index for batch in found])) == list(range(101))
    assert sorted(len(batch.index) for batch in found)[1:] == [8] * 12
    for batch in found:
        rows = batch.index.tolist()
        assert batch.labels.tolist() == split.labels[batch.index].tolist()
        plain = tokenizer(
            [split.texts[row] for row in rows], [split.pairs[row] for row in rows] if pairs else None,
            truncation=True, max_length=48, padding="longest", return_tensors="np",
        )  # fmt: skip
        assert {name: array.tolist() for name, array in batch.inputs.items()} == {
            name: array.tolist() for name, array in plain.items()
        }
        assert {array.dtype for array in batch.inputs.values()} == {np.dtype(np.int64)}


def order(encoded: Encoded, seed: int | None) -> list[list[int]]:
    return [batch.index.tolist() for batch in batches(encoded, 8, shuffle_seed=seed)]


def test_the_seed_and_nothing_else_decides_the_order():
    encoded = encode(make_split(200), make_tokenizer(), max_tokens=64)
    assert order(encoded, 1) == order(encoded, 1)
    assert order(encoded, 1) != order(encoded, 2)
    assert order(encoded, None) == order(encoded, None)


@pytest.mark.parametrize("seed", [None, 3])
def test_little_goes_into_padding(seed):
    encoded = encode(make_split(2000), make_tokenizer(), max_tokens=64)
    cells = sum(batch.inputs["input_ids"].size for batch in batches(encoded, 16, shuffle_seed=seed))
    assert encoded.lengths.sum() / cells > 0.95


def test_shuffled_batches_do_not_come_in_order_of_length():
    encoded = encode(make_split(2000), make_tokenizer(), max_tokens=64)
    widths = [batch.inputs["input_ids"].shape[1] for batch in batches(encoded, 16, shuffle_seed=3)]
    assert abs(np.corrcoef(widths, np.arange(len(widths)))[0, 1]) < 0.3


def test_no_token_beyond_the_limit_is_kept():
    assert encode(make_split(50), make_tokenizer(), max_tokens=10).lengths.max() == 10


def test_tokenizing_leaves_the_tokenizer_as_it_was():
    tokenizer = make_tokenizer()
    before = tokenizer.backend_tokenizer.to_str()
    encode(make_split(5), tokenizer, max_tokens=10)
    assert tokenizer.backend_tokenizer.to_str() == before


def test_a_tokenizer_without_a_padding_token_still_makes_batches():
    tokenizer = make_tokenizer()
    tokenizer.pad_token = None
    assert len(list(batches(encode(make_split(10), tokenizer, max_tokens=16), 4))) == 3


def test_an_empty_split_has_no_batch():
    none = np.zeros(0, dtype=np.int64)
    encoded = Encoded({"input_ids": []}, none, none)
    assert order(encoded, None) == order(encoded, 1) == []


# Several rows an example, labels a token, pictures


def rows_encoded(counts: list[int], *, pad_left: bool = False) -> Encoded:
    """Rows of 1 to 9 tokens, `counts[e]` of example `e`, whose tokens and labels tell the example and the row."""
    random = np.random.default_rng(5)
    example = np.repeat(np.arange(len(counts)), counts)
    lengths = random.integers(1, 10, size=len(example))
    ids = [np.full(length, 100 + row, dtype=np.int32) for row, length in enumerate(lengths)]
    labels = [np.full(length, place, dtype=np.int64) for place, length in zip(example, lengths, strict=True)]
    notes = {"row": [np.array([row]) for row in range(len(example))]}
    return Encoded({"input_ids": ids}, lengths, example, labels, {"input_ids": 7}, pad_left, notes)


@pytest.mark.parametrize("pad_left", [False, True])
@pytest.mark.parametrize("seed", [None, 4])
def test_the_rows_of_an_example_share_a_batch_and_keep_their_labels(pad_left, seed):
    encoded = rows_encoded([1, 3, 2, 1, 4, 1, 2], pad_left=pad_left)
    found = list(batches(encoded, 3, shuffle_seed=seed))
    assert sorted(place for batch in found for place in batch.index.tolist()) == list(range(len(encoded)))
    for batch in found:
        rows = [int(note[0]) for note in batch.notes["row"]]
        assert batch.index[batch.example].tolist() == encoded.example[rows].tolist()
        assert np.bincount(batch.example).tolist() == np.bincount(encoded.example)[batch.index].tolist()
        mask = batch.inputs["attention_mask"].astype(bool)
        assert mask.sum(axis=1).tolist() == encoded.lengths[rows].tolist()
        assert (mask[:, -1 if pad_left else 0]).all()
        assert (batch.inputs["input_ids"][mask] >= 100).all()
        assert (batch.inputs["input_ids"][~mask] == 7).all()
        for row, label in zip(rows, batch.labels, strict=True):
            assert set(label[label != IGNORED].tolist()) == {int(encoded.example[row])}
        assert (batch.labels[~mask] == IGNORED).all()


def test_what_is_kept_of_batches_comes_back_in_the_order_of_the_split():
    encoded = rows_encoded([1] * 20)
    parts, index = [], []
    for batch in batches(encoded, 3, shuffle_seed=1):
        widest = batch.inputs["input_ids"].shape[1]
        parts.append(np.repeat(batch.index[:, None].astype(float), widest, axis=1))
        index.append(batch.index)
    joined = in_order(parts, index)
    assert joined[:, 0].tolist() == list(range(20))
    assert joined.shape[1] == encoded.lengths.max()
    assert np.isnan(joined).any()


def test_pictures_are_asked_for_when_their_batch_is():
    asked = []

    class Slow(list):
        def __getitem__(self, place):
            asked.append(place)
            return np.full((3, 4, 4), place, dtype=np.float32)

        def __len__(self):
            return 10

    encoded = Encoded({"pixel_values": Slow()}, np.full(10, 5), np.arange(10))
    first = next(batches(encoded, 4, shuffle_seed=2))
    assert sorted(asked) == sorted(first.index.tolist())
    assert first.inputs["pixel_values"][:, 0, 0, 0].tolist() == first.index.tolist()
    assert set(first.inputs) == {"pixel_values"}
