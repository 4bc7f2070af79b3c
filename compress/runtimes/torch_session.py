"""A torch model that is open for running: what all torch runtimes share."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.runtimes.threads import use_threads

if TYPE_CHECKING:
    import numpy as np
    import torch
    from jaxtyping import Float, Shaped
    from transformers import PreTrainedModel

    from compress.task import Task


class TorchSession:
    """Runs `model` in inference mode. `call` is the model itself, or a compiled form of it."""

    def __init__(
        self, model: PreTrainedModel, task: Task, *, device: str, threads: int, call: Callable[..., Any] | None = None
    ) -> None:
        self._model = model
        self._task = task
        self._call = model if call is None else call  # a compiled model has no truth value
        self._device = device
        self._threads = threads

    @property
    def weight_bytes(self) -> int:
        return _saved_bytes(self._model)

    def outputs(self, inputs: Mapping[str, Shaped[np.ndarray, "row ..."]]) -> Float[np.ndarray, "row ..."]:
        scores: np.ndarray = self.bind(inputs)().float().cpu().numpy()
        return scores

    def bind(self, inputs: Mapping[str, Shaped[np.ndarray, "row ..."]]) -> Callable[[], torch.Tensor]:
        import torch

        fed = {name: torch.from_numpy(array).to(self._device) for name, array in inputs.items()}

        def run() -> torch.Tensor:
            use_threads(self._threads)
            with torch.inference_mode():
                return self._task.scores(self._call(**fed), fed)

        return run

    def close(self) -> None:
        self._call = self._model = _closed


def _closed(**_inputs: object) -> Any:
    raise RuntimeError("this session is closed")


def _saved_bytes(model: PreTrainedModel) -> int:
    """The size of the weights as a file: safetensors, or torch's own format where packed int8 weights need it."""
    import torch
    from safetensors.torch import save_model

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "weights"
        try:
            save_model(model, str(file))
        except (AttributeError, ValueError, RuntimeError):  # torch's packed int8 parameters are no tensors
            torch.save(model.state_dict(), file)
        return os.path.getsize(file)
