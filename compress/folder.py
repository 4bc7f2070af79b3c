"""A bundle on disk: a folder laid out as the hub does, with `anatomy.json` and `lineage.json` among its files."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress import anatomy as anatomies
from compress.anatomy import Anatomy, anatomy_of
from compress.bundle import Bundle, OnnxGraph, plain_config
from compress.errors import ModelError
from compress.family import family_of
from compress.lineage import Lineage
from compress.surgery import shape_like
from compress.task import Task, task_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

LINEAGE_FILE = "lineage.json"


def source_bundle(
    folder: Path, task: Task, labels: tuple[str, ...], lineage: Lineage, *, new_head_seed: int | None = None
) -> Bundle:
    """The bundle that a hub folder holds, with a head for `labels`.

    Args:
        new_head_seed: draws the head anew where the folder has none for these labels, as it will be trained. Without
            it the folder must hold the whole trained model, its labels in this order.

    Raises:
        ModelError: not a model folder, an unknown family, weights that are missing or not safetensors, other labels.
    """
    import torch
    from safetensors import SafetensorError

    config = read_config(folder)
    family = family_of(config.get("model_type", "missing"))
    if not any(folder.glob("*.safetensors")):
        others = sorted(file.name for file in folder.glob("*.bin"))
        hint = f"; {others[0]} is a pickle, which can run code when opened: convert it first" if others else ""
        raise ModelError(f"{folder}: no *.safetensors{hint}")
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(new_head_seed or 0)
            model, missing = task.read(folder, labels)
    except (OSError, ValueError, RuntimeError, SafetensorError) as fault:
        raise ModelError(f"{folder}: transformers can't load it: {fault}") from fault
    lost = [name for name in missing if new_head_seed is None or family.part(name) != "head"]
    if lost:
        hint = "; a head for these labels is made by `prepare: [finetune: {...}]`" if new_head_seed is None else ""
        raise ModelError(f"{folder}: has no fitting weights for {', '.join(lost[:5])}{hint}")
    if new_head_seed is None:
        check_label_order(config, folder, labels)
    model.eval()
    anatomy = anatomy_of(model, family)
    return Bundle(model, plain_config(model), anatomy, read_tokenizer(folder), task, labels, lineage)


def save(bundle: Bundle, folder: Path) -> None:
    """Write a bundle as a hub folder: weights as safetensors, or the graph under `onnx/`."""
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(bundle.model, OnnxGraph):
        (folder / "onnx").mkdir(exist_ok=True)
        for file in bundle.model.files:
            suffix = file.name.removeprefix(bundle.model.path.name)
            shutil.copyfile(file, folder / "onnx" / (bundle.model.file_name + suffix))
    else:
        bundle.model.save_pretrained(folder)
    bundle.processor.save_pretrained(folder)
    described = {**bundle.anatomy.as_json(), "task": bundle.task.name}
    _write_json(folder / "config.json", bundle.config)
    _write_json(folder / anatomies.FILE_NAME, described)
    _write_json(folder / LINEAGE_FILE, bundle.lineage.as_json())


def load(path: str | Path) -> Bundle:
    """The bundle in a model folder, cut shapes rebuilt from `anatomy.json`; or around one ONNX file of it.

    A folder with weights gives the torch form. One that holds a graph and no weights gives the ONNX form. A folder
    that is not ours has no `anatomy.json`: its shapes are what its config says.

    Raises:
        ModelError: no such folder or file, or the weights do not fit `anatomy.json`.
    """
    path = Path(path)
    if not path.exists():
        raise ModelError(f"{path}: no such file or folder; wanted a model folder or an ONNX file")
    if path.is_file() and path.suffix != ".onnx":
        raise ModelError(f"{path}: neither a model folder nor an ONNX file; a folder has config.json and its weights")
    folder = path if path.is_dir() else path.parent.parent if path.parent.name == "onnx" else path.parent
    config = read_config(folder)
    labels = _labels_of(config, folder)
    lineage = _lineage_in(folder)
    weights = _weights_in(folder) if path.is_dir() else path
    if not (folder / anatomies.FILE_NAME).exists():
        if weights.suffix == ".onnx":
            task = task_of("text-classification")
            return _around(weights, config, _stock_anatomy(config, task), read_tokenizer(folder), task, labels, lineage)
        return source_bundle(folder, task_of("text-classification"), labels, lineage)
    document = _read_json(folder / anatomies.FILE_NAME, "")
    if document.get("format") != anatomies.FORMAT:
        raise ModelError(
            f"{folder / anatomies.FILE_NAME}: format {document.get('format')!r}, wanted {anatomies.FORMAT}"
        )
    try:
        task = task_of(document.pop("task"))
        anatomy = Anatomy.from_json(document)
    except (KeyError, TypeError) as fault:
        raise ModelError(f"{folder / anatomies.FILE_NAME}: not an anatomy ({fault}); was it edited by hand?") from None
    if weights.suffix == ".onnx":
        return _around(weights, config, anatomy, read_tokenizer(folder), task, labels, lineage)
    model = _rebuild(folder, config, anatomy, task)
    return Bundle(model, config, anatomy, read_tokenizer(folder), task, labels, lineage)


def read_config(folder: Path) -> dict[str, Any]:
    """The `config.json` of a model folder.

    Raises:
        ModelError: there is none, or it is no JSON object.
    """
    return _read_json(folder / "config.json", "a model folder has one")


def stock_model(config: dict[str, Any], task: Task) -> PreTrainedModel:
    """The model that a config describes, with no memory behind its weights: enough to read its anatomy.

    Raises:
        ModelError: transformers can't build it.
    """
    import torch
    from transformers import AutoConfig

    try:
        with torch.device("meta"):
            return task.build(AutoConfig.for_model(**config))
    except (ValueError, TypeError, KeyError) as fault:
        raise ModelError(
            f"config.json: transformers can't build a {config.get('model_type')!r} from it: {fault}"
        ) from None


def read_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a hub folder, without the padding and truncation that its file may ask for.

    sentence-transformers ships `tokenizer.json` files that pad every text to 128 tokens; left on, all time and memory
    would go into padding.
    """
    from transformers import AutoTokenizer

    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as fault:
        raise ModelError(f"{folder}: no usable tokenizer: {fault}") from fault
    if not tokenizer.is_fast:
        raise ModelError(f"{folder}: the tokenizer has no tokenizer.json; save it once with a fast tokenizer class")
    if len(tokenizer) <= len(set(tokenizer.all_special_ids)):  # what transformers makes up where there is no file
        raise ModelError(f"{folder}: the tokenizer has no vocabulary; is tokenizer.json missing?")
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    return tokenizer


def _rebuild(folder: Path, config: dict[str, Any], anatomy: Anatomy, task: Task) -> PreTrainedModel:
    """The torch model of a folder, its layers shaped by the anatomy before the weights are read."""
    import torch
    from safetensors import SafetensorError
    from safetensors.torch import load_model
    from transformers import AutoConfig

    if not (folder / "model.safetensors").exists():
        raise ModelError(f"{folder}: neither model.safetensors nor a graph under onnx/; was the folder copied whole?")
    family = family_of(config.get("model_type", "missing"))
    with torch.random.fork_rng(devices=[]):  # building draws random weights, which must not disturb the caller's
        stock = task.build(AutoConfig.for_model(**config))
    model = shape_like(stock, family, anatomy)
    try:
        load_model(model, folder / "model.safetensors")
    except (RuntimeError, SafetensorError) as fault:
        reason = str(fault).strip().splitlines()[-1].strip()
        raise ModelError(
            f"{folder / 'model.safetensors'}: does not fit anatomy.json: {reason}; was this folder edited by hand?"
        ) from None
    if anatomy_of(model, family) != anatomy:
        raise ModelError(f"{folder / anatomies.FILE_NAME}: not what the weights say; was this folder edited by hand?")
    return model.eval()


def _weights_in(folder: Path) -> Path:
    """The safetensors of a folder, or else its only ONNX file."""
    weights = sorted(folder.glob("*.safetensors"))
    graphs = sorted((folder / "onnx").glob("*.onnx"))
    if weights or not graphs:
        return folder / "model.safetensors"
    if len(graphs) > 1:
        names = ", ".join(graph.name for graph in graphs)
        raise ModelError(f"{folder}: no *.safetensors, and several ONNX files ({names}); name one of them")
    return graphs[0]


def _around(
    path: Path,
    config: dict[str, Any],
    anatomy: Anatomy,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    labels: tuple[str, ...],
    lineage: Lineage,
) -> Bundle:
    precision = path.stem.removeprefix("model").removeprefix("_") or "fp32"
    return Bundle(OnnxGraph(path, precision), config, anatomy, tokenizer, task, labels, lineage)


def _stock_anatomy(config: dict[str, Any], task: Task) -> Anatomy:
    return anatomy_of(stock_model(config, task), family_of(config.get("model_type", "missing")))


def _labels_of(config: dict[str, Any], folder: Path) -> tuple[str, ...]:
    """Label names in order of their index, as a hub config holds them."""
    try:
        names = {int(key): str(value) for key, value in config["id2label"].items()}
        return tuple(names[index] for index in range(len(names)))
    except KeyError:
        raise ModelError(f"{folder / 'config.json'}: no id2label with indices from 0; is it a classifier?") from None
    except (AttributeError, TypeError, ValueError):
        raise ModelError(f"{folder / 'config.json'}: id2label is not a mapping from index to name") from None


def check_label_order(config: dict[str, Any], folder: Path, labels: tuple[str, ...]) -> None:
    """A trained head scores its own labels in its own order; another order would turn every figure upside down.

    Raises:
        ModelError: the model's config names other labels than the data, or the same in another order.
    """
    own = _labels_of(config, folder)
    if own != labels and not all(re.fullmatch(r"LABEL_\d+", name) for name in own):
        raise ModelError(
            f"{folder}: the model's labels are {', '.join(own)}, the data's {', '.join(labels)}; "
            f"name them in the model's order: `label: {{names: [{', '.join(own)}]}}`"
        )


def _lineage_in(folder: Path) -> Lineage:
    file = folder / LINEAGE_FILE
    if not file.exists():
        return Lineage()
    try:
        return Lineage.from_json(_read_json(file, ""))
    except (KeyError, TypeError) as fault:
        raise ModelError(f"{file}: not a lineage ({fault}); was it edited by hand?") from None


def _read_json(file: Path, hint: str) -> dict[str, Any]:
    try:
        document = json.loads(file.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise ModelError(f"{file}: no such file; {hint}") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as fault:
        raise ModelError(f"{file}: not readable as JSON: {fault}") from None
    if not isinstance(document, dict):
        raise ModelError(f"{file}: holds a {type(document).__name__}, wanted a JSON object")
    return document


def _write_json(file: Path, document: dict[str, Any]) -> None:
    file.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
