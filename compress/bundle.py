"""A `Bundle`: a model and all that is needed to use it. It is a value: stages return new ones."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress.anatomy import Anatomy
from compress.dissection import anatomy_of
from compress.errors import ModelError
from compress.external_data import external_files
from compress.family import Family, family_of
from compress.lineage import Lineage, digest_of, file_digest
from compress.task import Task

if TYPE_CHECKING:
    from transformers import PreTrainedModel


class Form(StrEnum):
    """What a bundle's model is: torch modules, or an ONNX graph."""

    TORCH = "torch"
    ONNX = "onnx"


@dataclass(frozen=True)
class OnnxGraph:
    """An ONNX model on disk. `precision` names its weights' type and is part of the file's name."""

    path: Path
    precision: str = "fp32"

    @property
    def file_name(self) -> str:
        return "model.onnx" if self.precision == "fp32" else f"model_{self.precision}.onnx"

    @cached_property
    def files(self) -> tuple[Path, ...]:
        """The graph, and the files that it names as those of its external data; read from it at first use.

        Raises:
            ExportError: it is no readable ONNX file, or names files that are not in its folder.
        """
        return (self.path, *external_files(self.path))


@dataclass(frozen=True)
class Bundle:
    """A model and all that is needed to use it. Nothing in it is changed in place."""

    model: PreTrainedModel | OnnxGraph
    config: dict[str, Any]
    """The architecture as the hub writes it; survives into ONNX."""
    anatomy: Anatomy
    """Units of every group; true after every cut; survives into ONNX."""
    processor: Any
    """The tokenizer, or the image processor, that makes its inputs."""
    task: Task
    labels: tuple[str, ...]
    """`logits[:, i]` scores `labels[i]`."""
    lineage: Lineage = field(default_factory=Lineage)

    @property
    def form(self) -> Form:
        return Form.ONNX if isinstance(self.model, OnnxGraph) else Form.TORCH

    @property
    def module(self) -> PreTrainedModel:
        """The torch model of a bundle of torch form.

        Raises:
            ModelError: the bundle is around a graph.
        """
        if isinstance(self.model, OnnxGraph):
            raise ModelError(f"{self.model.path.name}: an ONNX graph, no torch module; `.graph.path` is its file")
        return self.model

    @property
    def graph(self) -> OnnxGraph:
        """The graph of a bundle of ONNX form.

        Raises:
            ModelError: the bundle is around a torch model.
        """
        if not isinstance(self.model, OnnxGraph):
            raise ModelError(f"{type(self.model).__name__}: a torch model, no ONNX graph; `.module` is it")
        return self.model

    @property
    def family(self) -> Family:
        return family_of(self.config["model_type"])

    @property
    def max_tokens(self) -> int:
        """The longest input, in tokens, that the positions, the task and the tokenizer allow; of pictures, the only."""
        limits = [self.family.longest(self.config), self.task.longest]
        if self.task.modality == "text":
            limits.append(int(self.processor.model_max_length))
        return min(limit for limit in limits if limit is not None)

    def with_model(self, model: PreTrainedModel) -> Bundle:
        """The same bundle around another torch model, with that model's config and anatomy."""
        return replace(self, model=model, config=plain_config(model), anatomy=anatomy_of(model, self.family))

    @cached_property
    def digest(self) -> str:
        """The sha256 of everything that makes the bundle what it is; lineage and file names are left out."""
        if isinstance(self.model, OnnxGraph):
            weights = [file_digest(file) for file in self.model.files]
        else:
            weights = [_weights_digest(self.model)]
        reading = reading_of(self.processor)
        parts = [weights, self.config, self.anatomy.as_json(), reading, self.task.name, list(self.labels)]
        return digest_of(parts)


def plain_config(model: PreTrainedModel) -> dict[str, Any]:
    """The config as JSON values, as `config.json` holds it, without the path that it was read from."""
    config = json.loads(model.config.to_json_string(use_diff=False))
    config.pop("_name_or_path", None)
    config["architectures"] = [type(model).__name__]  # what others' loaders, and ours, know the task by
    return config


def reading_of(processor: Any) -> list[Any]:
    """All that decides what a processor makes of its input."""
    if not hasattr(processor, "backend_tokenizer"):
        return [processor.to_dict()]
    settled = [processor.backend_tokenizer.to_str(), processor.model_max_length, processor.padding_side]
    return [*settled, list(processor.model_input_names)]


def _weights_digest(model: PreTrainedModel) -> str:
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().view(-1).numpy().tobytes())
    return digest.hexdigest()
