"""Perplexity of the tokens that a language model has to find: the masked ones, or every next one."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

import numpy as np

from compress.errors import DataError
from compress.settings import Settings

if TYPE_CHECKING:
    from compress.metric import Reads
    from compress.task import Target


class Perplexity(Settings):
    """Among how many equally likely tokens the model hesitates, for one that it has to find.

    It is the exponential of the mean negative log-likelihood (Jelinek et al. 1977) over the whole corpus: of a masked
    language model over the masked tokens, as in Devlin et al. (2019, "BERT", section 5.2, table 6); of a causal one
    over every token but the first of its text. Every such token counts alike, so a long text counts more than a short
    one. Two models can be compared only where they share the vocabulary.
    """

    unit: ClassVar[str] = "perplexity"
    higher_is_better: ClassVar[bool] = False
    relative_drop: ClassVar[bool] = True
    targets: ClassVar[tuple[Target | None, ...]] = (None,)
    reads: ClassVar[Reads] = "decisions"
    overstates: ClassVar[bool] = False

    def evidence(self, truth: np.ndarray | None, decisions: np.ndarray) -> np.ndarray:
        """The sum of negative log-likelihoods in nats, and the number of tokens to find, float64 (examples, 2).

        Args:
            truth: not looked at; the true tokens are part of `decisions`.
            decisions: float (examples, tokens, 3): true token, top token, negative log-likelihood; NaN beyond the last.

        Raises:
            DataError: no example has a token to find.
        """
        losses = decisions[..., 2].astype(np.float64)
        there = ~np.isnan(losses)
        if not there.any():
            raise DataError(f"perplexity: none of {len(decisions)} examples has a token to find; are the texts empty?")
        return np.stack([np.where(there, losses, 0).sum(-1), there.sum(-1)], axis=-1)

    def value(self, evidence: np.ndarray) -> np.ndarray:
        """Perplexity: (..., examples, 2) gives (...); NaN where there is no token, infinite where it overflows."""
        nats, tokens = evidence[..., 0].sum(-1), evidence[..., 1].sum(-1)
        with np.errstate(over="ignore"):
            return np.asarray(np.exp(np.where(tokens > 0, nats / np.maximum(tokens, 1), np.nan)))

    def ends(self, evidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Every token known for sure, and every one as unlikely as those of the text that was hardest: (examples, 2)
        gives two of these. There is no worst; a harder text than any of the sample is not thought of.
        """
        nats, tokens = evidence[:, 0], evidence[:, 1]
        hardest = (nats / np.maximum(tokens, 1)).max()
        return np.stack([np.zeros_like(nats), tokens], axis=-1), np.stack([hardest * tokens, tokens], axis=-1)
