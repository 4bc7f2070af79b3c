"""Cut attention heads and FFN channels out of a model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from pydantic import Field, model_validator

from compress.allocation import by_rank, evenly, strongest
from compress.anatomy import Anatomy, Axis, Group
from compress.bundle import Form
from compress.choices import CriterionChoice
from compress.errors import ModelError
from compress.feed import placed
from compress.repair import least_squares
from compress.settings import Settings
from compress.stage import Context, Sight
from compress.surgery import keep_units

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor

    from compress.bundle import Bundle


class Target(Settings):
    """How much is to be left, as a fraction of what came in; exactly one of the three."""

    parameters: float | None = Field(None, gt=0, lt=1, description="fraction of all parameters")
    encoder_parameters: float | None = Field(None, gt=0, lt=1, description="fraction of the layers' parameters")
    flops: float | None = Field(None, gt=0, lt=1, description="fraction of a forward pass's FLOPs")
    tokens: int = Field(128, ge=1, description="text length at which FLOPs are counted")

    @model_validator(mode="after")
    def _exactly_one(self) -> Target:
        given = [name for name in ("parameters", "encoder_parameters", "flops") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(f"wanted exactly one of parameters, encoder_parameters, flops; got {given or 'none'}")
        return self

    @property
    def fraction(self) -> float:
        return self.parameters or self.encoder_parameters or self.flops or 1.0

    def cost(self, anatomy: Anatomy) -> int:
        """What the target counts, of a whole model."""
        if self.flops is not None:
            return anatomy.flops(1, self.tokens)
        return anatomy.parameters if self.parameters is not None else anatomy.encoder_parameters

    def unit_cost(self, group: Group) -> int:
        """What the target counts, of one unit."""
        return group.unit_flops(self.tokens) if self.flops is not None else group.unit_parameters


class Prune(Settings):
    """Remove whole heads and FFN channels, physically, until the target is met.

    Recipe:
        - prune:
            target: {encoder_parameters: 0.7}
            criterion: {use: magnitude}
    """

    consumes: ClassVar[Form] = Form.TORCH
    produces: ClassVar[Form] = Form.TORCH
    sees: ClassVar[tuple[Sight, ...]] = ("calibration",)
    weight_bytes: ClassVar[float | None] = None

    target: Target
    axes: tuple[Axis, ...] = Field(("heads", "ffn"), min_length=1, description="what may be cut")
    criterion: CriterionChoice = Field(description="what a unit is worth: {use: NAME, ...}")
    allocation: Literal["global", "uniform"] = Field(
        "global", description="global: lowest score per cost first, over all layers; uniform: the same fraction of each"
    )
    repair: Literal["none", "least_squares"] = Field("none", description="what is done for the layers that read a cut")
    round_to: int = Field(16, ge=1, description="FFN widths left are multiples of this")

    def apply(self, bundle: Bundle, context: Context) -> Bundle:
        import torch

        groups = [group for group in bundle.anatomy.groups if group.axis in self.axes]
        scores = self.criterion.score(bundle, groups, context)
        _refuse_nan(groups, scores)
        keep = self._choose(bundle.anatomy, groups, scores)
        context.record("units", _kept_table(groups, scores, keep))
        if heads := _head_table(groups, scores, keep):
            context.record("head_scores", heads)
        cut = bundle.with_model(keep_units(placed(bundle.module, torch.device("cpu")), bundle.family, groups, keep))
        if self.repair == "least_squares":
            cut = cut.with_model(least_squares(bundle, cut, groups, context))
        return cut

    def predict(self, anatomy: Anatomy) -> Anatomy:
        """The anatomy that the stage would leave, to within a unit or block: units are dropped evenly."""
        groups = [group for group in anatomy.groups if group.axis in self.axes]
        counts = evenly(anatomy, groups, budget=self._budget(anatomy), cost=self.target.cost, block=self._block)
        return anatomy.with_units({group.name: count for group, count in zip(groups, counts, strict=True)})

    def _choose(
        self, anatomy: Anatomy, groups: Sequence[Group], scores: Sequence[Float[Tensor, "unit"]]
    ) -> list[Bool[Tensor, "unit"]]:
        budget, cost, unit_cost = self._budget(anatomy), self.target.cost, self.target.unit_cost
        if self.allocation == "uniform":
            counts = evenly(anatomy, groups, budget=budget, cost=cost, block=self._block)
        else:
            counts = by_rank(anatomy, groups, scores, budget=budget, cost=cost, unit_cost=unit_cost, block=self._block)
        return [strongest(score, count) for score, count in zip(scores, counts, strict=True)]

    def _budget(self, anatomy: Anatomy) -> float:
        return self.target.fraction * self.target.cost(anatomy)

    def _block(self, group: Group) -> int:
        """Units that leave together: heads one by one, channels in blocks, unless a layer has too few for one."""
        return self.round_to if group.axis == "ffn" and group.units > self.round_to else 1


def _refuse_nan(groups: Sequence[Group], scores: Sequence[Float[Tensor, "unit"]]) -> None:
    for group, score in zip(groups, scores, strict=True):
        bad = int((~score.isfinite()).sum())
        if bad:
            raise ModelError(
                f"prune: {bad} of {group.units} scores of {group.name} are not finite; is the model whole?"
            )


def _kept_table(
    groups: Sequence[Group], scores: Sequence[Float[Tensor, "unit"]], keep: Sequence[Bool[Tensor, "unit"]]
) -> list[dict[str, Any]]:
    """One row a group: its score's spread and what was kept, for `run.json`."""
    return [
        {
            "group": group.name,
            "units": group.units,
            "kept": int(mask.sum()),
            "score_min": float(score.min()),
            "score_max": float(score.max()),
        }
        for group, score, mask in zip(groups, scores, keep, strict=True)
    ]


def _head_table(
    groups: Sequence[Group], scores: Sequence[Float[Tensor, "unit"]], keep: Sequence[Bool[Tensor, "unit"]]
) -> list[dict[str, Any]]:
    """One row a head: its score before the cut and whether it stayed; the report draws them as a heat map."""
    return [
        {"layer": group.layer, "head": head, "score": float(score[head]), "kept": bool(mask[head])}
        for group, score, mask in zip(groups, scores, keep, strict=True)
        if group.axis == "heads"
        for head in range(group.units)
    ]
