"""Model folders as the hub has them, with no anatomy.json, and the tables that go with them: words, pairs, pictures."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np

HOME = "stock"
TAGS = ("O", "B-X")
CLASSES = ("dark", "light")
SIDE = 8
"""Pixels of a picture's edge, as the model takes it; as they come, pictures are larger."""
PICTURES = 6
ROWS = 12


def _measured(name: str, data: str, shape: str) -> tuple[str, ...]:
    return ("measure", f"{HOME}/{name}", "--data", data, "--latency", shape, "--threads", "1")


CLASSIFIER = _measured("classifier", "texts.tsv", "1x8")
TAGGER = _measured("tagger", f"{HOME}/tags.conll", "1x8")
EMBEDDER = _measured("embedder", f"{HOME}/pairs.tsv", "1x8")
VISION = _measured("vision", f"{HOME}/pictures", "1x5")
ALL = (CLASSIFIER, TAGGER, EMBEDDER, VISION)
"""Command lines that meet each folder. The vision model's pictures have four patches and one token of their class."""


def write_stock(home: Path, source: Path, seed: int) -> None:
    """Write folders and tables into `home`; `source` is a folder with a BERT classifier and its tokenizer."""
    folder = home / HOME
    shutil.copytree(source, folder / "classifier")
    _write_tagger(folder / "tagger", source, seed)
    _write_embedder(folder / "embedder", source, seed)
    _write_vision(folder / "vision", seed)
    random = np.random.default_rng(seed)
    (folder / "tags.conll").write_text(_sentences(random), encoding="utf-8")
    (folder / "pairs.tsv").write_text(_pairs(random), encoding="utf-8")
    for row in range(PICTURES):
        file = folder / "pictures" / CLASSES[row % 2] / f"{row}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(_picture(random, light=bool(row % 2)))


def _write_tagger(folder: Path, source: Path, seed: int) -> None:
    from transformers import BertConfig, BertForTokenClassification

    config = BertConfig.from_pretrained(source)
    config.update({"id2label": dict(enumerate(TAGS)), "label2id": {name: index for index, name in enumerate(TAGS)}})
    _drawn(BertForTokenClassification, config, seed).save_pretrained(folder)
    _with_tokenizer(folder, source)


def _write_embedder(folder: Path, source: Path, seed: int) -> None:
    from transformers import BertConfig, BertModel

    config = BertConfig.from_pretrained(source)
    _drawn(BertModel, config, seed).save_pretrained(folder)
    _with_tokenizer(folder, source)
    kinds = {"": "Transformer", "1_Pooling": "Pooling", "2_Normalize": "Normalize"}
    modules = [
        {"idx": place, "name": str(place), "path": path, "type": f"sentence_transformers.models.{kind}"}
        for place, (path, kind) in enumerate(kinds.items())
    ]
    pooling = {"word_embedding_dimension": config.hidden_size, "pooling_mode_cls_token": False}
    (folder / "1_Pooling").mkdir()
    _write_json(folder / "modules.json", modules)
    _write_json(folder / "1_Pooling" / "config.json", pooling | {"pooling_mode_mean_tokens": True})
    _write_json(folder / "sentence_bert_config.json", {"max_seq_length": 24, "do_lower_case": False})


def _write_vision(folder: Path, seed: int) -> None:
    from transformers import ViTConfig, ViTForImageClassification, ViTImageProcessorPil

    config = ViTConfig(
        image_size=SIDE,
        patch_size=SIDE // 2,
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        id2label=dict(enumerate(CLASSES)),
        label2id={name: index for index, name in enumerate(CLASSES)},
    )
    _drawn(ViTForImageClassification, config, seed).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": SIDE, "width": SIDE}).save_pretrained(folder)


def _drawn(model_class: Any, config: Any, seed: int) -> Any:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return model_class(config)


def _with_tokenizer(folder: Path, source: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(source / name, folder / name)


def _sentences(random: np.random.Generator) -> str:
    """A word and its tag a line: `w0` is tagged, the others are not."""
    found = []
    for _ in range(ROWS):
        words = [f"w{number}" for number in random.integers(0, 4, size=random.integers(3, 8))]
        found.append("".join(f"{word}\t{TAGS[word == 'w0']}\n" for word in words))
    return "\n".join(found)


def _pairs(random: np.random.Generator) -> str:
    rows = ["text\ttext_pair\tscore"]
    for row in range(ROWS):
        first, second = (" ".join(f"w{number}" for number in random.integers(0, 9, size=5)) for _ in range(2))
        rows.append(f"{first}\t{second}\t{row / ROWS}")
    return "\n".join(rows) + "\n"


def _picture(random: np.random.Generator, *, light: bool) -> bytes:
    from PIL import Image

    pixels = random.integers(0, 120, size=(SIDE + 2, SIDE + 4, 3)) + 130 * light
    content = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(content, format="PNG")
    return content.getvalue()


def _write_json(file: Path, document: Any) -> None:
    file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
