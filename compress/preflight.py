"""What can be known before the first hour of training: faults of the whole recipe on this model, data and machine."""

from __future__ import annotations

from compress.anatomy import Anatomy
from compress.data import Splits
from compress.deploy import check_shapes
from compress.errors import DataError, ModelError
from compress.recipe import Recipe
from compress.runtime import runtime_of


def check_labels(recipe: Recipe, splits: Splits) -> None:
    """See that there are labels to train and judge by; asked before a model is read, whose head follows from them.

    Raises:
        DataError: labels that are missing where they are needed.
    """
    for split in (splits.dev, splits.test):
        if split.labels is None:
            raise DataError(f"{split.name}: no labels, so nothing can be judged on it; give its table a `label`")
    if recipe.prepare and splits.train.labels is None:
        raise DataError("train: no labels to prepare the reference with; give its table a `label`")


def check(recipe: Recipe, anatomy: Anatomy, *, longest: int, device: str) -> None:
    """See that every stage can be reached and applied, and that the result can run here.

    Args:
        anatomy: of the model that goes in.
        longest: tokens that the model reads at most.

    Raises:
        ModelError: a cut that can't be reached, or a runtime that can't run here.
        DataError: a shape that the model can't read.
    """
    check_shapes(recipe.deploy.shapes, longest)
    for stage in (*recipe.prepare, *recipe.stages):
        anatomy = stage.predict(anatomy)
    if obstacle := runtime_of(recipe.deploy.runtime).obstacle(device):
        raise ModelError(f"runtime {recipe.deploy.runtime}: {obstacle}")
