"""The model that is timed, its inputs, and the ways to run it: a `Variant` is one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from bench.gpu.timing import Call

Inputs = dict[str, torch.Tensor]
SIZES = {  # hidden size, layers, heads, FFN, vocabulary
    "bert-base": (768, 12, 12, 3072, 30522),
    "minilm": (384, 6, 12, 1536, 30522),
    "tiny": (32, 2, 4, 64, 200),
}


@dataclass(frozen=True)
class Variant:
    """One way to run a model. `make` gives the call for given inputs; `weights_bytes` is None outside torch."""

    name: str
    precision: str
    make: Callable[[Inputs], Call]
    weights_bytes: int | None = None


def model_of(folder: Path | None, size: str) -> Any:
    from transformers import AutoConfig, AutoModelForSequenceClassification

    if folder is not None:
        model = AutoModelForSequenceClassification.from_pretrained(folder, attn_implementation="sdpa")
        return model.float().eval()
    hidden, layers, heads, ffn, vocabulary = SIZES[size]
    config = AutoConfig.for_model(
        "bert",
        hidden_size=hidden,
        num_hidden_layers=layers,
        num_attention_heads=heads,
        intermediate_size=ffn,
        vocab_size=vocabulary,
    )
    torch.manual_seed(0)
    return AutoModelForSequenceClassification.from_config(config, attn_implementation="sdpa").eval()


def compiled(model: Any, inputs: Inputs, mode: str) -> Call:
    # From its eighth shape on a function is quietly run eagerly, unless what was compiled before is forgotten.
    torch.compiler.reset()
    compiled = torch.compile(model, mode=mode, dynamic=False)
    return lambda: compiled(**inputs).logits


def inputs_of(batch: int, tokens: int, vocabulary: int, device: torch.device, seed: int) -> Inputs:
    """Random tokens without padding, (batch, tokens)."""
    source = torch.Generator().manual_seed(seed)
    ids = torch.randint(0, vocabulary, (batch, tokens), generator=source)
    return {"input_ids": ids.to(device), "attention_mask": torch.ones_like(ids).to(device)}


def bytes_of(model: Any) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in (*model.parameters(), *model.buffers()))


def name_of(dtype: torch.dtype) -> str:
    return {torch.float32: "fp32", torch.float16: "fp16", torch.bfloat16: "bf16"}[dtype]
