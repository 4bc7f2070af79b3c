"""Laws of a smaller vocabulary: seen texts read as before, every word still tokenizes, and nothing is left untied."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny import logits_of, tiny_bundle, tiny_split
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    AlbertTokenizer,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    BertTokenizer,
    CanineTokenizer,
    PreTrainedTokenizerFast,
    RobertaTokenizer,
)

from compress import catalog
from compress.bundle import Bundle
from compress.data import Split
from compress.errors import DataError, ModelError
from compress.folder import load, save
from compress.graph.build import build_graph
from compress.graph.verify import parity
from compress.stage import Context
from compress.stages.distill import Distill
from compress.task import task_of
from compress.vocabulary import Vocabulary, needed, trimmed, with_vocabulary

SPECIAL = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
WORDS = "the cat sat on a mat while dogs were running around houses quickly and quietly through endless fields"
CORPUS = [" ".join(WORDS.split()[start : start + 6]) for start in range(12)] * 5
SEEN = ["the cat sat on a mat", "dogs were running", "a caf\u00e9 in \u4eac"]
HELD_BACK = ["quietly through houses", "tac eht", "endlessly quick fields", "zqx sat"]
BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
KINDS = ("WordPiece", "WordLevel", "BPE", "BPE prefixed", "BPE of bytes", "BPE or bytes", "Unigram", "Unigram or bytes")
SPELLING = [kind for kind in KINDS if kind != "WordLevel"]
DECODERS = ("gpt2", "llama")
TEXT_FAMILIES = [name for name in catalog.names("families") if name != "vit"]


def trained(kind: str) -> PreTrainedTokenizerFast:
    """A small tokenizer of a kind, trained on the corpus, with an added token."""
    made = Tokenizer(_untrained(kind))
    if kind == "BPE of bytes":
        made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(), decoders.ByteLevel()
    else:
        made.normalizer = normalizers.NFC()
        spaced = kind.startswith("Unigram") or kind == "BPE or bytes"
        made.pre_tokenizer = pre_tokenizers.Metaspace() if spaced else pre_tokenizers.Whitespace()
    made.train_from_iterator(CORPUS, _trainer(kind))
    if kind.endswith("or bytes"):
        made = _falling_back(made)
    places = {token: made.token_to_id(token) for token in SPECIAL}
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=[(t, places[t]) for t in ("<s>", "</s>")]
    )
    names = {"bos": 0, "cls": 0, "pad": 1, "eos": 2, "sep": 2, "unk": 3, "mask": 4}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=made,
        model_max_length=64,
        model_input_names=["input_ids", "attention_mask"],
        **{f"{name}_token": SPECIAL[place] for name, place in names.items()},
    )
    tokenizer.add_tokens(["[user]"])
    return tokenizer


def _untrained(kind: str) -> Any:
    match kind.split(maxsplit=1)[0]:
        case "WordPiece":
            return models.WordPiece(unk_token="<unk>")
        case "WordLevel":
            return models.WordLevel(unk_token="<unk>")
        case "Unigram":
            return models.Unigram()
    if kind == "BPE of bytes":
        return models.BPE()
    ways = {"BPE": {"end_of_word_suffix": "</w>"}, "BPE prefixed": {"continuing_subword_prefix": "##"}}
    return models.BPE(unk_token="<unk>", **ways.get(kind, {}))


def _trainer(kind: str) -> Any:
    match kind.split(maxsplit=1)[0]:
        case "WordPiece":
            return trainers.WordPieceTrainer(vocab_size=150, special_tokens=SPECIAL)
        case "WordLevel":
            return trainers.WordLevelTrainer(special_tokens=SPECIAL)
        case "Unigram":
            return trainers.UnigramTrainer(vocab_size=120, special_tokens=SPECIAL, unk_token="<unk>")
    if kind == "BPE of bytes":
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        return trainers.BpeTrainer(vocab_size=400, special_tokens=SPECIAL, initial_alphabet=alphabet)
    ways = {"BPE": {"end_of_word_suffix": "</w>"}, "BPE prefixed": {"continuing_subword_prefix": "##"}}
    return trainers.BpeTrainer(vocab_size=150, special_tokens=SPECIAL, **ways.get(kind, {}))


def _falling_back(made: Tokenizer) -> Tokenizer:
    """The tokenizer with a piece for each byte, of which it makes what it has no piece for."""
    state = json.loads(made.to_str())
    model = state["model"]
    model["byte_fallback"] = True
    if model["type"] == "Unigram":
        model["vocab"] += [[byte, -9.0] for byte in BYTES]
    else:
        model["vocab"] |= {byte: len(model["vocab"]) + place for place, byte in enumerate(BYTES)}
    return Tokenizer.from_str(json.dumps(state))


def bundle_of(kind: str, family: str = "roberta", **changes: Any) -> Bundle:
    """A tiny model that reads what the tokenizer of a kind makes."""
    tokenizer = trained(kind)
    special = {f"{name}_token_id": getattr(tokenizer, f"{name}_token_id") for name in ("pad", "bos", "eos")}
    made = tiny_bundle(family, **({"vocab_size": len(tokenizer)} | special | changes))
    tokenizer.model_input_names = list(made.processor.model_input_names)
    return replace(made, processor=tokenizer)


def pieces(tokenizer: Any, text: str) -> list[str]:
    return tokenizer.convert_ids_to_tokens(tokenizer(text)["input_ids"])


def answers(bundle: Bundle, texts: list[str], model: Any = None) -> torch.Tensor:
    return logits_of(model or bundle.module, dict(bundle.processor(texts, padding=True, return_tensors="pt")))


@pytest.fixture(scope="module", params=KINDS)
def pair(request: pytest.FixtureRequest) -> tuple[Bundle, Bundle]:
    """A bundle with a tokenizer of each kind, and the same with what the seen texts need."""
    whole = bundle_of(request.param)
    return whole, with_vocabulary(whole, needed(whole, SEEN))


def test_fewer_tokens_are_left_and_all_parts_agree_on_how_many(pair: tuple[Bundle, Bundle]):
    whole, small = pair
    words = small.module.get_input_embeddings()
    rows = words.weight.shape[0]
    assert rows == words.num_embeddings == len(small.processor)
    assert rows == small.config["vocab_size"] == small.module.config.vocab_size
    assert rows < whole.config["vocab_size"] == whole.module.config.vocab_size
    gone = (whole.config["vocab_size"] - rows) * whole.config["hidden_size"]
    assert whole.anatomy.parameters - small.anatomy.parameters == gone
    assert small.anatomy.parameters == sum(one.numel() for one in small.module.parameters())


def test_seen_texts_are_read_as_before(pair: tuple[Bundle, Bundle]):
    whole, small = pair
    for text in SEEN:
        assert pieces(small.processor, text) == pieces(whole.processor, text)
        assert small.processor.decode(small.processor(text).input_ids) == whole.processor.decode(
            whole.processor(text).input_ids
        )
    assert torch.equal(answers(small, SEEN), answers(whole, SEEN))


@pytest.mark.parametrize("pair", SPELLING, indirect=True)
@settings(max_examples=60, deadline=None, database=None)
@given(text=st.text(alphabet=sorted({*WORDS, "z", "\u00e9", "\u4eac"}), min_size=1, max_size=20))
def test_every_word_still_tokenizes(pair: tuple[Bundle, Bundle], text: str):
    whole, small = pair
    before, after = pieces(whole.processor, text), pieces(small.processor, text)
    assert after.count("<unk>") == before.count("<unk>")
    # Not always in more pieces: where a merge is gone, one that it kept from happening may give a longer piece.
    spelled = ["".join(piece.removeprefix("##") for piece in each) for each in (before, after)]
    assert spelled[0] == spelled[1]


def test_unseen_words_are_read_in_shorter_pieces_or_as_unknown(pair: tuple[Bundle, Bundle]):
    whole, small = pair
    told = [(pieces(whole.processor, text), pieces(small.processor, text)) for text in HELD_BACK]
    assert any(before != after for before, after in told)


def test_special_and_added_tokens_keep_their_meaning(pair: tuple[Bundle, Bundle]):
    whole, small = pair
    for name in ("pad", "bos", "eos", "unk", "mask"):
        assert getattr(small.processor, f"{name}_token") == getattr(whole.processor, f"{name}_token")
    for name in ("pad", "bos", "eos"):
        assert small.config[f"{name}_token_id"] == getattr(small.processor, f"{name}_token_id")
    assert small.module.get_input_embeddings().padding_idx == small.processor.pad_token_id
    one, two = small.processor("[user] the"), small.processor("the", "cat")
    assert small.processor.convert_ids_to_tokens(one["input_ids"])[:2] == ["<s>", "[user]"]
    assert two["input_ids"].count(small.processor.eos_token_id) == 3


def test_it_loads_again_here_and_in_the_stock_classes(pair: tuple[Bundle, Bundle], tmp_path: Path):
    _, small = pair
    save(small, tmp_path)
    again = load(tmp_path)
    assert again.digest == small.digest
    assert torch.equal(answers(again, HELD_BACK), answers(small, HELD_BACK))
    stock = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert torch.equal(answers(small, HELD_BACK, stock), answers(small, HELD_BACK))
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    for text in (*SEEN, *HELD_BACK, "<mask> [user]"):
        assert tokenizer(text)["input_ids"] == small.processor(text)["input_ids"]


def _classes() -> dict[str, PreTrainedTokenizerFast]:
    """A tokenizer of each of transformers' own classes that builds its parts anew, from the pieces, when it is made."""
    names = {"<s>": "[CLS]", "</s>": "[SEP]", "<pad>": "[PAD]", "<unk>": "[UNK]", "<mask>": "[MASK]"}
    words, scored, merged = (
        json.loads(trained(kind).backend_tokenizer.to_str())["model"]
        for kind in ("WordPiece", "Unigram", "BPE of bytes")
    )
    merges = [tuple(pair) for pair in merged["merges"]]
    marks = {"<s>": "[CLS]", "</s>": "[SEP]"}
    return {
        "bert": BertTokenizer({names.get(piece, piece): place for piece, place in words["vocab"].items()}),
        "albert": AlbertTokenizer([(marks.get(piece, piece), score) for piece, score in scored["vocab"]]),
        "roberta": RobertaTokenizer(merged["vocab"], merges, model_max_length=64),
    }


@pytest.mark.parametrize("family", ["bert", "albert", "roberta"])
def test_transformers_own_classes_of_tokenizers_load_it_again(family: str, tmp_path: Path):
    tokenizer = _classes()[family]
    made = tiny_bundle(family, vocab_size=len(tokenizer), pad_token_id=tokenizer.pad_token_id)
    whole = replace(made, processor=tokenizer)
    small = with_vocabulary(whole, needed(whole, SEEN))
    assert len(small.processor) < len(tokenizer)
    save(small, tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert type(again) is type(tokenizer)
    for text in (*SEEN, *HELD_BACK):
        assert again(text)["input_ids"] == small.processor(text)["input_ids"]
    for text in SEEN:
        assert pieces(again, text) == pieces(tokenizer, text)


def test_the_given_bundle_stays_and_all_but_the_embedding_is_shared_with_it(pair: tuple[Bundle, Bundle]):
    whole, _ = pair
    before, state = replace(whole).digest, torch.random.get_rng_state()
    small = with_vocabulary(whole, needed(whole, SEEN))
    assert replace(whole).digest == before
    assert torch.equal(torch.random.get_rng_state(), state), "the caller's random state was disturbed"
    own = {id(one) for one in whole.module.parameters()}
    fresh = [name for name, one in small.module.named_parameters() if id(one) not in own]
    assert fresh == ["roberta.embeddings.word_embeddings.weight"]
    assert not {id(one) for one in whole.module.modules()} & {id(one) for one in small.module.modules()}


@pytest.mark.parametrize("family", TEXT_FAMILIES)
def test_every_family_answers_as_before_and_loads_again(family: str, tmp_path: Path):
    whole = bundle_of("BPE of bytes", family)
    small = with_vocabulary(whole, needed(whole, SEEN))
    assert small.config["vocab_size"] < whole.config["vocab_size"]
    assert torch.equal(answers(small, SEEN), answers(whole, SEEN))
    save(small, tmp_path)
    assert torch.equal(answers(load(tmp_path), HELD_BACK), answers(small, HELD_BACK))
    stock = AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    assert torch.equal(answers(small, HELD_BACK, stock), answers(small, HELD_BACK))


@pytest.mark.parametrize("family", TEXT_FAMILIES)
@pytest.mark.parametrize("tied", [True, False], ids=["tied", "untied"])
def test_an_output_layer_loses_the_same_tokens_and_stays_tied(family: str, tied: bool, tmp_path: Path):
    task = "text-generation" if family in DECODERS else "fill-mask"
    whole = bundle_of("WordPiece", family, task=task, labels=(), tie_word_embeddings=tied)
    ids = needed(whole, SEEN)
    small = with_vocabulary(whole, ids)
    output = small.module.get_output_embeddings()
    assert output.weight.shape[0] == output.out_features == len(ids)
    assert (output.weight is small.module.get_input_embeddings().weight) == tied
    assert not [name for name, one in small.module.named_parameters() if whole.config["vocab_size"] in one.shape]
    torch.testing.assert_close(answers(small, SEEN), answers(whole, SEEN)[..., torch.from_numpy(ids)])
    save(small, tmp_path)
    again = load(tmp_path).module
    assert (again.get_output_embeddings().weight is again.get_input_embeddings().weight) == tied
    assert torch.equal(answers(small, SEEN, again), answers(small, SEEN))


def test_the_graph_of_a_trimmed_model_keeps_parity(tmp_path: Path):
    whole = bundle_of("WordPiece")
    small = with_vocabulary(whole, needed(whole, SEEN))
    graph = build_graph(small, tmp_path / "model.onnx", attention="fused")
    assert parity(small, graph, seed=3).passed


def test_rare_tokens_leave_where_more_is_asked_for():
    whole = bundle_of("WordPiece")
    kept = [set(needed(whole, [*SEEN, SEEN[0]], fewest=fewest).tolist()) for fewest in (1, 2, 3)]
    assert kept[0] > kept[1] > kept[2]


def test_what_merges_on_the_way_stays_and_no_more():
    whole = bundle_of("BPE of bytes")
    every, none = (set(whole.processor.convert_ids_to_tokens(needed(whole, texts))) for texts in (["running"], []))
    [long] = set(pieces(whole.processor, "running")) - {"<s>", "</s>"}
    on_the_way = every - none - {long}
    assert long in every
    assert on_the_way
    assert all(1 < len(piece) < len(long) and piece in long for piece in on_the_way)


def test_a_character_that_stands_nowhere_alone_keeps_the_pieces_that_hold_it():
    whole = bundle_of("WordPiece")
    state = json.loads(whole.processor.backend_tokenizer.to_str())
    vocabulary = state["model"]["vocab"]
    place = vocabulary.pop("##g")
    vocabulary["##gone"] = place
    whole.processor._tokenizer = Tokenizer.from_str(json.dumps(state))
    kept = set(whole.processor.convert_ids_to_tokens(needed(whole, ["the"]).tolist()))
    assert {piece for piece in vocabulary if "g" in piece.removeprefix("##")[piece[0] != "#" :]} <= kept


def test_the_texts_are_those_of_the_splits_that_are_named(make_context: Callable[..., Context]):
    bundle, told = tiny_bundle(), dict[str, Any]()
    context = make_context(record=told.__setitem__, train=tiny_split("train", 8, seed=1, words=20))
    small = trimmed(bundle, Vocabulary(), context)
    assert told["tokens"] == [{"before": 120, "kept": len(small.processor), "seen in": "train"}]
    more = trimmed(bundle, Vocabulary(seen_in=("train", "dev")), context)
    assert len(small.processor) < len(more.processor) < 120


def test_second_texts_count_as_seen(make_context: Callable[..., Context]):
    both = Split("train", ("w1 w2", "w3"), ("w40 w41", "w42"), np.zeros(2, dtype=np.int64), ("a", "b"))
    small = trimmed(tiny_bundle(), Vocabulary(), make_context(train=both))
    assert "[UNK]" not in pieces(small.processor, "w1 w2 w3 w40 w41 w42")
    assert "[UNK]" in pieces(small.processor, "w43")


def test_tokens_beyond_the_tokenizers_own_leave():
    whole = bundle_of("WordPiece", vocab_size=len(trained("WordPiece")) + 23)
    assert with_vocabulary(whole, needed(whole, SEEN)).config["vocab_size"] == len(needed(bundle_of("WordPiece"), SEEN))


def test_a_split_that_is_not_there_and_a_cut_of_nothing_are_refused(make_context: Callable[..., Context]):
    with pytest.raises(DataError, match="seen_in names transfer, and the recipe's data has none"):
        trimmed(tiny_bundle(), Vocabulary(seen_in=("transfer",)), make_context())
    texts = tuple(f"w{number}" for number in range(115))
    every = replace(tiny_split("train", 115), texts=texts, labels=np.zeros(115, dtype=np.int64))
    with pytest.raises(ModelError, match="all 120 tokens are needed"):
        trimmed(tiny_bundle(), Vocabulary(), make_context(train=every))


def test_what_has_no_vocabulary_that_can_be_cut_is_refused(make_context: Callable[..., Context]):
    with pytest.raises(ModelError, match="image-classification reads no text"):
        trimmed(tiny_bundle("vit"), Vocabulary(), make_context())
    with pytest.raises(ModelError, match=r"CanineTokenizer has no tokenizer\.json"):
        needed(replace(tiny_bundle(), processor=CanineTokenizer()), SEEN)
    with pytest.raises(ModelError, match="the tokenizer has the id"):
        needed(bundle_of("BPE", vocab_size=20), SEEN)
    silent = bundle_of("WordLevel")
    silent.processor.backend_tokenizer.model.unk_token = "nowhere"
    with pytest.raises(ModelError, match="without an unknown token"):
        needed(silent, SEEN)


def test_a_score_of_every_word_is_not_compared_with_one_of_fewer_words():
    task, before = task_of("fill-mask"), np.array([[[7.0, 7.0, 0.1], [np.nan] * 3]])
    assert task.comparable(before, np.where(before == 0.1, 0.3, before))
    assert not task.comparable(before, np.where(before == 7.0, 4.0, before))


def test_a_padding_token_that_positions_are_counted_from_keeps_its_number():
    whole = bundle_of("WordPiece")
    with pytest.raises(ModelError, match="counts positions from its padding token's id, 1, which would be 0"):
        with_vocabulary(whole, needed(whole, SEEN)[1:])


def test_a_student_that_reads_other_tokens_than_its_teacher_is_refused(make_context: Callable[..., Context]):
    whole = tiny_bundle()
    small = trimmed(whole, Vocabulary(), make_context(train=tiny_split("train", 8, seed=1, words=20)))
    with pytest.raises(ModelError, match="the axis vocabulary belongs after distill"):
        Distill(epochs=1).apply(small, make_context(reference=whole))
