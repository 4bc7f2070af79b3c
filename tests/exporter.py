"""torch's exporter, asked once a session for each model: tests need the graphs of a few small models again and again,
and it takes seconds for each. What it gave is read from a file from then on, in every process of the session."""

from __future__ import annotations

import hashlib
import inspect
import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from types import CodeType
from typing import Any

import onnx_ir
import torch
from filelock import FileLock


def remembering(torch_graph: Callable[..., onnx_ir.Model], folder: Path) -> Callable[..., onnx_ir.Model]:
    """`compress.graph.build.torch_graph`, which keeps in `folder` what it gives."""

    def remembered(model: torch.nn.Module, inputs: Mapping[str, torch.Tensor], **options: Any) -> onnx_ir.Model:
        key = hashlib.sha256()
        for part in (_said(model), _weights(model), _weights_of(inputs), repr(sorted(options.items()))):
            key.update(part.encode())
        file = folder / f"{key.hexdigest()}.onnx"
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(file.with_suffix(".lock")):
            if file.exists():
                return onnx_ir.load(file)
            graph, draft = torch_graph(model, inputs, **options), file.with_suffix(".draft")
            onnx_ir.save(graph, draft)
            os.replace(draft, file)
        return graph  # as the exporter left it, so that the real way is gone once for each model

    return remembered


def _said(model: torch.nn.Module) -> str:
    """What the model's code goes by: its parts, what they were set to, and the code itself where it is their own."""
    parts = []
    for name, module in model.named_modules():
        kind, own = type(module), vars(module).get("forward")
        plain = {
            key: repr(value) for key, value in vars(module).items() if isinstance(value, int | float | str | tuple)
        }
        config = getattr(module, "config", None)
        settings = config.to_dict() if hasattr(config, "to_dict") else {}
        implementation = getattr(config, "_attn_implementation", "")
        code = [_code(function) for function in (kind.forward, own) if function is not None]
        parts.append([name, f"{kind.__module__}.{kind.__qualname__}", plain, settings, implementation, code])
    return json.dumps(parts, sort_keys=True, default=repr)


def _code(function: Callable[..., Any]) -> list[Any]:
    """What a function does, and with what values from around it."""
    plain = inspect.unwrap(function)
    around = [repr(cell.cell_contents) for cell in plain.__closure__ or ()]
    return [*_code_of(plain.__code__), around]


def _code_of(code: CodeType) -> list[Any]:
    constants = [_code_of(one) if isinstance(one, CodeType) else repr(one) for one in code.co_consts]
    return [code.co_code.hex(), code.co_names, constants]


def _weights(model: torch.nn.Module) -> str:
    named = {**dict(model.named_parameters(remove_duplicate=False)), **dict(model.named_buffers())}
    places = [tensor.data_ptr() for tensor in named.values()]
    tied = [places.index(place) for place in places]  # a graph holds once what goes by two names
    return _weights_of(named) + repr(tied)


def _weights_of(named: Mapping[str, torch.Tensor]) -> str:
    told = []
    for name, tensor in named.items():
        data = tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy()
        told.append((name, str(tensor.dtype), tuple(tensor.shape), hashlib.sha256(data.tobytes()).hexdigest()))
    return repr(told)
