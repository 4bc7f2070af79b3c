"""Cut heads, KV groups, FFN channels, hidden size, layers and vocabulary out of a model."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, ClassVar, Literal

from pydantic import Field, model_validator

from compress.anatomy import Anatomy, Group
from compress.bundle import Form
from compress.choices import CriterionChoice
from compress.deploy import Deploy, check_shapes
from compress.dissection import hidden_group
from compress.errors import ModelError
from compress.feed import placed
from compress.pruning.allocation import Kept, Scored, by_rank, evenly, everything, smallest
from compress.pruning.knapsack import Counted, optimal
from compress.pruning.latency import TOGETHER, check_precision, for_latency
from compress.pruning.repair import Way, repair
from compress.pruning.schedule import fractions
from compress.pruning.scores import scored_for
from compress.pruning.tables import kept_table, unit_table
from compress.pruning.target import Target
from compress.settings import Settings
from compress.stage import Context, Sight
from compress.surgery import keep_units
from compress.training.distillation import SEEN, Distillation, teacher_of
from compress.training.loop import Training
from compress.vocabulary import Vocabulary, trimmed

if TYPE_CHECKING:
    from compress.bundle import Bundle

CutAxis = Literal["heads", "kv_groups", "ffn", "hidden", "layers", "vocabulary"]


class Prune(Settings):
    """Remove whole units of a model, physically, until the target is met.

    Recipe:
        - prune:
            target: {encoder_parameters: 0.7}
            criterion: {use: magnitude}
    """

    consumes: ClassVar[Form] = Form.TORCH
    produces: ClassVar[Form] = Form.TORCH
    weight_bytes: ClassVar[float | None] = None

    target: Target | None = Field(None, description="how much is left; needed for any axis but vocabulary")
    axes: tuple[CutAxis, ...] | None = Field(
        None, min_length=1, description="what may be cut; left out: the model's heads or KV groups, and FFN channels"
    )
    criterion: CriterionChoice | None = Field(None, description="what a unit is worth: {use: NAME, ...}")
    allocation: Literal["global", "optimal", "uniform"] = Field(
        "global",
        description="global: lowest score per cost first, over all layers; optimal: the least score lost within the "
        "target, as always where it is latency; uniform: the same fraction of each",
    )
    repair: Literal["none", Way] = Field("none", description="what may change in the layers that read a cut")
    round_to: int = Field(16, ge=1, description="FFN widths and hidden sizes left are multiples of this")
    steps: int = Field(1, ge=1, description="cuts in which the target is reached, the first the largest")
    distill: Distillation | None = Field(None, description="how the reference teaches the model after each cut")
    vocabulary: Vocabulary = Field(Vocabulary(), description="which tokens stay, where the axis is named")

    @model_validator(mode="after")
    def _complete(self) -> Prune:
        axes = self.axes or ()
        # By value: a resolved recipe spells out every default.
        asked = {name for name, field in type(self).model_fields.items() if getattr(self, name) != field.default}
        if len(set(axes)) < len(axes):
            raise ValueError(f"axes names one twice: {', '.join(axes)}")
        if "vocabulary" in asked and "vocabulary" not in axes:
            raise ValueError("vocabulary says which tokens stay, but axes does not name it")
        if axes == ("vocabulary",):
            if useless := sorted(asked - {"axes", "vocabulary"}):
                raise ValueError(f"axes is [vocabulary] alone, which knows no {', '.join(useless)}")
            return self
        if self.target is None or self.criterion is None:
            raise ValueError("target and criterion are needed, unless axes is [vocabulary] alone")
        if self.target.kind == "latency" and self.allocation == "uniform":
            raise ValueError("a latency is always met by allocation optimal")
        if self.repair != "none" and set(axes) in ({"layers"}, {"layers", "vocabulary"}):
            raise ValueError("repair re-solves what reads a cut, and nothing reads a layer that left; use distill")
        if self.distill is None and self.steps > 1 and self.repair == "none":
            raise ValueError("several steps need distill or repair between them; else they are one cut")
        if self.distill is not None and self.distill.losses.hidden is not None and "hidden" in (self.axes or ()):
            raise ValueError("a cut hidden size can't be compared with the teacher's; leave out distill.losses.hidden")
        return self

    @property
    def sees(self) -> tuple[Sight, ...]:
        """The deployment as well, where latency is measured on it; what teaching and the vocabulary read."""
        found: list[Sight] = []
        if self.target is not None:
            found += ["calibration", "deploy"] if self.target.kind == "latency" else ["calibration"]
        if self.distill is not None:
            found += SEEN
        if "vocabulary" in (self.axes or ()):
            found += self.vocabulary.seen_in
        return tuple(dict.fromkeys(found))

    def apply(self, bundle: Bundle, context: Context) -> Bundle:
        if self.distill is not None:
            teacher_of(context)
        cut, left = bundle, tuple(range(bundle.anatomy.layers))
        if self.target is not None:
            self._refuse_absent(bundle.anatomy)
            for step, fraction in enumerate(fractions(self.target.fraction, self.steps), start=1):
                part = context
                if self.steps > 1 or self.distill is not None:
                    part = context.within(f"step-{step}", start=(step - 1) / self.steps, end=step / self.steps)
                cut, kept = self._step(bundle, cut, fraction, part)
                left = tuple(left[layer] for layer in kept.layers)
                if self.distill is not None:
                    cut = self._taught(cut, bundle, left, part)
        if "vocabulary" in (self.axes or ()):  # last: teacher and calibration read the tokens that it leaves out
            cut = trimmed(cut, self.vocabulary, context)
        return cut

    def predict(self, anatomy: Anatomy) -> Anatomy:
        """The anatomy that the stage would leave, were every axis cut evenly: as large as the target says, to within a
        unit or block, though how that is shared among axes and layers follows from scores. Of a latency FLOPs are what
        is foretold by. How many tokens leave is known once the texts are read."""
        if self.target is None:
            return anatomy
        self._refuse_absent(anatomy)
        return self._evenly(anatomy, self.target.fraction)

    def trainings(self, anatomy: Anatomy) -> list[tuple[Training, Anatomy]]:
        """What is trained, on models of which anatomy."""
        if self.distill is None or self.target is None:
            return []
        return [(self.distill, self._evenly(anatomy, left)) for left in fractions(self.target.fraction, self.steps)]

    @property
    def timed_at_once(self) -> int:
        """How many models are open at a time while latency is measured; the whole one is among them."""
        return TOGETHER + 1 if self.target is not None and self.target.kind == "latency" else 0

    def check_deployment(self, deploy: Deploy, longest: int, *, fixed: bool) -> None:
        """See that latency can be measured as it is deployed, if that is the target.

        Args:
            longest: tokens that the model reads at most; where `fixed`, as pictures are, always.

        Raises:
            DataError: it can't read the shape.
            ModelError: no graph can be made in the precision.
        """
        if self.target is not None and self.target.kind == "latency":
            check_shapes([self.target.shape or deploy.shapes[0]], longest, only=fixed)
            check_precision(deploy)

    def _evenly(self, anatomy: Anatomy, fraction: float) -> Anatomy:
        assert self.target is not None, "asked where there is one"
        axes = self._axes(anatomy)
        groups = [group for group in anatomy.groups if group.axis in axes]
        if "hidden" in axes:
            groups.append(Group("hidden", None, anatomy.hidden, (), 0, 0))
        layers = [0.0] * anatomy.layers if "layers" in axes else None
        scored = Scored(anatomy, groups, (), layers, self._block)  # which units leave changes no cost
        cost, budget = self.target.cost, fraction * self.target.cost(anatomy)
        if self.target.kind == "latency":  # what can be reached there is known once it is measured
            budget = max(budget, cost(smallest(scored).of(anatomy)))
        return evenly(scored, budget=budget, cost=cost).of(anatomy)

    def _taught(self, cut: Bundle, whole: Bundle, left: tuple[int, ...], context: Context) -> Bundle:
        """What the reference made of the cut model; each layer learns from the one that it was, where there is that."""
        assert self.distill is not None, "asked where there is one"
        same = teacher_of(context).anatomy.layers == whole.anatomy.layers
        return self.distill.teach(cut, context, twins=left if same else None)

    def _step(self, whole: Bundle, bundle: Bundle, fraction: float, context: Context) -> tuple[Bundle, Kept]:
        """One cut, down to a fraction of the model that came in, repaired; and what it kept."""
        scored = self._scored(bundle, context)
        kept = self._choose(whole, bundle, scored, fraction, context)
        keep = [scored.mask(group, kept) for group in scored.groups]
        context.record("units", kept_table(scored, kept, keep))
        if units := unit_table(scored, kept, keep):
            context.record("head_scores", units)
        cut = _cut(bundle, scored, kept)
        if self.repair != "none":
            repair(bundle, cut.module, scored.groups, keep, context, way=self.repair, layers=kept.layers)
        return cut, kept

    def _scored(self, bundle: Bundle, context: Context) -> Scored:
        assert self.criterion is not None, "needed wherever there is a target"
        axes = self._axes(bundle.anatomy)
        groups = [group for group in bundle.anatomy.groups if group.axis in axes]
        if "hidden" in axes:
            groups.append(hidden_group(bundle.module, bundle.family))
        return scored_for(bundle, groups, self.criterion, context, layers="layers" in axes, block=self._block)

    def _choose(self, whole: Bundle, bundle: Bundle, scored: Scored, fraction: float, context: Context) -> Kept:
        assert self.target is not None, "needed for any axis but vocabulary"
        axes = self._axes(whole.anatomy)
        if self.target.kind == "latency":
            last = fraction == self.target.fraction
            cut = partial(_cut, bundle, scored)
            kept = for_latency(scored, whole, cut, self.target, fraction, axes, context, last=last)
            if bundle is not whole and kept.of(bundle.anatomy) == bundle.anatomy:
                return kept  # an earlier step, corrected or by whole blocks, went as far already
        else:
            cost, budget = self.target.cost, fraction * self.target.cost(whole.anatomy)
            if cost(bundle.anatomy) <= budget:  # an earlier step, by whole blocks, went as far already
                return everything(bundle.anatomy, scored.groups)
            if self.allocation == "uniform":
                kept = evenly(scored, budget=budget, cost=cost, of=cost(whole.anatomy))
            elif self.allocation == "optimal":
                kept = optimal(scored, budget=budget, costs_of=partial(Counted, cost=cost), of=cost(whole.anatomy))
            else:
                kept = by_rank(scored, budget=budget, cost=cost, of=cost(whole.anatomy))
        if kept.of(bundle.anatomy) == bundle.anatomy:
            raise ModelError(
                f"prune: nothing would be cut: the model takes {fraction:.3f} of the {self.target.kind} that came in "
                "already; ask for a smaller fraction"
            )
        return kept

    def _axes(self, anatomy: Anatomy) -> tuple[CutAxis, ...]:
        """The axes that a target is met on."""
        if self.axes is not None:
            return tuple(axis for axis in self.axes if axis != "vocabulary")
        return tuple(axis for axis in ("heads", "kv_groups", "ffn") if anatomy.of_axis(axis))

    def _refuse_absent(self, anatomy: Anatomy) -> None:
        own = len(set(anatomy.runs)) == anatomy.layers  # else a layer that leaves takes no weights along
        others = ["hidden", *(["layers"] if own else []), "vocabulary"]
        there = [*dict.fromkeys(group.axis for group in anatomy.groups), *others]
        absent = [axis for axis in self.axes or () if axis not in there]
        if absent:
            raise ModelError(
                f"prune: a {anatomy.family} like this has no {', '.join(absent)}; its axes: {', '.join(there)}"
            )

    def _block(self, group: Group) -> int:
        """Units that leave together: heads one by one, channels in blocks, unless a layer has too few for one."""
        return self.round_to if group.axis in ("ffn", "hidden") and group.units >= self.round_to else 1


def _cut(bundle: Bundle, scored: Scored, kept: Kept) -> Bundle:
    """A new model with what is kept, on the CPU."""
    import torch

    model = placed(bundle.module, torch.device("cpu"))
    keep = [scored.mask(group, kept) for group in scored.groups]
    layers = None if len(kept.layers) == bundle.anatomy.layers else kept.layers
    return bundle.with_model(keep_units(model, bundle.family, scored.groups, keep, layers=layers))
