"""The model card: `README.md` of a result's folder, with the front matter that a model hub reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from evaluation.measurement import Run
from reports import cast
from reports.headline import comparison_tiles, gate_notice, measurement_tiles
from reports.table import escape, method_of, to_markdown
from reports.table import results as results_of

_TAGS = ("compress-transformers", "model-compression")


def model_card(run: Run, *, loads_in_stock_class: bool) -> str:
    """The card of a run's result as Markdown.

    `loads_in_stock_class` says whether the cuts are even enough for `AutoModel.from_pretrained`; where they are not,
    the card says so instead of showing how. License and base model stand there only if the recipe names them.
    """
    parts = [
        f"---\n{yaml.safe_dump(_front_matter(run), sort_keys=False, allow_unicode=True)}---",
        f"# {escape(run.name)}",
        _origin(run),
        *(f"**{escape(notice.text)}**" for notice in gate_notice(run) if notice.tone == "bad"),
        "## Figures",
        _figures(run),
        to_markdown(results_of(run)),
        escape(method_of(run)),
        "## How to load it",
        *_loading(run, loads_in_stock_class),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(run: Run) -> dict[str, Any]:
    model = _model(run)
    license_name = run.recipe.get("license") or model.get("license")
    matter: dict[str, Any] = {"tags": [*_TAGS, *(["onnx"] if _form(run) == "onnx" else [])]}
    if isinstance(model.get("task"), str):
        matter["pipeline_tag"] = model["task"]
    if isinstance(license_name, str):
        matter["license"] = license_name
    base = _base_model(model)
    if base:
        matter["base_model"] = base
    return matter


def _origin(run: Run) -> str:
    sources = [f"`{source}`" for source in _sources(_model(run)) if "`" not in source]
    stages = [str(step["stage"]) for step in run.lineage if "stage" in step]
    told = [f"Source, the first that could be had: {', '.join(sources)}."] if sources else []
    told += [f"What was done to it, in order: {escape(', '.join(stages))}."] if stages else []
    return " ".join(told)


def _figures(run: Run) -> str:
    subject, reference = cast.subject_of(run), cast.reference_of(run)
    if subject is None:
        return "Nothing was measured."
    tiles = comparison_tiles(run, subject, reference) if reference else ()
    opening = f"Compared with {escape(reference)}:" if reference and tiles else "As measured:"
    lines = [
        f"- {escape(tile.name)}: {escape(str(tile.reading))}" + (f", {escape(tile.words)}" if tile.words else "")
        for tile in tiles or measurement_tiles(run, subject)
    ]
    return "\n".join([opening, "", *lines])


def _loading(run: Run, loads_in_stock_class: bool) -> list[str]:
    parts = []
    file = _file(run)
    if file and _form(run) == "onnx":
        parts += [f"The figures above are of `{file}`. It runs on stock onnxruntime:", _onnx_code(file)]
    parts += ["As a PyTorch model, with the shapes that `anatomy.json` records:", _torch_code()]
    if loads_in_stock_class:
        parts.append("The stock class of transformers, `AutoModel.from_pretrained(folder)`, loads it as well.")
    else:
        parts.append("Its layers were cut unevenly: the stock classes of transformers cannot load the PyTorch weights.")
    return parts


def _onnx_code(file: str) -> str:
    return f"""```python
import onnxruntime
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(folder)
session = onnxruntime.InferenceSession(f"{{folder}}/{file}", providers=["CPUExecutionProvider"])
batch = tokenizer(["a text", "another text"], padding=True, truncation=True, return_tensors="np")
outputs = session.run(None, {{tensor.name: batch[tensor.name] for tensor in session.get_inputs()}})
```"""


def _torch_code() -> str:
    return """```python
import compress

bundle = compress.load(folder)
bundle.model, bundle.processor, bundle.labels
```"""


def _file(run: Run) -> str:
    """The place of the file that was measured; empty where the run does not say, since a guess may be wrong."""
    subject = cast.subject_of(run)
    return next((target.file for target in cast.targets_of(run) if target.name == subject), "")


def _form(run: Run) -> str:
    subject = cast.subject_of(run)
    return next((target.form for target in cast.targets_of(run) if target.name == subject), "torch")


def _base_model(model: dict[str, Any]) -> str | None:
    """`owner/name` of the first hub source: `hub:owner/name[@revision][/config]`."""
    for source in _sources(model):
        if source.startswith("hub:"):
            return "/".join(source.removeprefix("hub:").partition("@")[0].split("/")[:2])
    return None


def _sources(model: dict[str, Any]) -> Sequence[str]:
    source = model.get("source")
    return [source] if isinstance(source, str) else [str(each) for each in source] if isinstance(source, list) else []


def _model(run: Run) -> dict[str, Any]:
    model = run.recipe.get("model")
    return model if isinstance(model, dict) else {}
