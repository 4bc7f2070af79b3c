"""The model card: `README.md` of a result's folder, with the front matter that a model hub reads."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import yaml

from evaluation.measurement import Run
from reports import cast
from reports.broke import broke_in_brief
from reports.headline import comparison_tiles, gate_notice, measurement_tiles, source_note
from reports.markdown import written
from reports.number import read_measurement
from reports.table import escape, method_of, to_markdown
from reports.table import results as results_of

_LICENSE = ("license", "license_name", "license_link")
_TAGS = ("compress-transformers", "model-compression")
_STAGE_TAGS = {"distill": "distillation", "prune": "pruning", "quantize": "quantization"}
# What the hub calls a metric, where it is not what the field calls it here.
_HUB_METRICS = {
    "matthews": "matthews_correlation",
    "spearman": "spearmanr",
    "pearson": "pearsonr",
    "f1_macro": "f1",
    "f1_micro": "f1",
    "entity_f1": "f1",
    "span_f1": "f1",
}


def model_card(run: Run, *, loads_in_stock_class: bool) -> str:
    """The card of a run's result as Markdown.

    `loads_in_stock_class` says whether the cuts are even enough for `AutoModel.from_pretrained`; where they are not,
    the card says so instead of showing how. The license is the source's own; where that states none, the card says so.
    """
    parts = [
        f"---\n{yaml.safe_dump(_front_matter(run), sort_keys=False, allow_unicode=True)}---",
        f"# {escape(run.name)}",
        _origin(run),
        *(f"**{escape(notice.text)}**" for notice in gate_notice(run) if notice.tone == "bad"),
        "## Figures",
        _figures(run),
        *(escape(note.text) for note in source_note(run)),
        to_markdown(results_of(run)),
        escape(method_of(run)),
        *(["## What broke", *broke] if (broke := [written(block) for block in broke_in_brief(run)]) else []),
        "## How to load it",
        *_loading(run, loads_in_stock_class),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _front_matter(run: Run) -> dict[str, Any]:
    """What the hub reads; what is not known is left out rather than guessed."""
    model = _model(run)
    metrics, quality = list(dict.fromkeys(map(_hub_metric, cast.metrics_of(run)))), _model_index(run)
    matter = {key: value for key, value in _source(run).items() if key in _LICENSE}
    if base := _base_model(model):
        matter["base_model"] = base
    if isinstance(model.get("task"), str):
        matter["pipeline_tag"] = model["task"]
    matter["tags"] = _tags(run)
    if metrics:
        matter["metrics"] = metrics
    if quality:
        matter["model-index"] = quality
    return matter


def _tags(run: Run) -> list[str]:
    stages = [str(step.get("stage", "")) for step in run.lineage]
    done = [tag for stage, tag in _STAGE_TAGS.items() if stage in stages]
    return [*_TAGS, *done, *(["onnx"] if _form(run) == "onnx" else [])]


def _model_index(run: Run) -> list[dict[str, Any]]:
    """The result's quality as the hub's leaderboards read it; the interval stands in the metric's name."""
    subject, task = run.subject or "", _model(run).get("task")
    found = [m for name in cast.metrics_of(run) if (m := run.measured(subject, name))]
    if not found or not isinstance(task, str):
        return []
    metrics = [
        {"type": _hub_metric(m.name), "name": f"{m.name}, {read_measurement(m)}", "value": round(m.value, 6)}
        for m in found
    ]
    dataset = _dataset(run) | {"split": str(found[0].conditions.get("split", "test"))}
    return [{"name": run.name, "results": [{"task": {"type": task}, "dataset": dataset, "metrics": metrics}]}]


def _dataset(run: Run) -> dict[str, str]:
    """The name of the table that the test split is of, and the hub's name of its source where it is from there."""
    data = run.recipe.get("data")
    data = data if isinstance(data, dict) else {}
    test, tables = data.get("test"), data.get("tables")
    name = str(test.get("table", "test")) if isinstance(test, dict) else "test"
    table = tables.get(name) if isinstance(tables, dict) else None
    source = str(table.get("source", "")) if isinstance(table, dict) else ""
    return {"name": name, "type": _on_the_hub(source) or name}


def _hub_metric(name: str) -> str:
    return _HUB_METRICS.get(name, name)


def _origin(run: Run) -> str:
    sources = [f"`{source}`" for source in _sources(_model(run)) if "`" not in source]
    stages = [str(step["stage"]) for step in run.lineage if "stage" in step]
    told = [f"Source, the first that could be had: {', '.join(sources)}."] if sources else []
    told += [f"What was done to it, in order: {escape(', '.join(stages))}."] if stages else []
    told += [_license(run)] if _source(run) else []
    return " ".join(told)


def _license(run: Run) -> str:
    found = _source(run).get("license")
    if not found:
        return "The source's own card states no license; see the files it came with."
    names = found if isinstance(found, list) else [found]
    return f"License, as the source states it: {escape(', '.join(map(str, names)))}."


def _figures(run: Run) -> str:
    subject, reference = run.subject, run.reference
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
        parts += [f"The figures above are of `{file}`. It runs on stock onnxruntime:", _onnx_code(file, _provider(run))]
    parts += ["As a PyTorch model, with the shapes that `anatomy.json` records:", _torch_code()]
    if loads_in_stock_class:
        parts.append("The stock class of transformers, `AutoModel.from_pretrained(folder)`, loads it as well.")
    else:
        parts.append("Its layers were cut unevenly: the stock classes of transformers cannot load the PyTorch weights.")
    return parts


def _provider(run: Run) -> str:
    """onnxruntime's name for where the file was written to run."""
    exports = [step.get("settings", {}) for step in run.lineage if step.get("stage") == "export"]
    return "CUDAExecutionProvider" if exports and exports[-1].get("target") == "cuda" else "CPUExecutionProvider"


def _onnx_code(file: str, provider: str) -> str:
    return f"""```python
import onnxruntime
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(folder)
session = onnxruntime.InferenceSession(f"{{folder}}/{file}", providers=["{provider}"])
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
    subject = run.subject
    return next((target.file for target in run.all_targets if target.name == subject), "")


def _form(run: Run) -> str:
    subject = run.subject
    return next((target.form for target in run.all_targets if target.name == subject), "torch")


def _base_model(model: dict[str, Any]) -> str | None:
    """`owner/name` of the first source that is on the hub."""
    return next((name for source in _sources(model) if (name := _on_the_hub(source))), None)


def _on_the_hub(source: str) -> str | None:
    """`owner/name` of `hub:owner/name[@revision][/config]`; None for other sources."""
    if not source.startswith("hub:"):
        return None
    return "/".join(source.removeprefix("hub:").partition("@")[0].split("/")[:2])


def _sources(model: dict[str, Any]) -> Sequence[str]:
    source = model.get("source")
    return [source] if isinstance(source, str) else [str(each) for each in source] if isinstance(source, list) else []


def _source(run: Run) -> dict[str, Any]:
    """What the run says of the source that was had."""
    source = run.tables.get("source")
    return source if isinstance(source, dict) else {}


def _model(run: Run) -> dict[str, Any]:
    model = run.recipe.get("model")
    return model if isinstance(model, dict) else {}
