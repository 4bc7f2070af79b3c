"""Repair without training: re-solve what reads a cut group, so that its outputs come back as near as they can."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from compress.feed import feed, placed

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from compress.anatomy import Group
    from compress.bundle import Bundle
    from compress.stage import Context

# Relative to the mean of the Gram matrix's diagonal: enough to solve where calibration leaves a direction unseen,
# too little to pull a weight that the data speaks about.
RIDGE = 1e-5


def least_squares(
    whole: Bundle, cut: Bundle, groups: Sequence[Group], context: Context, *, batch: int = 32
) -> PreTrainedModel:
    """A copy of the cut model whose readers are re-solved by least squares on the calibration texts.

    For each group that lost units, from the first layer to the last, weight and bias of its reader minimise
    ||X W^T + b - Y||^2 + ridge ||W - W_cut||^2, where X are the reader's inputs in the cut model as repaired so far
    and Y its outputs in the whole model, one row a token: later layers so make up for what earlier ones lost. The
    closed form is that of reconstruction after channel pruning (He et al. 2017, "Channel Pruning for Accelerating
    Very Deep Neural Networks", section 3.1), layer by layer; no gradients are used.

    A layer that runs several times is solved for its first run, then for its first two, and so on to all of them: what
    a run is given depends on how the runs before it were repaired.
    """
    import torch

    repaired = copy.deepcopy(cut.module).to(context.device)
    original = placed(whole.module, context.device)
    with torch.no_grad():
        for done, group in enumerate(groups):
            path = group.readers[0].module
            context.progress(done / len(groups), f"repair {path}")
            linear = repaired.get_submodule(path)
            if linear.weight.shape == original.get_submodule(path).weight.shape:
                continue  # nothing was cut here
            for runs in range(1, group.repeats + 1):
                gram, cross = _moments(original, repaired, path, runs, whole, context, batch)
                _solve_into(linear, gram, cross)
    return repaired.cpu()


def _moments(
    original: PreTrainedModel,
    repaired: PreTrainedModel,
    path: str,
    runs: int,
    bundle: Bundle,
    context: Context,
    batch: int,
) -> tuple[Float[Tensor, "in+1 in+1"], Float[Tensor, "in+1 out"]]:
    """X^T X and X^T Y over all real calibration tokens and the layer's first `runs` runs, X with a column of ones for
    the bias."""
    import torch

    linear = repaired.get_submodule(path)
    width = linear.in_features + 1
    gram = torch.zeros(width, width, dtype=torch.float64, device=context.device)
    cross = torch.zeros(width, linear.out_features, dtype=torch.float64, device=context.device)
    for tokens in feed(context.calibration, bundle, context.device, size=batch):
        wanted = _seen_at(original, path, lambda _inputs, output: output, tokens.inputs, runs)
        given = _seen_at(repaired, path, lambda inputs, _output: inputs, tokens.inputs, runs)
        outputs = torch.cat([tokens.flat(output) for output in wanted]).double()
        inputs = torch.cat([tokens.flat(values) for values in given]).double()
        inputs = torch.cat([inputs, torch.ones_like(inputs[:, :1])], dim=1)
        gram += inputs.T @ inputs
        cross += inputs.T @ outputs
    return gram, cross


def _solve_into(linear: nn.Linear, gram: Tensor, cross: Tensor) -> None:
    """Solve the ridge problem around the present weights and write the solution into `linear`."""
    import torch

    biased = linear.bias is not None
    if not biased:  # the ones column has nothing to fit
        gram, cross = gram[:-1, :-1], cross[:-1]
    present = torch.cat([linear.weight, *([linear.bias[:, None]] if biased else [])], dim=1).T.double()
    ridge = RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    change = torch.linalg.solve(gram + ridge, cross - gram @ present)
    solved = (present + change).T.to(linear.weight.dtype)
    linear.weight.copy_(solved[:, : linear.in_features])
    if biased:
        linear.bias.copy_(solved[:, -1])


class _Seen(Exception):
    """Ends a forward pass as soon as the layer that was waited for has run: the rest would be thrown away."""


def _seen_at(
    model: PreTrainedModel, path: str, choose: Callable[[Tensor, Tensor], Tensor], inputs: dict[str, Tensor], runs: int
) -> list[Float[Tensor, "batch tokens width"]]:
    """The input or output of one linear layer in each of its first `runs` runs of a forward pass."""
    seen: list[Tensor] = []

    def stop(_module: object, args: tuple[Tensor, ...], output: Tensor) -> None:
        seen.append(choose(args[0], output))
        if len(seen) == runs:
            raise _Seen

    hook = model.get_submodule(path).register_forward_hook(stop)
    try:
        model(**inputs)
    except _Seen:
        pass
    finally:
        hook.remove()
    return seen
