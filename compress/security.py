"""What a model folder of somebody else's is refused for before anything opens its weights.

Pickles and code of its own could run anything; an index of weights could name files outside the folder, whose content
would then come out in a result.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from compress.documents import json_object
from compress.errors import ModelError

PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib")
"""Suffixes of files that run code when they are opened as what they are."""

CODE_FILES = ("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json")
"""Files of a hub folder that may name Python code to load."""

_LAYERS = ("num_hidden_layers", "n_layers", "n_layer", "num_hidden_groups", "inner_group_num")

SIZES = (
    *("hidden_size", "intermediate_size", "embedding_size", "dim", "hidden_dim", "n_embd", "vocab_size"),
    *("num_attention_heads", "n_heads", "n_head", *_LAYERS),
)
"""Keys of a config that count something of which every model has at least one."""

MOST_LAYERS = 1_000
"""Building goes layer by layer, also where no memory stands behind the weights."""

INDEX = "model.safetensors.index.json"


def check_weights(folder: Path) -> None:
    """See that a folder's weights are safetensors, all of them in it. Nothing but their index is opened.

    Raises:
        ModelError: only pickles, or an index that names other files than safetensors of this folder.
    """
    pickles = sorted(file.name for file in folder.iterdir() if file.suffix in PICKLES) if folder.is_dir() else []
    if not any(folder.glob("*.safetensors")):
        hint = f"; {pickles[0]} is a pickle, which can run code when opened: convert it first" if pickles else ""
        raise ModelError(f"{folder}: no *.safetensors{hint}")
    index = folder / INDEX
    if not index.exists():
        return
    shards = json_object(index).get("weight_map")
    if not isinstance(shards, dict):
        raise ModelError(f"{index}: has no weight_map, a mapping from a weight's name to its file")
    for shard in shards.values():
        if not isinstance(shard, str) or Path(shard).name != shard or not shard.endswith(".safetensors"):
            raise ModelError(f"{index}: names {shard!r}; wanted a *.safetensors file that lies beside it")


def check_sizes(config: Mapping[str, Any]) -> None:
    """See that a config's sizes are sizes, before a model is built by them.

    Raises:
        ModelError: one is no positive whole number, or there are more layers than any model has.
    """
    for key in SIZES:
        value = config.get(key, 1)
        if type(value) is not int or value < 1:
            raise ModelError(f"config.json: {key} is {str(value)[:40]!r}, wanted a whole number from 1")
        if key in _LAYERS and value > MOST_LAYERS:
            raise ModelError(f"config.json: {key} is {str(value)[:40]}, wanted at most {MOST_LAYERS}")


def refuse_code(folder: Path) -> None:
    """See that a model folder wants no Python code of its own, or of another repository, to be run.

    Raises:
        ModelError: it does, by an `auto_map`; such code is never run.
    """
    for name in CODE_FILES:
        if (folder / name).exists() and "auto_map" in json_object(folder / name):
            raise ModelError(
                f"{folder / name}: wants Python code of its own to be run (auto_map), which is never done here; "
                "a model of a known architecture loads once that key is taken out, a new one needs a family"
            )


def printable(text: str) -> str:
    r"""Text without what a terminal would obey, lines kept.

    >>> printable("a\x1b[2Jb\nc")
    'a\\x1b[2Jb\nc'
    """
    return "".join(letter if letter.isprintable() or letter == "\n" else repr(letter)[1:-1] for letter in text)
