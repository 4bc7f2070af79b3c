"""Multiply-accumulates of an Einsum, from its equation and the shapes of what it is given."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

Axis = str | int
"""A letter; or, of the axes that an ellipsis stands for, the place counted from their last."""


def einsum_macs(equation: str, shapes: Sequence[tuple[int, ...]]) -> int:
    """What is multiplied and summed, the operands taken from left to right, as onnxruntime takes them.

    An axis that one operand has alone, and nothing else wants, is summed before anything is multiplied. Two operands
    that share no axis to sum over are multiplied number by number, which counts no more than any Mul does.

    >>> einsum_macs("btd,de->bte", [(2, 6, 32), (32, 7)])
    2688
    >>> einsum_macs("bhqd, ...kd", [(2, 4, 6, 8), (5, 8)]) == einsum_macs("bhqd,kd->bhkq", [(2, 4, 6, 8), (5, 8)])
    True
    """
    inputs, _, output = equation.replace(" ", "").partition("->")
    terms = [_axes(term, len(shape)) for term, shape in zip(inputs.split(","), shapes, strict=True)]
    lengths: dict[Axis, int] = {}
    for term, shape in zip(terms, shapes, strict=True):
        for axis, length in zip(term, shape, strict=True):
            lengths[axis] = max(length, lengths.get(axis, 1))  # an axis of 1 is stretched to the others'
    wanted = _wanted(output, terms) if "->" in equation else _left(terms)
    macs, have = 0, set(terms[0])
    for place, term in enumerate(terms[1:], start=1):
        later = wanted.union(*terms[place + 1 :])
        first, second = have & (later | set(term)), set(term) & (later | have)
        if (first & second) - later:
            macs += math.prod(lengths[axis] for axis in first | second)
        have = (first | second) & later
    return macs


def _axes(term: str, rank: int) -> list[Axis]:
    before, dots, after = term.partition("...")
    unnamed = range(rank - len(before) - len(after) if dots else 0)
    return [*before, *reversed(unnamed), *after]


def _wanted(output: str, terms: Sequence[Sequence[Axis]]) -> set[Axis]:
    """The axes that an output names; its ellipsis stands for all that those of the operands do."""
    unnamed = {axis for term in terms for axis in term if isinstance(axis, int)} if "..." in output else set[Axis]()
    return unnamed | set(output.replace("...", ""))


def _left(terms: Sequence[Sequence[Axis]]) -> set[Axis]:
    """The axes of an output that is not written: those of ellipses, and the letters that stand once."""
    times = Counter(axis for term in terms for axis in term)
    return {axis for axis, count in times.items() if isinstance(axis, int) or count == 1}
