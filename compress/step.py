"""One stage applied to a bundle: what it left, with the step that its lineage keeps of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from compress.bundle import Bundle, OnnxGraph
from compress.lineage import Step
from compress.settings import Settings
from compress.stage import Context, Stage


def applied(name: str, stage: Stage, bundle: Bundle, context: Context) -> Bundle:
    """The stage's outcome, one step further in its lineage: so no stage can forget to write that down.

    Args:
        name: the place of the stage among the others and what it is, as `02-prune`.
    """
    after = stage.apply(bundle, context)
    step = Step(
        name=name,
        stage=name.split("-", 1)[1],
        settings=settings_of(stage),
        seed=context.seed,
        before=sizes(bundle),
        after=sizes(after),
        digest_before=bundle.digest,
        digest_after=after.digest,
    )
    return replace(after, lineage=bundle.lineage.then(step))


def settings_of(stage: Stage) -> dict[str, Any]:
    """A stage's settings, every default spelled out, as JSON values."""
    assert isinstance(stage, Settings), "stages are settings objects"
    return stage.model_dump(mode="json")


def sizes(bundle: Bundle) -> dict[str, float]:
    """What a lineage step notes of a bundle's size."""
    anatomy = bundle.anatomy
    noted = {"parameters": float(anatomy.parameters), "encoder_parameters": float(anatomy.encoder_parameters)}
    if isinstance(bundle.model, OnnxGraph):
        noted["bytes"] = float(sum(file.stat().st_size for file in bundle.model.files))
    else:
        unique = {id(parameter): parameter for parameter in bundle.model.parameters()}
        noted["bytes"] = float(sum(p.numel() * p.element_size() for p in unique.values()))
    return noted
