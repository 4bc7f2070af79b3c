"""The weights that a slice names, whatever kind of module holds them: seen unit by unit, or cut."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from compress.anatomy import Slice
from compress.linear import is_linear, is_transposed, weight_of

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int
    from torch import Tensor, nn


def weights_in(model: nn.Module, part: Slice) -> Iterator[Float[Tensor, "place other"]]:
    """Each weight, and bias, that the slice's units share: one row a place."""
    from torch import nn

    owner, leaf = _owner(model, part)
    if leaf in owner._parameters:
        yield getattr(owner, leaf).flatten(0, -2).T
        return
    module: Any = getattr(owner, leaf)
    if part.side == "columns":
        yield weight_of(module).T
        return
    if isinstance(module, nn.Embedding):
        yield module.weight.T
        return
    weight = weight_of(module) if is_linear(module) else module.weight
    yield weight.flatten(1) if weight.ndim > 1 else weight[:, None]
    if getattr(module, "bias", None) is not None:
        yield module.bias[:, None]


def parameters_in(model: nn.Module, part: Slice) -> Iterator[Tensor]:
    """The parameters that `cut_slice` replaces."""
    owner, leaf = _owner(model, part)
    if leaf in owner._parameters:
        yield getattr(owner, leaf)
        return
    module: Any = getattr(owner, leaf)
    yield module.weight
    if part.side == "rows" and getattr(module, "bias", None) is not None:
        yield module.bias


def cut_slice(model: nn.Module, part: Slice, keep: Bool[Tensor, "unit"]) -> None:
    """Leave a module only the kept units of one slice, in place."""
    from torch import nn
    from torch_pruning import prune_embedding_out_channels, prune_linear_in_channels, prune_linear_out_channels

    places = keep.repeat_interleave(part.span).repeat(part.blocks)
    kept, gone = places.nonzero().flatten(), (~places).nonzero().flatten().tolist()
    owner, leaf = _owner(model, part)
    if leaf in owner._parameters:
        _keep(owner, leaf, -1, kept)
        return
    module: Any = getattr(owner, leaf)
    if isinstance(module, nn.Linear):
        (prune_linear_out_channels if part.side == "rows" else prune_linear_in_channels)(module, gone)
    elif isinstance(module, nn.Embedding):
        prune_embedding_out_channels(module, gone)
    elif is_transposed(module):
        _keep(module, "weight", int(part.side == "rows"), kept)
        if part.side == "rows":
            _keep(module, "bias", 0, kept)
        module.nx, module.nf = module.weight.shape
    else:
        _cut_outputs(module, kept)


def _cut_outputs(module: Any, kept: Int[Tensor, "place"]) -> None:
    """Of a norm, or a convolution over patches: their outputs are the first dimension of all that they hold."""
    for name, _ in list(module.named_parameters(recurse=False)):
        _keep(module, name, 0, kept)
    if hasattr(module, "normalized_shape"):
        module.normalized_shape = (len(kept),)
    if hasattr(module, "out_channels"):
        module.out_channels = len(kept)


def _keep(module: Any, name: str, dimension: int, kept: Int[Tensor, "place"]) -> None:
    """Leave a parameter only some of the places of one dimension."""
    from torch import nn

    whole = getattr(module, name)
    smaller = whole.detach().index_select(dimension, kept.to(whole.device))
    setattr(module, name, nn.Parameter(smaller, requires_grad=whole.requires_grad))


def _owner(model: nn.Module, part: Slice) -> tuple[nn.Module, str]:
    """The module that holds what the slice names, and under which name."""
    path, _, leaf = part.module.rpartition(".")
    return model.get_submodule(path), leaf
