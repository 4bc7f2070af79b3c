"""Sentence embeddings: a text goes in, a vector comes out; how alike two texts are is the cosine of their vectors."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from compress.batching import Batch, Encoded, as_rows, encode_texts
from compress.documents import json_list, json_object, within
from compress.errors import DataError, ModelError
from compress.task import Target, Task, read_stock

if TYPE_CHECKING:
    from jaxtyping import Float, Int
    from torch import Tensor, nn
    from transformers import PretrainedConfig, PreTrainedModel

    from compress.data import Split

SCALE = 20.0
"""Of the ranking loss: how steeply a wrong order of two cosines is punished."""

CONFIG_KEY = "sentence_embedding"
"""Where a model's config keeps how its vectors are made."""

_FLAGS = {"mean": "pooling_mode_mean_tokens", "cls": "pooling_mode_cls_token", "max": "pooling_mode_max_tokens"}
_TYPE = "sentence_transformers.models.{}"


@dataclass(frozen=True)
class SentenceEmbedding(Task):
    """One vector a text, pooled from the last layer as sentence-transformers does, and normalized where it does.

    How is read from the source's `modules.json` and kept in the config; a model that says nothing is pooled by the
    mean. Two texts of an example are embedded apart, and judged by their cosine.

    Attributes:
        pooling: `mean` over the tokens, `max` over them, or the first token, `cls`.
        normalize: whether the graph's vectors have length 1.
        max_tokens: the longest text that the model was made for; None where its folder does not say.
    """

    pooling: str = "mean"
    normalize: bool = True
    max_tokens: int | None = None

    name: ClassVar[str] = "sentence-embedding"
    target: ClassVar[Target | None] = "number"
    head: ClassVar[str] = ""
    outputs: ClassVar[tuple[str, ...]] = ("last_hidden_state", "sentence_embedding")
    decided_on: ClassVar[tuple[str, ...]] = ("sentence_embedding",)
    metrics: ClassVar[tuple[str, ...]] = ("spearman", "pearson")

    def settings(self, labels: Sequence[str]) -> Mapping[str, Any]:
        return {}

    def fitted(self, config: Mapping[str, Any]) -> SentenceEmbedding:
        return _of_config(config[CONFIG_KEY]) if CONFIG_KEY in config else self

    def described(self, folder: Path) -> SentenceEmbedding:
        return _described(folder)

    @property
    def longest(self) -> int | None:
        return self.max_tokens

    def build(self, config: PretrainedConfig) -> PreTrainedModel:
        from transformers import AutoModel

        model: PreTrainedModel = AutoModel.from_config(config)
        return _without_pooler(model)

    def read(self, folder: Path, labels: Sequence[str], **settings: Any) -> tuple[PreTrainedModel, tuple[str, ...]]:
        from transformers import AutoModel

        model, missing = read_stock(AutoModel, folder, settings)
        setattr(model.config, CONFIG_KEY, vars(_described(folder)))
        return _without_pooler(model), tuple(name for name in missing if not name.startswith("pooler."))

    def accompany(self, config: Mapping[str, Any], max_tokens: int, folder: Path) -> None:
        """What sentence-transformers reads: its list of modules, how tokens are pooled, and the longest text."""
        kinds = ["Transformer", "Pooling", *(["Normalize"] if self.normalize else [])]
        modules = [
            {"idx": place, "name": str(place), "path": f"{place}_{kind}" if place else "", "type": _TYPE.format(kind)}
            for place, kind in enumerate(kinds)
        ]
        pooling = {flag: self.pooling == name for name, flag in _FLAGS.items()}
        width = next(config[key] for key in ("hidden_size", "dim", "n_embd") if key in config)
        for kind in modules[1:]:
            (folder / str(kind["path"])).mkdir(exist_ok=True)
        _write(folder / "modules.json", modules)
        _write(folder / "1_Pooling" / "config.json", {"word_embedding_dimension": width, **pooling})
        _write(folder / "sentence_bert_config.json", {"max_seq_length": max_tokens, "do_lower_case": False})

    def encode(self, split: Split, processor: Any, *, max_tokens: int, seed: int) -> Encoded:
        if split.labels is not None and split.pairs is None:
            raise DataError(f"{split.name}: a label says how alike two texts are; give the second the role text_pair")
        texts: Sequence[str] = split.texts
        count = len(split)
        if split.pairs is not None:
            texts = [text for pair in zip(split.texts, split.pairs, strict=True) for text in pair]
        found = encode_texts(texts, None, processor, max_tokens=max_tokens)
        each = len(texts) // max(count, 1)
        example = np.repeat(np.arange(count, dtype=np.int64), each)
        labels = None if split.labels is None else list(np.repeat(split.labels, each))
        return as_rows(found, processor, labels=labels, example=example)

    def rows(
        self, texts: Sequence[Int[np.ndarray, "example"]], special: tuple[int, int], max_tokens: int
    ) -> tuple[Int[np.ndarray, "example"], Int[np.ndarray, "example"]]:
        tokens = np.max(texts, axis=0) + special[0]
        return np.full_like(tokens, len(texts)), np.minimum(tokens, max_tokens)

    def graph(self, model: PreTrainedModel) -> nn.Module:
        return _embedder(model, self)

    def scores(self, outputs: Any, inputs: Mapping[str, Tensor]) -> Float[Tensor, "row width"]:
        return self.pooled(outputs.last_hidden_state, inputs["attention_mask"])

    def losses(self, scores: Float[Tensor, "row width"], labels: Float[Tensor, "row"]) -> Float[Tensor, "example"]:
        """For each pair, how strongly pairs of higher label in the batch have a lower cosine than it.

        A smooth count of wrong orders, log(1 + sum exp(SCALE (cosine_i - cosine_j))) over the pairs j that should come
        before i: it asks for the order alone, so labels may be on any scale.
        """
        import torch
        from torch.nn.functional import cosine_similarity

        first, second = scores.unflatten(0, (-1, 2)).unbind(dim=1)
        cosines, wanted = cosine_similarity(first, second, dim=-1), labels[::2]
        margins = SCALE * (cosines[:, None] - cosines[None])
        margins = margins.masked_fill(wanted[:, None] >= wanted[None], float("-inf"))
        return torch.logsumexp(torch.cat([torch.zeros_like(margins[:, :1]), margins], dim=1), dim=1)

    def distillation(
        self,
        student: Float[Tensor, "row width"],
        teacher: Float[Tensor, "row width"],
        inputs: Mapping[str, Tensor],
        labels: Tensor | None,
        *,
        temperature: float,
    ) -> Float[Tensor, ""]:
        """The squared distance of the two models' vectors (Reimers and Gurevych 2020, equation 1)."""
        return ((student - teacher) ** 2).sum(dim=-1).mean()

    def predict(self, scores: Float[np.ndarray, "row width"], batch: Batch) -> Float[np.ndarray, "example text width"]:
        lengths = np.linalg.norm(scores, axis=-1, keepdims=True)
        return (scores / np.maximum(lengths, 1e-12)).reshape(len(batch.index), -1, scores.shape[-1])

    def decide(self, predictions: Float[np.ndarray, "example text width"]) -> Float[np.ndarray, "example"]:
        """The cosine of an example's two texts; of one text alone, 1."""
        return np.einsum("ew,ew->e", predictions[:, 0], predictions[:, -1])

    def alike(
        self, first: Float[np.ndarray, "example text width"], second: Float[np.ndarray, "example text width"]
    ) -> Float[np.ndarray, "example"]:
        """The cosine between the two models' vectors, averaged over an example's texts."""
        return np.einsum("etw,etw->et", first, second).mean(axis=1)

    def pooled(
        self, states: Float[Tensor, "row tokens width"], mask: Int[Tensor, "row tokens"]
    ) -> Float[Tensor, "row width"]:
        """One vector a row out of the last layer's; Reimers and Gurevych 2019, "Sentence-BERT", section 3."""
        import torch
        from torch.nn.functional import normalize

        real = mask[..., None].to(states.dtype)
        if self.pooling == "mean":
            vectors = (states * real).sum(dim=1) / real.sum(dim=1).clamp(min=1e-9)
        elif self.pooling == "max":
            vectors = states.masked_fill(real == 0, torch.finfo(states.dtype).min).amax(dim=1)
        else:  # the first token that is no padding, wherever that stands
            first = mask.argmax(dim=1)[:, None, None].expand(-1, 1, states.shape[-1])
            vectors = states.gather(1, first)[:, 0]
        return normalize(vectors, dim=-1) if self.normalize else vectors


def _without_pooler(model: PreTrainedModel) -> PreTrainedModel:
    """The model without the head that it was pretrained with: vectors are pooled from the last layer itself."""
    if getattr(model, "pooler", None) is not None:
        model.pooler = None
    return model


def _embedder(model: PreTrainedModel, task: SentenceEmbedding) -> nn.Module:
    """A module whose forward pass gives the last layer and the vectors, as a graph's outputs."""
    from torch import nn

    class Embedder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(
            self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None
        ) -> tuple[Tensor, Tensor]:
            # Tracing wants the inputs by name, and a model may know no token types.
            further = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
            states = self.model(input_ids=input_ids, attention_mask=attention_mask, **further).last_hidden_state
            return states, task.pooled(states, attention_mask)

    return Embedder().eval()


def _of_config(how: Any) -> SentenceEmbedding:
    """What a config keeps of it, by us or by anybody else who uses that key.

    Raises:
        ModelError: it is not what `SentenceEmbedding` can be made of.
    """
    task = SentenceEmbedding(**how) if isinstance(how, dict) and set(how) <= set(vars(SentenceEmbedding())) else None
    if (
        task is None
        or not (isinstance(task.pooling, str) and task.pooling in _FLAGS)
        or type(task.normalize) is not bool
        or not _is_length(task.max_tokens)
    ):
        raise ModelError(
            f"config.json: {CONFIG_KEY} is {str(how)[:80]!r}, wanted an object with pooling ({', '.join(_FLAGS)}), "
            "normalize (true or false) and max_tokens (a whole number from 1, or null)"
        )
    return task


def _is_length(value: Any) -> bool:
    return value is None or (type(value) is int and value > 0)


def _described(folder: Path) -> SentenceEmbedding:
    """How the folder's own modules make a vector; where it lists none, how its config says.

    Raises:
        ModelError: by a module, or a pooling, that is not known here; or a file of it is not as it must be.
    """
    by_config = SentenceEmbedding().fitted(json_object(folder / "config.json"))
    listing = folder / "modules.json"
    if not listing.exists():
        return by_config
    kinds: dict[str, Any] = {}
    for place, module in enumerate(json_list(listing)):
        if not isinstance(module.get("type"), str):
            raise ModelError(f"{listing}: entry {place} has no type, which names a class of sentence-transformers")
        kinds[module["type"].rsplit(".", 1)[-1]] = module.get("path", "")
    if "Transformer" not in kinds:
        raise ModelError(f"{listing}: names no Transformer; known: Transformer, Pooling, Normalize")
    if unknown := sorted(set(kinds) - {"Transformer", "Pooling", "Normalize"}):
        raise ModelError(f"{listing}: has a {unknown[0]}; known: Transformer, Pooling, Normalize")
    pooling = _pooling(listing, kinds["Pooling"]) if "Pooling" in kinds else "mean"
    return SentenceEmbedding(pooling, "Normalize" in kinds, _longest(folder / "sentence_bert_config.json"))


def _longest(file: Path) -> int | None:
    longest = json_object(file).get("max_seq_length") if file.exists() else None
    if not _is_length(longest):
        raise ModelError(f"{file}: max_seq_length is {str(longest)[:40]!r}, wanted a whole number from 1, or null")
    return longest


def _pooling(listing: Path, path: Any) -> str:
    """How tokens are pooled in the module that a list of modules has at `path`."""
    try:
        # The folder alone may be no link: in the hub's cache every file is one, this one like config.json.
        file = within(listing.parent, path if isinstance(path, str) else "") / "config.json"
    except ValueError as fault:
        raise ModelError(f"{listing}: the path of Pooling is {str(path)[:80]!r}, {fault}") from None
    described = json_object(file)
    mode = described.get("pooling_mode")
    chosen = [*mode] if isinstance(mode, list) else [] if mode is None else [mode]
    chosen += [
        key.removeprefix("pooling_mode_") for key, on in described.items() if on is True and key != "include_prompt"
    ]
    names = {flag.removeprefix("pooling_mode_"): name for name, flag in _FLAGS.items()} | {
        name: name for name in _FLAGS
    }
    if len(chosen) != 1 or not isinstance(chosen[0], str) or chosen[0] not in names:
        raise ModelError(
            f"{file}: pools by {', '.join(map(str, chosen)) or 'nothing'}; known: one of {', '.join(_FLAGS)}"
        )
    return names[chosen[0]]


def _write(file: Path, document: Any) -> None:
    file.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
