"""A bundle on disk: a folder laid out as the hub does, with `anatomy.json` and `lineage.json` among its files."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

from compress import anatomy as anatomies
from compress.anatomy import Anatomy
from compress.bundle import Bundle, OnnxGraph, plain_config
from compress.dissection import anatomy_of
from compress.documents import json_object
from compress.errors import ModelError
from compress.external_data import check_external_data
from compress.family import Family, family_of
from compress.graph.inspect import attention_nodes, read_proto
from compress.lineage import Lineage
from compress.processors import read_processor
from compress.security import check_sizes, check_weights, refuse_code
from compress.surgery import shape_like
from compress.task import Task, task_in, task_of
from compress.weights import read_weights, write_weights

if TYPE_CHECKING:
    from transformers import PretrainedConfig, PreTrainedModel

LINEAGE_FILE = "lineage.json"
_SIZES = (
    *("hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim"),
    "vocab_size",
)
"""What a config says of a model's shapes, as transformers' configs all call it; FFNs have a name in each family."""

_DIRECTIONS = {True: "forwards alone, as decoders do", False: "in both directions, as encoders do"}


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
    family = family_of(config["model_type"])
    check_weights(folder)
    stock_model(config, task)  # refuses what could not be built, or only with more memory than there is
    processor = read_processor(folder, family, task.modality, config)
    padding = {"pad_token_id": processor.pad_token_id} if family.causal else {}
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(new_head_seed or 0)
            model, missing = task.read(folder, labels, **padding)
    except (OSError, ValueError, RuntimeError, SafetensorError) as fault:
        raise ModelError(f"{folder}: transformers can't load it: {fault}") from fault
    model._weight_conversions = None  # how it was read is not how it is to be written: under the hub's present names
    lost = [name for name in missing if new_head_seed is None or family.part(name) != "head"]
    if lost:
        hint = "; a head for these labels is made by `prepare: [finetune: {...}]`" if new_head_seed is None else ""
        raise ModelError(f"{folder}: has no fitting weights for {', '.join(lost[:5])}{hint}")
    if new_head_seed is None:
        check_label_order(config, folder, task, labels)
    model.eval()
    config = plain_config(model)
    return Bundle(model, config, anatomy_of(model, family), processor, task.fitted(config), labels, lineage)


def save(bundle: Bundle, folder: Path) -> None:
    """Write a bundle as a hub folder: weights as safetensors, or the graph under `onnx/`."""
    folder.mkdir(parents=True, exist_ok=True)
    if isinstance(bundle.model, OnnxGraph):
        _copy_graph(bundle.model, folder / "onnx")
    else:
        write_weights(bundle.model, folder)
    bundle.processor.save_pretrained(folder)
    bundle.task.accompany(bundle.config, bundle.max_tokens, folder)
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
    folder = _folder_of(path)
    if is_alone(path):
        read_proto(path)  # a file cut short is told as such
        raise ModelError(
            f"{path}: has no config.json beside it, nor in the folder above `onnx`, which says what model it is; "
            "`compress measure` takes it after a model whose tokenizer it reads by"
        )
    config = read_config(folder)
    weights = _weights_in(folder) if path.is_dir() else path
    if not (folder / anatomies.FILE_NAME).exists():
        return _load_stock(folder, weights, config)
    document = json_object(folder / anatomies.FILE_NAME)
    if document.get("format") != anatomies.FORMAT:
        raise ModelError(
            f"{folder / anatomies.FILE_NAME}: format {document.get('format')!r}, wanted {anatomies.FORMAT}"
        )
    try:
        task = task_of(document.pop("task"))
        anatomy = Anatomy.from_json(document)
        if len(anatomy.runs) != anatomy.layers:
            raise TypeError(f"{anatomy.layers} layers, of which {len(anatomy.runs)} have heads")
    except (KeyError, TypeError, ValueError, AttributeError, ModelError) as fault:
        raise ModelError(f"{folder / anatomies.FILE_NAME}: not an anatomy ({fault}); was it edited by hand?") from None
    task = task.fitted(config)
    if weights.suffix == ".onnx":
        _check_graph(folder, weights, config, anatomy, task)
        return _around(folder, weights, config, anatomy, task)
    model = _rebuild(folder, config, anatomy, task)
    return _bundle(folder, model, config, anatomy, task)


def is_alone(path: Path) -> bool:
    """Whether it is an ONNX file with no model folder around it."""
    return path.is_file() and path.suffix == ".onnx" and not (_folder_of(path) / "config.json").exists()


def _folder_of(path: Path) -> Path:
    """The model folder of a file in it, or in its folder `onnx`."""
    if path.is_dir():
        return path
    return path.parent.parent if path.parent.name == "onnx" else path.parent


def _copy_graph(graph: OnnxGraph, folder: Path) -> None:
    """The graph under the name that its precision gives it, its external data under the names that it knows it by."""
    folder.mkdir(exist_ok=True)
    path, *data = graph.files
    for file in data:
        copy = folder / file.relative_to(path.parent.resolve())
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(file, copy)
    shutil.copyfile(path, folder / graph.file_name)


def _load_stock(folder: Path, weights: Path, config: dict[str, Any]) -> Bundle:
    """The bundle in a folder that is not ours: its task follows from its class, its shapes from its config."""
    task = task_in(config)
    if weights.suffix == ".onnx":
        return _around(folder, weights, config, _stock_anatomy(config, task), task.fitted(config))
    return source_bundle(folder, task, labels_of(config, folder, task), _lineage_in(folder))


def _bundle(
    folder: Path, model: PreTrainedModel | OnnxGraph, config: dict[str, Any], anatomy: Anatomy, task: Task
) -> Bundle:
    family = family_of(config["model_type"])
    processor = read_processor(folder, family, task.modality, config)
    return Bundle(model, config, anatomy, processor, task, labels_of(config, folder, task), _lineage_in(folder))


def read_config(folder: Path) -> dict[str, Any]:
    """The `config.json` of a model folder.

    Raises:
        ModelError: there is none, it is no JSON object, it names no architecture, or the folder wants code of its own
            to be run.
    """
    config = json_object(folder / "config.json", "a model folder has one")
    if not isinstance(config.get("model_type"), str):
        raise ModelError(f"{folder / 'config.json'}: has no model_type, which says what architecture it is")
    refuse_code(folder)
    return config


def stock_model(config: dict[str, Any], task: Task) -> PreTrainedModel:
    """The model that a config describes, with no memory behind its weights: enough to read its anatomy.

    Raises:
        ModelError: transformers can't build it, or its weights would be larger than this machine's memory.
    """
    import psutil
    import torch

    check_sizes(config)
    family = family_of(config["model_type"])
    if task.causal not in (None, family.causal):
        raise ModelError(
            f"{task.name}: a {config['model_type']!r} reads texts {_DIRECTIONS[family.causal]}; wanted a model that "
            f"reads them {_DIRECTIONS[task.causal]}"
        )
    try:
        with torch.device("meta"):
            model = task.build(family.config_from(config))
    except Exception as fault:  # what transformers and torch raise for a config that makes no model shares no class
        raise _unbuildable(config, fault) from None
    weights, memory = sum(4 * each.numel() for each in model.parameters()), psutil.virtual_memory().total
    if weights > memory:
        raise ModelError(
            f"config.json: describes weights of {weights:.2g} bytes, and this machine has {memory:.2g} of memory; "
            "was it edited by hand?"
        )
    return model


def _unbuildable(config: dict[str, Any], fault: Exception) -> ModelError:
    if isinstance(fault, ModelError):
        return fault
    reason = " ".join(str(fault).split("\nException raised from")[0].split())
    return ModelError(f"config.json: transformers can't build a {config.get('model_type')!r} from it: {reason}")


def _rebuild(folder: Path, config: dict[str, Any], anatomy: Anatomy, task: Task) -> PreTrainedModel:
    """The torch model of a folder, its layers shaped by the anatomy before the weights are read."""
    import torch

    family = family_of(config["model_type"])
    roomy = _roomy(folder, config, anatomy, task)
    with torch.random.fork_rng(devices=[]):  # building draws random weights, which must not disturb the caller's
        model = _shaped(folder, task.build(roomy), anatomy, family)
    read_weights(model, folder)
    _check_shapes(folder, config, anatomy, model, family)
    return model.eval()


def _roomy(folder: Path, config: dict[str, Any], anatomy: Anatomy, task: Task) -> PretrainedConfig:
    """The config of a stock model that has room for all that the anatomy names."""
    family = family_of(config["model_type"])
    check_sizes(config)
    try:
        roomy = family.config_from(config)
    except Exception as fault:  # as in `stock_model`
        raise _unbuildable(config, fault) from None
    try:
        family.make_room(roomy, anatomy)
        stock_model(roomy.to_dict(), task)  # refuses what could not be built, or only with more memory than there is
    except ModelError as fault:
        raise ModelError(f"{folder}: {fault}; was it edited by hand?") from None
    return roomy


def _shaped(folder: Path, stock: PreTrainedModel, anatomy: Anatomy, family: Family) -> PreTrainedModel:
    try:
        return shape_like(stock, family, anatomy)
    except ModelError as fault:
        raise ModelError(f"{folder}: {fault}; was it edited by hand?") from None


def _check_shapes(
    folder: Path, config: dict[str, Any], anatomy: Anatomy, model: PreTrainedModel, family: Family
) -> None:
    """See that anatomy and config say of a model, shaped as the anatomy has it, what it is."""
    if anatomy_of(model, family) != anatomy:
        raise ModelError(f"{folder / anatomies.FILE_NAME}: not what the weights say; was this folder edited by hand?")
    _check_config(folder, family.config_from(config), model, family)


def _check_graph(folder: Path, path: Path, config: dict[str, Any], anatomy: Anatomy, task: Task) -> None:
    """See that the anatomy beside a graph is that of the config's model, and has the heads that the graph has, where
    that tells them: a folder that was edited by hand would have its sizes counted wrong."""
    family = family_of(config["model_type"])
    stock = stock_model(_roomy(folder, config, anatomy, task).to_dict(), task)  # on no device: nothing is read
    _check_shapes(folder, config, anatomy, _shaped(folder, stock, anatomy, family), family)
    heads = [node.heads for node in attention_nodes(read_proto(path))]
    if heads and None not in heads and heads != anatomy.heads_by_layer():
        raise ModelError(
            f"{folder / anatomies.FILE_NAME}: heads {anatomy.heads_by_layer()}, and {path.name} has {heads}; was this "
            "folder edited by hand?"
        )


def _check_config(folder: Path, config: PretrainedConfig, model: PreTrainedModel, family: Family) -> None:
    """A config that was edited by hand may still make a model that can be cut to the weights' shapes."""
    for key in (*_SIZES, family.ffn_key):
        said, found = getattr(config, key, None), getattr(model.config, key, None)
        if said != found:
            raise ModelError(
                f"{folder / 'config.json'}: {key} is {said}, the weights make {found}; was this folder edited by hand?"
            )


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


def _around(folder: Path, path: Path, config: dict[str, Any], anatomy: Anatomy, task: Task) -> Bundle:
    check_external_data(path, read_proto(path))
    precision = path.stem.removeprefix("model").removeprefix("_") or "fp32"
    return _bundle(folder, OnnxGraph(path, precision), config, anatomy, task)


def _stock_anatomy(config: dict[str, Any], task: Task) -> Anatomy:
    return anatomy_of(stock_model(config, task), family_of(config["model_type"]))


def labels_of(config: dict[str, Any], folder: Path, task: Task) -> tuple[str, ...]:
    """Label names in order of their index, as a hub config holds them; what a task names itself where it has none."""
    if task.target not in ("class", "classes", "tags"):
        return ("score",) if task.target == "number" else ()
    try:
        names = {int(key): str(value) for key, value in config["id2label"].items()}
        return tuple(names[index] for index in range(len(names)))
    except KeyError:
        raise ModelError(f"{folder / 'config.json'}: no id2label with indices from 0; is it a classifier?") from None
    except (AttributeError, TypeError, ValueError):
        raise ModelError(f"{folder / 'config.json'}: id2label is not a mapping from index to name") from None


def check_label_order(config: dict[str, Any], folder: Path, task: Task, labels: tuple[str, ...]) -> None:
    """A trained head scores its own labels in its own order; another order would turn every figure upside down.

    Raises:
        ModelError: the model's config names other labels than the data, or the same in another order.
    """
    own = labels_of(config, folder, task)
    if own != labels and not all(re.fullmatch(r"LABEL_\d+", name) for name in own):
        raise ModelError(
            f"{folder}: the model's labels are {', '.join(own)}, the data's {', '.join(labels)}; "
            + _told_to_mend(own, labels)
        )


def _told_to_mend(own: tuple[str, ...], labels: tuple[str, ...]) -> str:
    """Another order is put right by naming; another number of labels, or other ones, is another task."""
    if len(own) == len(labels):
        return f"name them in the model's order: `label: {{names: [{', '.join(own)}]}}`"
    return "was it trained for another task? train it for these first: `prepare: [finetune: {epochs: 3}]`"


def _lineage_in(folder: Path) -> Lineage:
    file = folder / LINEAGE_FILE
    if not file.exists():
        return Lineage()
    try:
        return Lineage.from_json(json_object(file))
    except (KeyError, TypeError, ValueError, AttributeError) as fault:
        raise ModelError(f"{file}: not a lineage ({fault}); was it edited by hand?") from None


def _write_json(file: Path, document: dict[str, Any]) -> None:
    file.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
