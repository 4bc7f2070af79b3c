"""A model that people use, exported and quantized; where its files are at hand beside the checkout."""

from __future__ import annotations

import numpy as np
import pytest
from small_run import ROOT, write_recipe

from compress.batching import batches, encode
from compress.bundle import Bundle, Form
from compress.data import Split
from compress.recipe import read_recipe
from compress.runner import Executed, Runner
from compress.runtime import runtime_of
from compress.sources import Sources
from compress.store.store import Store

MODEL = ROOT.parent / "shared" / "models" / "sst2-minilm-l6"
TABLE = ROOT.parent / "shared" / "data" / "sst2" / "validation.tsv"
ROWS = 200

pytestmark = [
    pytest.mark.exporter,
    pytest.mark.skipif(not (MODEL.is_dir() and TABLE.is_file()), reason="no shared folder beside the checkout"),
]


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> Executed:
    """Export and int8 of the model that is there, no training."""
    home = tmp_path_factory.mktemp("real")
    values = {
        "version": 1,
        "name": "real",
        "model": {"task": "text-classification", "source": str(MODEL)},
        "data": {
            "tables": {"sst2": {"source": str(TABLE), "label": {"column": "label", "names": ["negative", "positive"]}}},
            "train": {"table": "sst2", "split": 0.2},
            "dev": {"table": "sst2", "split": 0.1},
            "test": {"table": "sst2", "split": 0.7},
            "calibration": {"from": "train", "examples": 32},
        },
        "deploy": {"threads": 1, "precision": "int8", "shapes": ["1x16"]},
        "stages": ["export", "quantize"],
    }
    recipe = read_recipe(write_recipe(home / "real.yaml", values))
    return Runner(recipe, Sources(home / "cache", home), Store(home / "cache"), "cpu").execute()


@pytest.fixture(scope="module")
def split(executed: Executed) -> Split:
    """The rows that models are judged on."""
    return executed.splits.test.take(ROWS)


def decisions(bundle: Bundle, split: Split) -> np.ndarray:
    runtime = runtime_of("torch-fp32" if bundle.form is Form.TORCH else "onnxruntime")
    session = runtime.open(bundle, device="cpu", threads=1)
    decided = np.zeros(len(split), dtype=np.int64)
    for batch in batches(encode(split, bundle.processor, max_tokens=bundle.max_tokens), 32):
        decided[batch.index] = bundle.task.decide(session.outputs(batch.inputs))
    return decided


def test_the_result_is_as_right_as_the_field_notes_say_and_agrees_with_torch(executed, split):
    assert len(split) == ROWS
    torch_says = decisions(executed.reference, split)
    for outcome, agreement in zip(executed.stages, (1.0, 0.95), strict=True):
        says = decisions(outcome.bundle, split)
        assert (says == torch_says).mean() >= agreement, outcome.name
        assert (says == split.labels).mean() >= 0.87, outcome.name


def test_no_gate_of_a_stage_failed(executed):
    gates = [gate for outcome in executed.stages for gate in outcome.gates]
    of_a_graph = {"fusion", "parity", "nameless", "opens_afresh"}
    assert {gate["name"] for gate in gates} == of_a_graph | {"quantized_operators", "quantized_agreement"}
    assert [gate for gate in gates if not gate["passed"]] == []


def test_int8_is_a_quarter_of_the_bytes(executed):
    exported, quantized = (outcome.step.after["bytes"] for outcome in executed.stages)
    assert 3.5 < exported / quantized < 4.2
