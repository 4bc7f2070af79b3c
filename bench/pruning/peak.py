"""One cut of a model of SmolLM's shape in this very process: how much memory and time it took. `memory` starts it.

Weights are random: they take as much room as trained ones, and nothing is said here about what is lost.
"""

from __future__ import annotations

import gc
import json
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from compress.bundle import Bundle
    from compress.stage import Context

TOKENS = 64
TEXTS = 8
_WORDS = 1000
_TINY = {"hidden_size": 48, "num_hidden_layers": 4, "num_attention_heads": 6, "num_key_value_heads": 2}
_WHOLE = {"hidden_size": 576, "num_hidden_layers": 30, "num_attention_heads": 9, "num_key_value_heads": 3}


def peak(settings: dict[str, Any], *, tiny: bool = False) -> dict[str, float]:
    """Bytes of the model, the most bytes that pruning it held above what imports take, how much is left, and seconds.

    A small model is pruned by the same settings first: whatever is imported on the way is behind us then.

    Args:
        settings: of the stage `prune`.
        tiny: a small model throughout.
    """
    from compress.stages.prune import Prune
    from evaluation.speed.peak import forget, host_bytes

    stage = Prune.model_validate(settings)
    with TemporaryDirectory(prefix="pruning-") as scratch:
        stage.apply(sample_llama(tiny=True), _context(Path(scratch), texts=4, tokens=8))
        gc.collect()
        forget()
        imports = host_bytes()
        bundle = sample_llama(tiny=tiny)
        context = _context(Path(scratch), texts=4, tokens=8) if tiny else _context(Path(scratch))
        gc.collect()
        counted = forget()
        start = perf_counter()
        cut = stage.apply(bundle, context)
        seconds, held = perf_counter() - start, host_bytes() - imports
    size = sum(parameter.numel() * parameter.element_size() for parameter in bundle.module.parameters())
    left = cut.anatomy.parameters / bundle.anatomy.parameters
    found = {"model_bytes": size, "peak_bytes": held, "left": left, "hidden": cut.anatomy.hidden}
    return {**found, "layers": cut.anatomy.layers, "seconds": seconds, "counted": counted}


def sample_llama(*, tiny: bool) -> Bundle:
    """A Llama of 135 M parameters, its embedding tied, weights drawn from seed 0; or a small one."""
    import torch
    from transformers import LlamaConfig

    from compress.bundle import Bundle, plain_config
    from compress.dissection import anatomy_of
    from compress.family import family_of
    from compress.task import task_of

    task = task_of("text-generation")
    shape = _TINY if tiny else _WHOLE
    config = LlamaConfig(
        vocab_size=_WORDS + 4 if tiny else 49152,
        intermediate_size=128 if tiny else 1536,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
        pad_token_id=0,
        **shape,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = task.build(config).eval()
    tokenizer = _tokenizer()
    return Bundle(model, plain_config(model), anatomy_of(model, family_of("llama")), tokenizer, task, ())


def _tokenizer() -> Any:
    from bench.measuring.sample import word_tokenizer

    return word_tokenizer(("input_ids", "attention_mask"))


def _context(scratch: Path, *, texts: int = TEXTS, tokens: int = TOKENS) -> Context:
    import torch

    from compress.data import Split
    from compress.deploy import Deploy
    from compress.stage import Context

    words = [[f"w{(7 * row + 3 * place * place) % _WORDS}" for place in range(tokens - 2)] for row in range(texts)]
    split = Split("calibration", tuple(map(" ".join, words)), None, None, ())
    torch.set_num_threads(Deploy().thread_count)
    return Context(split, split, split, Deploy(), torch.device("cpu"), 13, scratch)


if __name__ == "__main__":
    print(json.dumps(peak(**json.loads(sys.argv[1]))))
