"""What the bench works on: tiny models made from configs, a table that one can learn from, and a recipe for both."""

from __future__ import annotations

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bench.faults.stock import write_stock

ROOT = Path(__file__).resolve().parents[2]
"""The checkout, which subprocesses import from."""

LABELS = ("negative", "positive")
ROWS = 200
WORDS = 60
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


@dataclass(frozen=True)
class Sample:
    """A folder with a source model, a table, a recipe, and stock models; `run` is where a finished run of it goes."""

    home: Path

    @property
    def recipe(self) -> Path:
        return self.home / "small.yaml"

    @property
    def cache(self) -> Path:
        return self.home / "cache"

    @property
    def run(self) -> Path:
        return self.home / "run"


def make_sample(home: Path, seed: int) -> Sample:
    """Write model, table and recipe into `home`."""
    sample = Sample(home)
    home.mkdir(parents=True, exist_ok=True)
    _write_model(home / "source", seed)
    write_stock(home, home / "source", seed)
    rows = "".join(f"{text}\t{label}\n" for text, label in sample_rows(seed))
    (home / "texts.tsv").write_text("text\tlabel\n" + rows, encoding="utf-8")
    sample.recipe.write_text(yaml.safe_dump(sample_recipe(), sort_keys=False), encoding="utf-8")
    return sample


def sample_rows(seed: int) -> list[tuple[str, str]]:
    """Texts of 4 to 12 words, and their label: half of the texts hold the word `w0`, the others `w1`."""
    random = np.random.default_rng(seed)
    rows = []
    for row in range(ROWS):
        words = [f"w{number}" for number in random.integers(2, WORDS - len(SPECIAL), size=random.integers(3, 12))]
        words.insert(int(random.integers(0, len(words) + 1)), f"w{row % 2}")
        rows.append((" ".join(words), LABELS[row % 2]))
    return rows


def sample_recipe() -> dict[str, Any]:
    """Every kind of stage, in seconds. New values at each call."""
    return {
        "version": 1,
        "name": "small",
        "seed": 3,
        "model": {"task": "text-classification", "source": "source"},
        "data": {
            "tables": {"texts": {"source": "texts.tsv", "label": {"column": "label", "names": list(LABELS)}}},
            "train": {"table": "texts", "split": 0.6},
            "dev": {"table": "texts", "split": 0.15},
            "test": {"table": "texts", "split": 0.25},
            "calibration": {"from": "train", "examples": 32},
        },
        "prepare": [{"finetune": {"epochs": 4, "learning_rate": 0.002, "batch": 8}}],
        "deploy": {"threads": 1, "precision": "int8", "shapes": ["1x8", "2x16"]},
        "stages": [
            {"distill": {"student": {"layers": 2}, "epochs": 3, "learning_rate": 0.002, "batch": 8}},
            {
                "prune": {
                    "target": {"encoder_parameters": 0.7},
                    "criterion": {"use": "magnitude"},
                    "repair": "least_squares",
                    "round_to": 8,
                }
            },
            {"export": {"attention": "fused"}},
            {"quantize": {"method": "dynamic_int8"}},
        ],
        "measure": {"baselines": ["torch-fp32"], "metrics": ["accuracy", "f1"], "footprint": False},
        "gates": {"max_quality_drop": {"metric": "accuracy", "drop": 0.9}},
    }


def outside(cache: Path) -> dict[str, str]:
    """The environment of a subprocess that runs this checkout, with a store of its own and without a network."""
    return {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "COMPRESS_CACHE": str(cache),
        "OMP_NUM_THREADS": "1",
        "HF_HUB_OFFLINE": "1",
    }


def compress_command(*words: str | Path) -> list[str]:
    """The command line in a process of its own."""
    return [sys.executable, "-m", "compress", *map(str, words)]


def quick_command(*words: str | Path) -> list[str]:
    """The same, but it times as little as can be: what is tried here is not how fast anything is."""
    return [sys.executable, "-m", "bench.faults.quick", *map(str, words)]


def _write_model(folder: Path, seed: int) -> None:
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast
    from transformers.utils.logging import disable_progress_bar

    config = BertConfig(
        vocab_size=WORDS,
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=40,
        id2label=dict(enumerate(LABELS)),
        label2id={name: index for index, name in enumerate(LABELS)},
    )
    disable_progress_bar()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        BertForSequenceClassification(config).save_pretrained(folder)
    words = [*SPECIAL, *(f"w{number}" for number in range(WORDS - len(SPECIAL)))]
    tokenizer = Tokenizer(models.WordLevel({word: index for index, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        model_max_length=config.max_position_embeddings,
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    ).save_pretrained(folder)
