"""How much of a cut each step of a gradual one takes."""

from __future__ import annotations


def fractions(final: float, steps: int) -> list[float]:
    """What is left after each of `steps` cuts that end at `final`, as fractions of what there was before the first.

    Early cuts take the most, for then there is the most to spare: Zhu & Gupta 2017, "To prune, or not to prune",
    section 3, equation 1, from a sparsity of 0, with a cut at the end of each of `steps` equal spans.

    >>> [round(left, 3) for left in fractions(0.2, 4)]
    [0.538, 0.3, 0.213, 0.2]
    >>> fractions(0.33, 1)
    [0.33]
    """
    # The last is not computed, so that it is the target to the bit.
    return [*(final + (1 - final) * (1 - step / steps) ** 3 for step in range(1, steps)), final]
