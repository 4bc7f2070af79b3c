"""What statistics are drawn from: what is known of each example, (examples, columns); refused where it says nothing."""

from __future__ import annotations

import numpy as np

from compress.errors import DataError


def examples_of(**columns: np.ndarray) -> int:
    """How many examples all columns have."""
    shapes = {name: column.shape for name, column in columns.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 2 for shape in shapes.values()):
        raise DataError(f"paired examples: shapes {shapes}, wanted (examples, columns) and the same of each")
    count = next(iter(shapes.values()))[0]
    if count < 2:
        raise DataError(f"paired examples: {count}, wanted at least 2 to say how sure a figure is")
    for name, column in columns.items():
        refuse_not_finite(name, column)
    return count


def refuse_not_finite(name: str, values: np.ndarray) -> None:
    if np.issubdtype(values.dtype, np.floating) and (count := int((~np.isfinite(values)).sum())):
        raise DataError(
            f"{name}: {count} of {values.size} are not finite, wanted numbers; did the model diverge or overflow?"
        )


def right_or_wrong(evidence: np.ndarray) -> bool:
    """Whether evidence says no more than which examples are right: one column of 0 and 1.

    >>> right_or_wrong(np.array([[1], [0]])), right_or_wrong(np.array([[0.5], [0]])), right_or_wrong(np.eye(2))
    (True, False, False)
    """
    return (evidence.ndim == 1 or evidence.shape[1] == 1) and bool(np.isin(evidence, (0, 1)).all())
