"""What each attention head looks at: the share of its attention on tokens of each kind, and how spread it is.

Roles are those of Clark et al. 2019, "What Does BERT Look At?", sections 3.1 to 3.3 (offsets, separators, entropy), and
of Voita et al. 2019, "Analyzing Multi-Head Self-Attention", section 5 (positional heads, rare tokens).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from compress.errors import DataError, ModelError
from compress.feed import feed, placed

if TYPE_CHECKING:
    import torch
    from jaxtyping import Bool, Float
    from torch import Tensor

    from compress.bundle import Bundle
    from compress.data import Split

SHARES = ("previous", "next", "first", "separator", "same", "rare")
"""Where attention may go: to the token before, after, the first one, a separator, the token itself, the text's rarest
token. The shares overlap, and need not add up to 1."""
ENTROPY = "entropy_nats"
LONGEST = 512
"""Longer texts are left out: attention takes heads x tokens x tokens numbers a layer."""
_NUMBERS = 2**26
"""Of attention that may stand in memory at once, in float32."""


@dataclass(frozen=True)
class HeadRoles:
    """What heads look at, and what that was read off.

    Attributes:
        rows: one a head: `layer`, `head`, each of `SHARES` as a mean over tokens, None where no token could look at
            such a one, and the entropy of a token's attention in nats: uniform attention over n tokens has ln n.
        texts: rows of the model that were looked at.
        tokens: in them, padding left out.
        uniform: what a head would have whose attention is spread evenly over all that the first layer lets it see, by
            the names of a row.
        too_long: rows of more than `LONGEST` tokens, which were left out.
    """

    rows: list[dict[str, Any]]
    texts: int
    tokens: int
    uniform: dict[str, Any]
    too_long: int


def head_roles(bundle: Bundle, texts: Split, device: torch.device, *, counted: Split | None = None) -> HeadRoles:
    """The roles of every head of every layer that runs, on some texts.

    Args:
        texts: what is looked at; labels are not read.
        counted: the texts that say how rare a token is; `texts` where left out.

    Raises:
        DataError: there are no texts, or all are too long.
        ModelError: the task reads no text, or the model does not give its attention.
    """
    import torch

    if bundle.task.modality != "text":
        raise ModelError(f"head roles: the task {bundle.task.name} reads no text, so heads have no tokens to look at")
    if not len(texts):
        raise DataError("head roles: no texts to look at")
    model, seen = placed(bundle.module, device), _seen(counted or texts, bundle)
    totals: list[Tensor] = []
    even = torch.zeros(1, len(SHARES) + 1, dtype=torch.float64)
    looked = tokens = too_long = 0
    there = torch.zeros(len(SHARES), dtype=torch.bool)
    with _eager(model), torch.no_grad():
        for inputs in _pieces(bundle, texts, device):
            mask = inputs["attention_mask"].bool()
            if mask.shape[1] > LONGEST:
                too_long += len(mask)
                continue
            kinds = _kinds(inputs["input_ids"], mask, bundle, seen)
            attentions = model(**inputs, output_attentions=True).attentions
            if attentions is None:
                raise ModelError(f"head roles: {type(model).__name__} does not give its attention")
            found = [_shares(one.double(), kinds, mask) for one in attentions]
            totals = [a + b for a, b in zip(totals, found, strict=True)] if totals else found
            spread = _spread_evenly(attentions[0])
            even += _shares(spread, kinds, mask)
            looked, tokens = looked + len(mask), tokens + int(mask.sum())
            there |= (kinds * spread[:, 0]).flatten(1).any(dim=1).cpu()
    if not totals:
        raise DataError(f"head roles: all {too_long} texts have more than {LONGEST} tokens; give shorter ones")
    known = [*there.tolist(), True]
    rows = [
        {"layer": layer, "head": head, **_named(sums / tokens, known)}
        for layer, heads in enumerate(totals)
        for head, sums in enumerate(heads)
    ]
    return HeadRoles(rows, looked, tokens, _named(even[0] / tokens, known), too_long)


def _named(means: Float[Tensor, "kind+1"], known: list[bool]) -> dict[str, Any]:
    return {
        name: value if held else None
        for name, value, held in zip((*SHARES, ENTROPY), means.tolist(), known, strict=True)
    }


def _pieces(bundle: Bundle, texts: Split, device: torch.device) -> Iterator[dict[str, Tensor]]:
    """Model inputs, so few rows at a time that their attention fits into memory, without columns of nothing but
    padding."""
    heads = sum(bundle.anatomy.heads_by_layer())
    for examples in feed(texts, bundle, device, size=64):
        tokens = examples.inputs["input_ids"].shape[1]
        size = 1 if tokens > LONGEST else max(1, _NUMBERS // (heads * tokens**2))
        for start in range(0, len(examples.inputs["input_ids"]), size):
            part = {name: values[start : start + size] for name, values in examples.inputs.items()}
            real = part["attention_mask"].bool().any(dim=0)
            yield {name: values[:, real] for name, values in part.items()}


def _seen(texts: Split, bundle: Bundle) -> Counter[int]:
    """How often the texts hold each token, special ones left out."""
    import torch

    counts: Counter[int] = Counter()
    for examples in feed(texts, bundle, torch.device("cpu"), size=256):
        counts.update(examples.inputs["input_ids"].flatten().tolist())
    for special in bundle.processor.all_special_ids:
        counts.pop(special, None)
    return counts


def _kinds(
    ids: Tensor, mask: Bool[Tensor, "row token"], bundle: Bundle, seen: Counter[int]
) -> Float[Tensor, "kind row token token"]:
    """For each of `SHARES`, how far the second token is such a one to the first: 1, or 0; of several that are equally
    rare an equal part each. Places are counted without padding."""
    import torch

    place = mask.long().cumsum(dim=1)
    offset = place[:, None, :] - place[:, :, None]
    separators = {bundle.processor.sep_token_id, bundle.processor.eos_token_id} - {None}
    is_separator = torch.isin(ids, torch.tensor(sorted(separators), dtype=ids.dtype, device=ids.device))
    never = sum(seen.values()) + 1  # special tokens, which are in every text
    often = torch.tensor([[seen.get(one, never) for one in row] for row in ids.tolist()], device=ids.device)
    often = often.masked_fill(~mask, never)
    is_rare = (often == often.min(dim=1, keepdim=True).values) & (often < never)
    rare = is_rare.double() / is_rare.sum(dim=1, keepdim=True).clamp_min(1)

    def everywhere(keys: Tensor) -> Tensor:
        return keys.double()[:, None, :].expand(-1, keys.shape[1], -1)

    shifted = [(offset == -1).double(), (offset == 1).double()]
    kinds = [*shifted, everywhere(place == 1), everywhere(is_separator), (offset == 0).double(), everywhere(rare)]
    return torch.stack(kinds) * (mask[:, None, :] & mask[:, :, None])


def _shares(
    attention: Float[Tensor, "row head token token"], kinds: Float[Tensor, "kind row token token"], mask: Tensor
) -> Float[Tensor, "head kind+1"]:
    """The sum over real tokens of each kind's share, and of the entropy."""
    import torch

    shares = torch.einsum("bhqk,cbqk->hc", attention, kinds)
    entropy = -(attention * attention.clamp_min(1e-30).log()).sum(dim=-1)
    spread = (entropy * mask[:, None, :]).sum(dim=(0, 2))
    return torch.cat([shares, spread[:, None]], dim=1).cpu()


def _spread_evenly(attention: Float[Tensor, "row head token token"]) -> Float[Tensor, "row 1 token token"]:
    """The same amount on every token that any head looks at."""
    seen = (attention > 0).any(dim=1, keepdim=True).double()
    return seen / seen.sum(dim=-1, keepdim=True).clamp_min(1)


@contextmanager
def _eager(model: Any) -> Iterator[None]:
    """While it is open, attention is computed step by step, so that it can be looked at."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        yield
    finally:
        model.set_attn_implementation(before)
