"""Decoders as other people publish them: without a padding token, padded on either side, for tasks that they can do."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from task_samples import sample, task_bundle
from tiny import LABELS, logits_of, mixed_inputs, tiny_bundle
from torch import Tensor

from compress.anatomy import Group
from compress.batching import IGNORED, batches, in_order
from compress.bundle import Bundle
from compress.errors import ModelError
from compress.feed import feed
from compress.folder import load, save, source_bundle, stock_model
from compress.lineage import Lineage
from compress.surgery import keep_layers, keep_units
from compress.task import task_in, task_of

EOS = 3


def published(folder: Path, family: str, *, token: str | None = "[SEP]", side: str = "right", **config: Any) -> Bundle:
    """A folder whose tokenizer and config name no padding token, unless `config` does, read as a source is."""
    whole = tiny_bundle(family)
    save(whole, folder)
    (folder / "anatomy.json").unlink()
    tokens = {"pad_token": None, "eos_token": token, "unk_token": token, "padding_side": side}
    for name, changes in (("tokenizer_config.json", tokens), ("config.json", {"pad_token_id": None, **config})):
        document = json.loads((folder / name).read_text(encoding="utf-8"))
        (folder / name).write_text(json.dumps({**document, **changes}), encoding="utf-8")
    return source_bundle(folder, whole.task, LABELS, Lineage())


def predictions(bundle: Bundle, size: int) -> np.ndarray:
    """Scores of some texts of different lengths, `size` in a batch."""
    parts, index = [], []
    with torch.no_grad():
        for batch in feed(sample(bundle.task, "test", 12), bundle, torch.device("cpu"), size=size):
            scores = bundle.task.scores(bundle.module(**batch.inputs), batch.inputs).numpy()
            parts.append(bundle.task.predict(scores, batch.source))
            index.append(batch.source.index)
    return in_order(parts, index)


@pytest.mark.parametrize("side", ["right", "left"])
@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_a_classifier_without_a_padding_token_answers_alike_in_every_batch(family: str, side: str, tmp_path: Path):
    bundle = published(tmp_path / "source", family, side=side)
    assert bundle.config["pad_token_id"] == bundle.processor.pad_token_id == EOS
    together = predictions(bundle, 12)
    assert np.allclose(together, predictions(bundle, 1), atol=1e-5)
    save(bundle, tmp_path / "saved")
    again = load(tmp_path / "saved")
    assert again.digest == bundle.digest
    assert np.allclose(predictions(again, 12), together, atol=1e-6)


def test_texts_of_a_model_that_counts_positions_from_the_start_are_padded_behind(tmp_path: Path):
    for family, side in (("gpt2", "right"), ("llama", "left")):
        assert published(tmp_path / family, family, side="left").processor.padding_side == side
        kept = json.loads((tmp_path / family / "tokenizer_config.json").read_text(encoding="utf-8"))
        assert kept["padding_side"] == "left", "the model's own file says what it said"


def test_the_token_that_the_config_names_is_the_one_that_texts_are_padded_with(tmp_path: Path):
    bundle = published(tmp_path, "llama", pad_token_id=4)
    assert bundle.config["pad_token_id"] == bundle.processor.pad_token_id == 4


@pytest.mark.parametrize("wrong", [-1, 120])
def test_a_padding_token_that_the_vocabulary_has_not_is_none(wrong: int, tmp_path: Path):
    bundle = published(tmp_path, "gpt2", pad_token_id=wrong)
    assert bundle.config["pad_token_id"] == bundle.processor.pad_token_id == EOS


def test_a_folder_with_no_token_to_pad_with_is_named(tmp_path: Path):
    with pytest.raises(ModelError, match="names no padding, end-of-text or unknown token"):
        published(tmp_path, "gpt2", token=None)


@pytest.mark.parametrize(
    ("task", "family"), [("text-generation", "bert"), ("fill-mask", "gpt2"), ("fill-mask", "llama")]
)
def test_a_task_for_the_other_direction_is_refused(task: str, family: str):
    with pytest.raises(ModelError, match=f"{task}: a '{family}' reads texts .*; wanted a model that reads them"):
        stock_model(tiny_bundle(family).config, task_of(task))


@pytest.mark.parametrize("name", ["GPT2LMHeadModel", "LlamaForCausalLM"])
def test_causal_models_of_both_ways_of_naming_are_known(name: str):
    assert task_in({"architectures": [name]}).name == "text-generation"


@pytest.mark.parametrize("side", ["right", "left"])
def test_every_token_but_the_first_is_predicted_once(side: str):
    bundle = task_bundle(task_of("text-generation"), "llama")
    bundle.processor.padding_side = side
    encoded = bundle.task.encode(sample(bundle.task, "train", 9), bundle.processor, max_tokens=64, seed=0)
    for batch in batches(encoded, 4):
        for ids, mask, labels in zip(
            batch.inputs["input_ids"], batch.inputs["attention_mask"], batch.labels, strict=True
        ):
            text = ids[mask == 1]
            assert labels[mask == 1].tolist() == [*text[1:].tolist(), IGNORED]
            assert (labels[mask == 0] == IGNORED).all()


def test_the_loss_of_an_example_is_the_mean_over_its_own_tokens():
    bundle = task_bundle(task_of("text-generation"), "gpt2")
    [batch] = feed(sample(bundle.task, "train", 6), bundle, torch.device("cpu"), size=6)
    with torch.no_grad():
        losses = bundle.task.losses(bundle.module(**batch.inputs).logits, batch.truth)
        for row, loss in enumerate(losses):
            ids = batch.inputs["input_ids"][row][batch.inputs["attention_mask"][row] == 1][None]
            stock = bundle.module(input_ids=ids, attention_mask=torch.ones_like(ids), labels=ids).loss
            assert torch.allclose(loss, stock, atol=1e-5)


def test_layers_that_scale_by_their_number_keep_their_scores_when_others_leave(tmp_path: Path):
    whole = tiny_bundle("gpt2", scale_attn_by_inverse_layer_idx=True)
    for index, block in enumerate(whole.module.transformer.h):
        block.attn.scaling = 8**-0.5 / (index + 1)
    cut = whole.with_model(keep_layers(whole.module, whole.family, (2, 3)))
    plain = replace(whole).with_model(keep_layers(whole.module, whole.family, range(4)))
    blocks = plain.module.transformer.h
    blocks[0].forward = blocks[1].forward = lambda hidden, *_args, **_kwargs: hidden
    inputs = mixed_inputs(whole)
    assert torch.allclose(logits_of(cut.module, inputs), logits_of(plain.module, inputs), atol=1e-5)
    save(cut, tmp_path)
    assert torch.allclose(logits_of(load(tmp_path).module, inputs), logits_of(cut.module, inputs), atol=1e-5)


def test_layers_that_scale_by_their_number_keep_their_scores_when_heads_leave_as_well():
    whole = tiny_bundle("gpt2", scale_attn_by_inverse_layer_idx=True)
    for index, block in enumerate(whole.module.transformer.h):
        block.attn.scaling = 8**-0.5 / (index + 1)
    heads = whole.anatomy.of_axis("heads")
    masks = [torch.arange(group.units) < 2 for group in heads]
    at_once = keep_units(whole.module, whole.family, heads, masks, layers=(2, 3))
    in_turn = keep_units(keep_layers(whole.module, whole.family, (2, 3)), whole.family, *_first(whole, (2, 3), masks))
    inputs = mixed_inputs(whole)
    assert torch.allclose(logits_of(at_once, inputs), logits_of(in_turn, inputs), atol=1e-5)


def _first(whole: Bundle, kept: tuple[int, ...], masks: list[Tensor]) -> tuple[list[Group], list[Tensor]]:
    """The heads of a model that has only the kept layers, and as many of the masks."""
    fewer = whole.anatomy.with_layers(kept)
    return list(fewer.of_axis("heads")), masks[: len(kept)]
