"""What tests work on: a tiny bundle of any family, labelled texts that it can learn from, and a stage's context."""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from pydantic import TypeAdapter
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from torch import Tensor, nn
from transformers import PretrainedConfig, PreTrainedTokenizerFast, ViTImageProcessorPil

from compress import catalog
from compress.bundle import Bundle, plain_config
from compress.choices import StageChoice
from compress.data import Split
from compress.deploy import Deploy
from compress.dissection import anatomy_of
from compress.family import Family
from compress.stage import Context, Stage
from compress.task import task_of

SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")
GOOD, BAD = "w0", "w1"
LABELS = ("negative", "positive")


def tiny_tokenizer(
    vocabulary: int, longest: int, inputs: Sequence[str], *, padding: int = 0
) -> PreTrainedTokenizerFast:
    """A word-level tokenizer whose words are `w0`, `w1`, ... up to `vocabulary` entries; `padding`, 0 or 1, is the
    index of its padding token."""
    special = SPECIAL if padding == 0 else (SPECIAL[1], SPECIAL[0], *SPECIAL[2:])
    words = [*special, *(f"w{number}" for number in range(vocabulary - len(special)))]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=longest,
        model_input_names=list(inputs),
    )


def lively(model: nn.Module, seed: int) -> nn.Module:
    """The model with weights so large, and biases so uneven, that every part of it shows in the outputs."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if parameter.ndim > 1:
                parameter.copy_(noise * 1.5 / parameter.shape[-1] ** 0.5)
            else:
                parameter.add_(0.2 * noise)
    return model.eval()


def tiny_bundle(
    family: str = "bert", *, labels: tuple[str, ...] = LABELS, seed: int = 0, task: str | None = None, **changes: Any
) -> Bundle:
    """A tiny model of a family with random weights; `changes` are to its config. Without a task it classifies."""
    chosen: Family = catalog.load("families", family)()
    config = chosen.tiny(len(labels))
    pictures = "pixel_values" in chosen.inputs
    meant = task_of(task or ("image-classification" if pictures else "text-classification"))
    config.update({**changes, **meant.settings(labels)})
    model = lively(meant.build(config), seed)
    processor = _image_processor(config) if pictures else _tokenizer_for(chosen, config)
    return Bundle(model, plain_config(model), anatomy_of(model, chosen), processor, meant, labels)


def tiny_split(name: str, count: int, *, seed: int = 0, words: int = 60) -> Split:
    """Texts of 4 to 12 words, half of them with one `GOOD` word, the others with one `BAD` word: their label."""
    random = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int64) % 2
    texts = []
    for label in labels:
        text = [f"w{number}" for number in random.integers(2, words, size=random.integers(3, 12))]
        text.insert(int(random.integers(0, len(text) + 1)), GOOD if label else BAD)
        texts.append(" ".join(text))
    return Split(name, tuple(texts), None, labels, LABELS)


def tiny_context(scratch: Path, **changes: Any) -> Context:
    """A context on the CPU with small splits. What a stage records and checks is kept in `recorded` and `checked`."""
    scratch.mkdir(parents=True, exist_ok=True)
    settled: dict[str, Any] = {
        "train": tiny_split("train", 64, seed=1),
        "dev": tiny_split("dev", 32, seed=2),
        "calibration": tiny_split("calibration", 32, seed=3),
        "deploy": Deploy(threads=1, shapes=("1x8",)),
        "device": torch.device("cpu"),
        "seed": 13,
        "scratch": scratch,
    }
    return Context(**{**settled, **changes})


def mixed_inputs(bundle: Bundle, *, batch: int = 4, tokens: int = 11, seed: int = 0) -> dict[str, Tensor]:
    """Random tokens; the second row is padded on the right, the third on the left, the fourth has a hole. To a model of
    images, random pictures of its one size, whatever `tokens` is."""
    generator = torch.Generator().manual_seed(seed)
    if bundle.task.modality == "image":
        height, width = bundle.config["image_size"]
        return {"pixel_values": torch.randn(batch, bundle.config["num_channels"], height, width, generator=generator)}
    mask = torch.ones(batch, tokens, dtype=torch.long)
    mask[1 % batch, tokens // 2 :] = 0
    mask[2 % batch, : tokens // 2] = 0
    mask[3 % batch, 2:5] = 0
    ids = torch.randint(len(SPECIAL), bundle.config["vocab_size"], (batch, tokens), generator=generator)
    inputs = {name: torch.zeros_like(mask) for name in bundle.processor.model_input_names}
    ids = torch.where(mask == 1, ids, bundle.processor.pad_token_id)
    return {**inputs, "input_ids": ids, "attention_mask": mask}


def logits_of(model: nn.Module, inputs: dict[str, Tensor]) -> Tensor:
    """What the model answers."""
    with torch.no_grad():
        return model(**inputs).logits


def example_recipe(owner: type) -> list[Any]:
    """The recipe in the `Recipe:` block of a class's docstring."""
    text = inspect.getdoc(owner) or ""
    found = re.search(r"^Recipe:\n((?:[ ]+.*\n?|\n)+)", text, re.MULTILINE)
    assert found, f"{owner.__name__}: its docstring has no `Recipe:` block"
    return yaml.safe_load(textwrap.dedent(found[1]))


def example_stage(owner: type) -> Stage:
    """The stage that a class's docstring shows: the class itself, or one that uses it."""
    [entry] = example_recipe(owner)
    return TypeAdapter(StageChoice).validate_python(entry)


def _tokenizer_for(family: Family, config: PretrainedConfig) -> PreTrainedTokenizerFast:
    longest = family.longest(config.to_dict())
    assert longest is not None, "the tiny models have positions that end"
    return tiny_tokenizer(config.vocab_size, longest, family.inputs, padding=config.pad_token_id)


def _image_processor(config: PretrainedConfig) -> ViTImageProcessorPil:
    height, width = config.image_size
    return ViTImageProcessorPil(size={"height": height, "width": width})
