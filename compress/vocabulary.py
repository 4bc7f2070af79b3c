"""A smaller vocabulary: which tokens texts need, and tokenizer and model without the others.

Works on what every fast tokenizer is: one of the `tokenizers` library's models, WordPiece, WordLevel, BPE or Unigram.
"""

from __future__ import annotations

import copy
import itertools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from pydantic import Field

from compress.errors import DataError, ModelError
from compress.settings import Settings

if TYPE_CHECKING:
    from jaxtyping import Int
    from torch import Tensor
    from transformers import PreTrainedModel

    from compress.bundle import Bundle
    from compress.data import Split
    from compress.stage import Context

_BYTE = re.compile(r"<0x[0-9A-F]{2}>")
_AT_ONCE = 1000


class Vocabulary(Settings):
    """Which tokens stay: those that texts of these splits hold, and all that every other word needs to be spelled."""

    seen_in: tuple[Literal["train", "dev", "calibration", "transfer"], ...] = Field(
        ("train",), min_length=1, description="splits whose tokens stay"
    )
    fewest: int = Field(1, ge=1, description="times that a token has to be seen in them")


def trimmed(bundle: Bundle, settings: Vocabulary, context: Context) -> Bundle:
    """The bundle without the tokens that the settings do not keep; `tokens` is recorded.

    A text of other splits still tokenizes, in shorter pieces where its words were not seen.

    Raises:
        DataError: a named split is not there.
        ModelError: a model of pictures, a tokenizer that can't be cut, or nothing would be left out.
    """
    if bundle.task.modality != "text":
        raise ModelError(f"prune: vocabulary: the task {bundle.task.name} reads no text")
    ids = needed(bundle, _texts(settings, context), fewest=settings.fewest)
    before = bundle.module.get_input_embeddings().weight.shape[0]
    if len(ids) == before:
        raise ModelError(f"prune: vocabulary: all {before:,} tokens are needed, so nothing would be left out")
    context.record("tokens", [{"before": before, "kept": len(ids), "seen in": ", ".join(settings.seen_in)}])
    return with_vocabulary(bundle, ids)


def needed(bundle: Bundle, texts: Iterable[str], *, fewest: int = 1) -> Int[np.ndarray, "token"]:
    """The ids, ascending, of all tokens that have to stay.

    They are: those that the texts hold at least `fewest` times; special and added ones, and those that the config
    names; single characters and bytes, and whatever holds a character that stands nowhere alone, so that every word
    still tokenizes; of BPE, all that is merged on the way to one of these. The texts then tokenize as before, but for
    their rarer tokens. A word-level tokenizer can't spell: to it, other words become the unknown token.

    Raises:
        ModelError: the tokenizer is no fast one, of a model that is not known, or has more tokens than the model; or it
            is a word-level one that has no unknown token.
    """
    state = _state(bundle.processor)
    model = state["model"]
    pieces = _pieces(model)
    counts = _counts(state, texts)
    seen = set(np.flatnonzero(counts >= fewest).tolist()) | set(_whole_alphabet(model, pieces))
    kept = seen | set(bundle.processor.all_special_ids) | {holder[key] for holder, key in _mentions(state)}
    kept |= set(_unknown(model, pieces))
    if model["type"] == "BPE":
        kept |= _merged_on_the_way(model, pieces, seen)
    rows = bundle.module.get_input_embeddings().weight.shape[0]
    if max(kept) >= rows:
        raise ModelError(f"prune: vocabulary: the tokenizer has the id {max(kept)}, the model {rows} tokens")
    named = {one for _, several in _named_tokens(bundle.module.config) for one in several}
    return np.array(sorted(kept | {one for one in named if 0 <= one < rows}))


def with_vocabulary(bundle: Bundle, ids: Int[np.ndarray, "token"]) -> Bundle:
    """The bundle with these tokens alone, in their order: tokenizer, embedding, tied or own output layer, and config.

    All other weights are the given bundle's own: neither is ever changed.

    Args:
        ids: as `needed` gives them.

    Raises:
        ModelError: the model counts positions from its padding token's id, and that would be another.
    """
    import torch

    places = {int(old): new for new, old in enumerate(ids)}
    model = _cut(bundle.module, torch.from_numpy(ids))
    _renumber(model, places)
    tokenizer = copy.deepcopy(bundle.processor)
    tokenizer._tokenizer = _rebuilt(_state(bundle.processor), places)
    return replace(bundle.with_model(model), processor=tokenizer)


def _texts(settings: Vocabulary, context: Context) -> Iterator[str]:
    for name in settings.seen_in:
        split: Split | None = getattr(context, name)
        if split is None or not len(split):
            raise DataError(f"prune: vocabulary: seen_in names {name}, and the recipe's data has none")
        yield from split.texts
        yield from split.pairs or ()


def _state(tokenizer: Any) -> dict[str, Any]:
    """What tokenizer.json holds."""
    if not getattr(tokenizer, "is_fast", False):
        raise ModelError(f"prune: vocabulary: {type(tokenizer).__name__} has no tokenizer.json, by which it can be cut")
    state: dict[str, Any] = json.loads(tokenizer.backend_tokenizer.to_str())
    if state["model"]["type"] not in ("WordPiece", "WordLevel", "BPE", "Unigram"):
        raise ModelError(f"prune: vocabulary: a tokenizer of kind {state['model']['type']} can't be cut")
    if state["model"]["type"] == "WordLevel" and state["model"]["unk_token"] not in state["model"]["vocab"]:
        raise ModelError("prune: vocabulary: a word-level tokenizer without an unknown token can't read other words")
    return state


def _pieces(model: Mapping[str, Any]) -> dict[int, str]:
    """The model's pieces by id."""
    if model["type"] == "Unigram":
        return {place: piece for place, (piece, _) in enumerate(model["vocab"])}
    return {place: piece for piece, place in model["vocab"].items()}


def _counts(state: Mapping[str, Any], texts: Iterable[str]) -> Int[np.ndarray, "token"]:
    """How often the texts hold each token, however long they are."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_str(json.dumps({**state, "truncation": None, "padding": None}))
    counts = np.zeros(1 + max(tokenizer.get_vocab(with_added_tokens=True).values()), dtype=np.int64)
    several = iter(texts)
    while part := list(itertools.islice(several, _AT_ONCE)):
        for encoded in tokenizer.encode_batch_fast(part, add_special_tokens=False):
            np.add.at(counts, encoded.ids, 1)
    return counts


def _unknown(model: Mapping[str, Any], pieces: Mapping[int, str]) -> Iterator[int]:
    """The token of what can't be spelled, and of Unigram that which decides what such a one costs: the least likely."""
    if model["type"] == "Unigram":
        if model["unk_id"] is not None:
            yield model["unk_id"]
        yield min(pieces, key=lambda place: model["vocab"][place][1])
        return
    yield from (place for place, piece in pieces.items() if piece == model.get("unk_token"))


def _whole_alphabet(model: Mapping[str, Any], pieces: Mapping[int, str]) -> Iterator[int]:
    """Bytes, single characters, and what holds a character that stands nowhere alone, at a word's start or within."""
    if model["type"] == "WordLevel":
        return
    prefix, suffix = model.get("continuing_subword_prefix") or "", model.get("end_of_word_suffix") or ""
    alone = {piece for piece in pieces.values() if len(_letters(piece, prefix, suffix)) == 1}
    unmerged = model["type"] == "BPE" and not model.get("ignore_merges")  # then it is made of single characters alone
    for place, piece in pieces.items():
        letters = _letters(piece, prefix, suffix)
        if piece in alone or _BYTE.fullmatch(piece) or not (unmerged or alone.issuperset(letters)):
            yield place


def _letters(piece: str, prefix: str, suffix: str) -> list[str]:
    """A piece's characters, each with what says where in a word it stands.

    >>> _letters("##ing", "##", ""), _letters("ing</w>", "", "</w>")
    (['##i', '##n', '##g'], ['i', 'n', 'g</w>'])
    """
    within = bool(prefix) and piece.startswith(prefix) and piece != prefix
    ends = bool(suffix) and piece.endswith(suffix) and piece != suffix
    bare = piece.removeprefix(prefix) if within else piece
    letters = [
        prefix * (within or place > 0) + one for place, one in enumerate(bare.removesuffix(suffix if ends else ""))
    ]
    return [*letters[:-1], letters[-1] + suffix] if ends else letters


def _merged_on_the_way(model: Mapping[str, Any], pieces: Mapping[int, str], wanted: Iterable[int]) -> set[int]:
    """What BPE has to merge to arrive at each of the wanted pieces, which it does by rank (Sennrich et al. 2016)."""
    prefix, suffix = model.get("continuing_subword_prefix") or "", model.get("end_of_word_suffix") or ""
    ranks = {_pair(merge): rank for rank, merge in enumerate(model["merges"])}
    known: dict[str, int] = model["vocab"]
    found: set[int] = set()
    for place in wanted:
        parts = _letters(pieces.get(place, ""), prefix, suffix)
        while pairs := list(itertools.pairwise(parts)):
            best = min(range(len(pairs)), key=lambda at: ranks.get(pairs[at], len(ranks)))
            if pairs[best] not in ranks:
                break  # an added token: nothing merges to it
            parts[best : best + 2] = [_merged(pairs[best], prefix)]
            found.add(known[parts[best]])
    return found


def _pair(merge: str | Sequence[str]) -> tuple[str, str]:
    """The two parts of a merge, which older files write with a space between."""
    first, second = merge.split(" ") if isinstance(merge, str) else merge
    return first, second


def _merged(pair: tuple[str, str], prefix: str) -> str:
    return pair[0] + pair[1].removeprefix(prefix)


def _cut(model: PreTrainedModel, ids: Int[Tensor, "token"]) -> PreTrainedModel:
    """The model with these rows of its embedding, and of its output layer if it has one; the rest is shared."""
    from torch import nn

    rows = model.get_input_embeddings().weight.shape[0]
    whole = [model.get_input_embeddings().weight, *_scoring(model)]
    shared = {id(tensor): tensor for tensor in itertools.chain(model.parameters(), model.buffers())}
    fewer = {id(one): nn.Parameter(one.detach()[ids.to(one.device)], requires_grad=one.requires_grad) for one in whole}
    smaller = copy.deepcopy(model, {**shared, **fewer})
    smaller.config.vocab_size = len(ids)
    told = [(module, "vocab_size") for module in smaller.modules() if getattr(module, "vocab_size", None) == rows]
    told += [(smaller.get_input_embeddings(), "num_embeddings"), (smaller.get_output_embeddings(), "out_features")]
    for module, name in told:
        if hasattr(module, name):
            setattr(module, name, len(ids))
    return smaller


def _scoring(model: PreTrainedModel) -> Iterator[Tensor]:
    """What scores the tokens, if anything does: the output layer's weight, tied or not, and its bias, which some
    families hold a second time beside it."""
    for path, module in model.named_modules():
        if module is model.get_output_embeddings():
            yield from module.parameters()
            beside = model.get_submodule(path.rpartition(".")[0])
            yield from (one for name, one in beside.named_parameters(recurse=False) if name == "bias")


def _named_tokens(config: Any) -> Iterator[tuple[str, list[int]]]:
    """The tokens that a config names, as `eos_token_id`, which may be several."""
    for name, value in list(vars(config).items()):
        if name.endswith("_token_id") and value is not None:
            yield name, list(value) if isinstance(value, list | tuple) else [value]


def _renumber(model: Any, places: Mapping[int, int]) -> None:
    """Bring in line what knows tokens by their id: the configs, and the embedding's padding token."""
    from torch import nn

    words = model.get_input_embeddings()
    padded = [module for module in model.modules() if getattr(module, "padding_idx", None) is not None]
    counted = any(isinstance(module, nn.Embedding) and module is not words for module in padded)
    for module in padded:
        pad, new = module.padding_idx, places.get(module.padding_idx)
        if counted and pad != new:
            raise ModelError(
                f"prune: vocabulary: the model counts positions from its padding token's id, {pad}, which would be "
                f"{new}; add the tokens before it to the tokenizer's special ones"
            )
        module.padding_idx = new
    for config in (model.config, getattr(model, "generation_config", None)):
        for name, ids in _named_tokens(config) if config is not None else ():
            left = [places[one] for one in ids if one in places]
            setattr(config, name, left if isinstance(getattr(config, name), list) else next(iter(left), None))


def _rebuilt(state: dict[str, Any], places: Mapping[int, int]) -> Any:
    """The tokenizer with the kept tokens under their new numbers."""
    from tokenizers import Tokenizer

    model = state["model"]
    if model["type"] == "Unigram":
        model["vocab"] = [entry for place, entry in enumerate(model["vocab"]) if place in places]
        if model["unk_id"] is not None:
            model["unk_id"] = places[model["unk_id"]]
    else:
        model["vocab"] = {piece: places[place] for piece, place in model["vocab"].items() if place in places}
    if model["type"] == "BPE":
        known, prefix = model["vocab"], model.get("continuing_subword_prefix") or ""
        pairs = [(merge, _pair(merge)) for merge in model["merges"]]
        model["merges"] = [merge for merge, pair in pairs if known.keys() >= {*pair, _merged(pair, prefix)}]
    for holder, key in _mentions(state):
        holder[key] = places[holder[key]]
    rebuilt = Tokenizer.from_str(json.dumps(state))
    misplaced = [entry["content"] for entry in state["added_tokens"] if _place(rebuilt, entry) != entry["id"]]
    if misplaced:
        raise ModelError(f"prune: vocabulary: the added token {misplaced[0]!r} can't stand between the tokenizer's own")
    return rebuilt


def _place(tokenizer: Any, entry: Mapping[str, Any]) -> int | None:
    found: int | None = tokenizer.token_to_id(entry["content"])
    return found


def _mentions(state: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    """Where, outside of its model, a tokenizer's file has the id of a token: what holds it, and its key there."""
    for entry in state["added_tokens"]:
        yield entry, "id"
    if state.get("padding"):
        yield state["padding"], "pad_id"
    yield from _mentions_around(state.get("post_processor") or {})


def _mentions_around(processor: Mapping[str, Any]) -> Iterator[tuple[Any, Any]]:
    """The same in what puts special tokens around a text."""
    for each in processor.get("processors", ()):
        yield from _mentions_around(each)
    for side in ("sep", "cls"):
        if side in processor:
            yield processor[side], 1
    special = processor.get("special_tokens")
    for entry in special.values() if isinstance(special, dict) else ():
        yield from ((entry["ids"], place) for place in range(len(entry["ids"])))
