"""A graph can be carried elsewhere: nothing of this machine stands in it, and a stranger's process opens it."""

from __future__ import annotations

import getpass
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest

from compress.bundle import Bundle, OnnxGraph
from compress.graph import portable
from compress.graph.portable import FRESH_LIMIT, nameless, opens_afresh
from compress.runtimes.onnxruntime import OnnxSession

Exported = dict[str, tuple[Bundle, Bundle]]
Edit = Callable[[onnx.ModelProto], object]


def _edited(graph: OnnxGraph, folder: Path, edit: Edit) -> OnnxGraph:
    proto = onnx.load(graph.path)
    edit(proto)
    onnx.save(proto, folder / "model.onnx")
    return replace(graph, path=folder / "model.onnx")


@pytest.mark.parametrize("name", ["even-fused", "even-plain", "uneven-fused"])
def test_a_right_graph_is_nameless_and_opens_afresh(exported: Exported, name: str):
    source, made = exported[name]
    assert nameless(made.graph).passed, nameless(made.graph).detail
    found = opens_afresh(source, made.graph, seed=3)
    assert found.passed, found.detail
    assert found.value < FRESH_LIMIT / 5


def _note(proto: onnx.ModelProto) -> None:
    proto.metadata_props.add(key="origin", value=f"{Path.home()}/project")


def _trace(proto: onnx.ModelProto) -> None:
    proto.graph.node[3].doc_string = "File /usr/lib/python3/site-packages/transformers/models/bert.py"


def _user(proto: onnx.ModelProto) -> None:
    proto.graph.node[3].metadata_props.add(key="by", value=f"/somewhere/{getpass.getuser()}/x")


def _folder(proto: onnx.ModelProto) -> None:
    proto.graph.initializer[0].name = str(Path.cwd() / "weights")


@pytest.mark.parametrize("edit", [_note, _trace, _user, _folder])
def test_a_place_or_a_user_of_this_machine_is_caught_wherever_it_stands(exported: Exported, tmp_path: Path, edit: Edit):
    found = nameless(_edited(exported["even-fused"][1].graph, tmp_path, edit))
    assert (found.value, found.passed) == (1, False)
    assert "name a place or a user of this machine: " in found.detail


def test_a_file_that_only_this_process_can_run_is_caught(exported: Exported, monkeypatch: pytest.MonkeyPatch):
    source, made = exported["even-fused"]
    monkeypatch.setattr(portable, "_AFRESH", "raise RuntimeError('no such operator: Ours')")
    found = opens_afresh(source, made.graph, seed=3)
    assert (found.value, found.passed) == (None, False)
    assert "no such operator: Ours" in found.detail


@pytest.mark.parametrize("change", [0.01, float("nan")])
def test_a_fresh_process_that_answers_otherwise_is_caught(
    exported: Exported, monkeypatch: pytest.MonkeyPatch, change: float
):
    source, made = exported["even-fused"]
    own = OnnxSession.named_outputs

    def shifted(self: OnnxSession, inputs: dict[str, np.ndarray], options: object = None) -> dict[str, np.ndarray]:
        return {name: value + change for name, value in own(self, inputs, options).items()}

    monkeypatch.setattr(OnnxSession, "named_outputs", shifted)
    assert not opens_afresh(source, made.graph, seed=3).passed


def test_the_file_says_what_it_is_and_not_where_it_came_from(exported: Exported, quantized_bundle: Bundle):
    for made in (exported["even-fused"][1], quantized_bundle):
        about = onnxruntime.InferenceSession(made.graph.path).get_modelmeta().custom_metadata_map
        assert about["task"] == "text-classification"
        assert json.loads(about["labels"]) == ["negative", "positive"]
        assert json.loads(about["lineage"]) == {"source": "", "source_digest": "", "steps": []}
