"""Text classification: one text in, one score per class out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from compress.task import label_maps

if TYPE_CHECKING:
    import numpy as np
    from jaxtyping import Float, Int
    from torch import Tensor
    from transformers import PretrainedConfig, PreTrainedModel


class TextClassification:
    """One class for each text; the decision is the class with the highest score."""

    name: ClassVar[str] = "text-classification"
    outputs: ClassVar[tuple[str, ...]] = ("logits",)
    metrics: ClassVar[tuple[str, ...]] = ("accuracy", "f1")

    def build(self, config: PretrainedConfig) -> PreTrainedModel:
        from transformers import AutoModelForSequenceClassification

        return AutoModelForSequenceClassification.from_config(config)

    def read(self, folder: Path, labels: Sequence[str]) -> tuple[PreTrainedModel, tuple[str, ...]]:
        import torch
        from transformers import AutoModelForSequenceClassification

        # Safetensors alone: a pickle can run code when it is opened.
        model, info = AutoModelForSequenceClassification.from_pretrained(
            folder,
            dtype=torch.float32,
            use_safetensors=True,
            local_files_only=True,
            ignore_mismatched_sizes=True,  # a head for other labels; whether that is allowed is the caller's to say
            output_loading_info=True,
            **label_maps(labels),
        )
        mismatched = [key[0] if isinstance(key, tuple) else key for key in info["mismatched_keys"]]
        return model, (*sorted(info["missing_keys"]), *sorted(mismatched))

    def scores(self, outputs: Any) -> Float[Tensor, "batch label"]:
        logits: Tensor = outputs.logits
        return logits

    def loss(self, logits: Float[Tensor, "batch label"], labels: Int[Tensor, "batch"]) -> Float[Tensor, ""]:
        from torch.nn.functional import cross_entropy

        return cross_entropy(logits, labels)

    def decide(self, scores: Float[np.ndarray, "example label"]) -> Int[np.ndarray, "example"]:
        return scores.argmax(axis=-1)
