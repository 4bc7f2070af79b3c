"""Repair without training: change what reads a cut group, so that its outputs come back as near as they can."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from compress.errors import DataError, ModelError
from compress.feed import TensorBatch, feed, placed
from compress.linear import weight_of
from compress.pruning.passes import Passes
from compress.surgery import renamed

if TYPE_CHECKING:
    from jaxtyping import Bool, Float
    from torch import Tensor
    from transformers import PreTrainedModel

    from compress.anatomy import Group
    from compress.bundle import Bundle
    from compress.stage import Context

# Relative to the mean of the Gram matrix's diagonal: enough to solve where calibration leaves a direction unseen,
# too little to pull a weight that the data speaks about.
RIDGE = 1e-5


Way = Literal["bias", "scales", "least_squares"]
"""What of a reader may change: its bias, a scale for each unit that it reads, or all of its weights."""


def repair(
    whole: Bundle,
    cut: PreTrainedModel,
    groups: Sequence[Group],
    keep: Sequence[Bool[Tensor, "unit"]],
    context: Context,
    *,
    way: Way,
    layers: Sequence[int] | None = None,
    batch: int = 32,
) -> None:
    """Re-solve the readers of a cut model in closed form on the calibration texts. `cut` is changed in place.

    Each linear layer that reads a cut group is brought as near to Y, its outputs in the whole model, as what may change
    allows, given X, its inputs in the cut model as repaired so far, one row a token; in the order in which they run, so
    that later layers make up for what earlier ones lost. No gradients are used.

    `least_squares`: weight and bias minimise ||X W^T + b - Y||^2 + ridge ||W - W_cut||^2 (He et al. 2017, "Channel
    Pruning for Accelerating Very Deep Neural Networks", section 3.1). `scales`: each unit that is left is multiplied by
    a number of its own, and so are the columns that read it (Kwon et al. 2022, "A Fast Post-Training Pruning Framework
    for Transformers", section 4.3, mask tuning, solved here in closed form with a ridge towards 1). `bias`: the bias
    takes the mean of what was lost (An et al. 2024, FLAP, section 3.4).

    A layer that runs several times is solved for its first run, then for its first two, and so on to all of them: what
    a run is given depends on how the runs before it were repaired. A reader whose weight is the embedding's stays as it
    is.

    Args:
        groups: of the whole model, with `keep`, what the cut left of them.
        layers: those of the whole model that are left, where not all are.

    Raises:
        DataError: there are no calibration examples.
        ModelError: `way` is `bias`, and a reader has none; or what a reader is given or gives is not finite.
    """
    import torch

    if not len(context.calibration):
        raise DataError(f"prune: repair {way}: needs calibration examples; the recipe's calibration has none")
    model = cut.to(context.device)
    ours, theirs = Passes(model, whole.family), Passes(placed(whole.module, context.device), whole.family)
    readers = _readers(whole, groups, keep, layers)
    batches = list(feed(context.calibration, whole, context.device, size=batch))
    with torch.no_grad():
        for done, (together, runs) in enumerate(sets := _in_order(model, readers, whole, context)):
            context.progress(done / len(sets), f"repair {together[0].path}")
            for first in range(1, runs + 1):
                gram, crosses = _moments(theirs, ours, together, first, batches)
                if not all(bool(each.isfinite().all()) for each in (gram, *crosses)):
                    raise ModelError(f"prune: repair {way}: what {together[0].path} is given or gives is not finite")
                for reader, cross in zip(together, crosses, strict=True):
                    _SOLVERS[way](model.get_submodule(reader.path), gram, cross, reader)
    model.cpu()


@dataclass(frozen=True)
class _Reader:
    """A linear layer that lost inputs: its path in the cut model and in the whole one, and which outputs it kept."""

    path: str
    original: str
    span: int
    """Inputs of one unit."""
    rows: Bool[Tensor, "out"]


def _readers(
    whole: Bundle, groups: Sequence[Group], keep: Sequence[Bool[Tensor, "unit"]], layers: Sequence[int] | None
) -> list[_Reader]:
    import torch

    left = {
        (part.module, part.side): mask.repeat_interleave(part.span).repeat(part.blocks)
        for group, mask in zip(groups, keep, strict=True)
        for part in group.slices
    }
    embedding = whole.module.get_input_embeddings()
    found = []
    for group, mask in zip(groups, keep, strict=True):
        for part in group.readers:
            linear: Any = whole.module.get_submodule(part.module)
            path = renamed(whole.module, whole.family, part.module, layers)
            if path is None or bool(mask.all()) or linear.weight is getattr(embedding, "weight", None):
                continue
            every = torch.ones(len(weight_of(linear)), dtype=torch.bool)
            found.append(_Reader(path, part.module, part.span, left.get((part.module, "rows"), every)))
    return found


def _in_order(
    model: PreTrainedModel, readers: Sequence[_Reader], bundle: Bundle, context: Context
) -> list[tuple[list[_Reader], int]]:
    """The readers as they run, those that are given the same tensor together, and how often they run."""
    ran: list[tuple[_Reader, Tensor]] = []
    hooks = [
        model.get_submodule(reader.path).register_forward_pre_hook(
            lambda _module, args, reader=reader: ran.append((reader, args[0]))
        )
        for reader in readers
    ]
    try:
        model(**next(iter(feed(context.calibration, bundle, context.device, size=1))).inputs)
    finally:
        for hook in hooks:
            hook.remove()
    sets: list[tuple[list[_Reader], Tensor]] = []
    seen: list[str] = []
    for reader, given in ran:
        if reader.path not in seen:
            if sets and sets[-1][1] is given:
                sets[-1][0].append(reader)
            else:
                sets.append(([reader], given))
        seen.append(reader.path)
    return [(together, seen.count(together[0].path)) for together, _ in sets]


def _moments(
    whole: Passes, cut: Passes, together: Sequence[_Reader], runs: int, batches: Sequence[TensorBatch]
) -> tuple[Float[Tensor, "in+1 in+1"], list[Float[Tensor, "in+1 out"]]]:
    """X^T X, and X^T Y of each reader, over all real calibration tokens and the layer's first `runs` runs, X with a
    column of ones for the bias."""
    import torch

    paths, wholes = [reader.path for reader in together], [reader.original for reader in together]
    gram: Any = 0.0
    crosses: list[Any] = [0.0 for _ in together]
    for number, tokens in enumerate(batches):
        wanted = whole.seen(number, tokens.inputs, wholes, runs)
        given = cut.seen(number, tokens.inputs, paths, runs)[paths[0]]
        inputs = torch.cat([tokens.vectors(values) for values, _ in given]).double()
        inputs = torch.cat([inputs, torch.ones_like(inputs[:, :1])], dim=1)
        gram = gram + inputs.T @ inputs
        for place, reader in enumerate(together):
            outputs = torch.cat([tokens.vectors(output) for _, output in wanted[reader.original]])
            crosses[place] = crosses[place] + inputs.T @ outputs[:, reader.rows].double()
    return gram, crosses


def _with_ridge(gram: Float[Tensor, "n n"]) -> Float[Tensor, "n n"]:
    """Where nothing was seen at all the ridge still has some size: there the solution is then to change nothing."""
    import torch

    size = (RIDGE * gram.diagonal().mean()).clamp_min(torch.finfo(gram.dtype).eps)
    return gram + size * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)


def _solve_weights(linear: Any, gram: Tensor, cross: Tensor, _reader: _Reader) -> None:
    """Solve the ridge problem around the present weights and write the solution into `linear`."""
    import torch

    biased = linear.bias is not None
    if not biased:  # the ones column has nothing to fit
        gram, cross = gram[:-1, :-1], cross[:-1]
    weight = weight_of(linear)
    present = torch.cat([weight, *([linear.bias[:, None]] if biased else [])], dim=1).T.double()
    change = torch.linalg.solve(_with_ridge(gram), cross - gram @ present)
    solved = (present + change).T.to(weight.dtype)
    weight.copy_(solved[:, : weight.shape[1]])
    if biased:
        linear.bias.copy_(solved[:, -1])


def _solve_scales(linear: Any, gram: Tensor, cross: Tensor, reader: _Reader) -> None:
    """Multiply the columns of each unit by the number that brings the outputs nearest; the bias stays as it is.

    With P_u the outputs that unit u adds, sum over tokens of P_u . P_v is the sum over the block (u, v) of the inputs'
    Gram matrix times W^T W, and that of P_u . Y the sum of W^T times the inputs' products with Y.
    """
    import torch

    present = weight_of(linear)
    weight = present.double()
    inputs, goal = gram[:-1, :-1], cross[:-1]
    if linear.bias is not None:
        goal = goal - gram[:-1, -1:] * linear.bias.double()
    units = weight.shape[1] // reader.span
    products = (inputs * (weight.T @ weight)).view(units, reader.span, units, reader.span).sum(dim=(1, 3))
    wanted = (goal * weight.T).sum(dim=1).view(units, reader.span).sum(dim=1)
    change = torch.linalg.solve(_with_ridge(products), wanted - products.sum(dim=1))
    present.mul_((1 + change).repeat_interleave(reader.span).to(present.dtype))


def _solve_bias(linear: Any, gram: Tensor, cross: Tensor, reader: _Reader) -> None:
    """Move the bias until the outputs' mean is that of the whole model."""
    if linear.bias is None:
        raise ModelError(f"prune: repair bias: {reader.path} has no bias; use least_squares, or scales")
    count = gram[-1, -1]
    given = (gram[-1, :-1] / count) @ weight_of(linear).double().T + linear.bias.double()
    linear.bias.add_((cross[-1] / count - given).to(linear.bias.dtype))


_SOLVERS = {"least_squares": _solve_weights, "scales": _solve_scales, "bias": _solve_bias}
