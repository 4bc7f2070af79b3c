"""Where a training stands: what has to be put back for it to go on as if it had never stopped."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor
    from transformers import PreTrainedModel

Curve = list[tuple[int, float]]
"""(steps done, value) in order."""


@dataclass
class TrainingState:
    """A model in training with its optimizer, and what was learnt of it on the way."""

    model: PreTrainedModel
    optimizer: torch.optim.Optimizer
    device: torch.device
    higher_is_better: bool = True
    """Of the score on dev."""
    step: int = 0
    """Steps that are done."""
    losses: Curve = field(default_factory=list)
    scores: Curve = field(default_factory=list)
    """On dev, after each epoch."""
    best: dict[str, Tensor] = field(default_factory=dict)
    """The weights after the first of the epochs with the best score."""

    def score(self, value: float) -> None:
        """Note an epoch's score on dev, and keep the weights if none was better."""
        if not self.scores or self._worth(value) > max(self._worth(score) for _, score in self.scores):
            self.best = {name: tensor.detach().clone() for name, tensor in _weights(self.model).items()}
        self.scores.append((self.step, value))

    def restore_best(self) -> None:
        """Put the best epoch's weights back into the model."""
        assert self.best, "every run has at least one epoch"
        _fill(_weights(self.model), self.best)

    def tensors(self, *, at_end: bool = False) -> dict[str, Tensor]:
        """Everything of the state that is tensors: weights, the best ones, the optimizer's, and the random state.

        At the end of a training the optimizer's are left out, which are as large as the others and of no more use.
        """
        import torch

        found = {f"model/{name}": tensor for name, tensor in _weights(self.model).items()}
        found |= {f"best/{name}": tensor for name, tensor in self.best.items()}
        for index, parameter in enumerate(() if at_end else self._parameters()):
            for name, value in self.optimizer.state.get(parameter, {}).items():
                found[f"optimizer/{index}/{name}"] = value
        found["random/cpu"] = torch.get_rng_state()
        if self.device.type == "cuda":
            found["random/cuda"] = torch.cuda.get_rng_state(self.device)
        return found

    def notes(self) -> dict[str, Any]:
        """The rest of the state, as JSON values."""
        return {"step": self.step, "losses": self.losses, "scores": self.scores}

    def restore(self, tensors: Mapping[str, Tensor], notes: Mapping[str, Any]) -> None:
        """Put the state back that `tensors` and `notes` gave, here and in torch's generators."""
        import torch

        _fill(_weights(self.model), _below("model/", tensors))
        self.best = {name: tensor.to(self.device) for name, tensor in _below("best/", tensors).items()}
        for index, parameter in enumerate(self._parameters()):
            kept = _below(f"optimizer/{index}/", tensors)
            if kept:  # a parameter that never had a gradient has no state
                self.optimizer.state[parameter] = {name: _placed(value, parameter) for name, value in kept.items()}
        torch.set_rng_state(tensors["random/cpu"])
        if self.device.type == "cuda":
            torch.cuda.set_rng_state(tensors["random/cuda"], self.device)
        self.step = notes["step"]
        self.losses = [(step, value) for step, value in notes["losses"]]
        self.scores = [(step, value) for step, value in notes["scores"]]

    def _worth(self, score: float) -> float:
        """Higher is better; a score that is no number, as a correlation with a constant, is worth the least."""
        return -math.inf if math.isnan(score) else score if self.higher_is_better else -score

    def _parameters(self) -> list[Tensor]:
        return [parameter for group in self.optimizer.param_groups for parameter in group["params"]]


def _weights(model: PreTrainedModel) -> dict[str, Tensor]:
    """Parameters and buffers, tied ones once."""
    return dict(chain(model.named_parameters(), model.named_buffers()))


def _fill(into: Mapping[str, Tensor], values: Mapping[str, Tensor]) -> None:
    """Copy values into tensors where these lie: alignment and layout, and with them every sum, stay the same."""
    import torch

    assert into.keys() == values.keys(), "a training's checkpoints are of its own model"
    with torch.no_grad():
        for name, tensor in into.items():
            tensor.copy_(values[name])


def _placed(value: Tensor, parameter: Tensor) -> Tensor:
    """An optimizer's tensor laid out as the optimizer itself would have it: like the parameter, or one number."""
    import torch

    if value.shape != parameter.shape:
        return value.to(parameter.device, copy=True)
    return torch.empty_like(parameter, dtype=value.dtype, requires_grad=False).copy_(value)


def _below(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
