"""A torch model's weights on disk: safetensors alone, under the names that the hub's files have."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from compress.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor
    from transformers import PreTrainedModel

FILE_NAME = "model.safetensors"


def write_weights(model: PreTrainedModel, folder: Path) -> None:
    """Write `model.safetensors`, each tied weight once."""
    from safetensors.torch import save_file

    kept: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in sorted(_by_hub_name(model).items()):
        if tensor.data_ptr() not in seen or tensor.numel() == 0:
            kept[name] = tensor.detach().cpu().contiguous()
        seen.add(tensor.data_ptr())
    file = folder / FILE_NAME
    file.touch()
    mode = file.stat().st_mode  # what files get here; safetensors puts one in its place that its owner alone may read
    save_file(kept, file, metadata={"format": "pt"})
    file.chmod(mode)


def stored_weights(folder: Path) -> tuple[int, str]:
    """What a folder's safetensors files take, in bytes, and how most of their values are stored, as `F16`.

    Weights are worked on as float32 here: half-precision files are half as large as the model that is measured.

    Raises:
        ModelError: a file is no safetensors.
    """
    from safetensors import SafetensorError, safe_open

    files = sorted(folder.glob("*.safetensors"))
    values: Counter[str] = Counter()
    for file in files:
        try:
            with safe_open(file, "numpy") as weights:
                for name in weights.keys():  # noqa: SIM118  it is no mapping
                    one = weights.get_slice(name)
                    values[one.get_dtype()] += math.prod(one.get_shape())
        except (OSError, SafetensorError) as fault:
            raise ModelError(f"{file}: not a readable safetensors file: {fault}") from None
    return sum(file.stat().st_size for file in files), values.most_common(1)[0][0] if values else ""


def read_weights(model: PreTrainedModel, folder: Path) -> None:
    """Fill a model, whose shapes are settled, with the weights of `model.safetensors`.

    Raises:
        ModelError: no such file, not safetensors, or a weight that is missing, left over or of another shape.
    """
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    file = folder / FILE_NAME
    if not file.exists():
        raise ModelError(f"{folder}: neither {FILE_NAME} nor a graph under onnx/; was the folder copied whole?")
    try:
        saved = load_file(file)
    except (OSError, SafetensorError) as fault:
        raise ModelError(f"{file}: not a readable safetensors file: {fault}") from None
    wanted = _by_hub_name(model)
    there = {wanted[name].data_ptr() for name in wanted if name in saved}
    missing = [name for name, tensor in wanted.items() if tensor.data_ptr() not in there and tensor.numel()]
    faults = [f"has no {name}" for name in missing]
    faults += [f"has {name}, which the model has not" for name in saved if name not in wanted]
    for name in wanted.keys() & saved.keys():
        have, want = tuple(saved[name].shape), tuple(wanted[name].shape)
        if have != want:
            faults.append(f"{name} is {list(have)}, the config and anatomy.json make it {list(want)}")
    if faults:
        raise ModelError(f"{file}: {sorted(faults)[0]} ({len(faults)} faults in all); was this folder edited by hand?")
    with torch.no_grad():
        for name, tensor in saved.items():
            wanted[name].copy_(tensor)


def _by_hub_name(model: PreTrainedModel) -> dict[str, Tensor]:
    """The model's own tensors by the names that transformers gives them in a file; some modules are called otherwise.

    Raises:
        ModelError: its files hold weights in another arrangement, not only under other names.
    """
    from transformers.core_model_loading import revert_weight_conversion

    own = model.state_dict()
    named: dict[str, Tensor] = dict(revert_weight_conversion(model, own))
    if {tensor.data_ptr() for tensor in named.values()} - {tensor.data_ptr() for tensor in own.values()}:
        raise ModelError(f"{type(model).__name__}: transformers rearranges its weights in files, which isn't supported")
    return named
