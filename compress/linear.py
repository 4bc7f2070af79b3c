"""Linear layers of both kinds alike: torch's, and GPT-2's `Conv1D`, which keeps its weight the other way round."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from jaxtyping import Float
    from torch import Tensor, nn


def is_linear(module: nn.Module) -> bool:
    """Whether the module is a linear layer of either kind."""
    from torch import nn

    return isinstance(module, nn.Linear) or is_transposed(module)


def is_transposed(module: nn.Module) -> bool:
    """Whether the module is a `Conv1D`. By name: its class is found in a part of transformers that is slow to load."""
    return type(module).__name__ == "Conv1D"


def weight_of(module: nn.Module) -> Float[Tensor, "out in"]:
    """A linear layer's weight, its outputs as rows. A view: what is written into it is written into the layer."""
    weight = cast("Any", module).weight
    return cast("Tensor", weight.T if is_transposed(module) else weight)
