"""The law of every runtime: it says why it can't run here, or its outputs are torch's to its precision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import logits_of

from compress import catalog
from compress.bundle import Bundle, Form
from compress.errors import ModelError
from compress.folder import save
from compress.runtime import Session, runtime_of

RUNTIMES = catalog.names("runtimes")

# The largest error of a right implementation, as a share of the largest logit: bfloat16 keeps 8 bits of mantissa.
PRECISION = {"bf16": 0.1, "fp16": 0.02, "int8": 0.25}

# torch.compile takes the better part of a minute; with one shape less it would not have to show dynamic shapes.
SLOW = ("torch-compile",)


def _open(name: str, source: Bundle, graph: Bundle) -> Session:
    runtime = runtime_of(name)
    if reason := runtime.obstacle("cpu"):
        assert "\n" not in reason
        pytest.skip(reason)
    return runtime.open(source if runtime.form is Form.TORCH else graph, device="cpu", threads=1)


def _inputs(batch: int, tokens: int) -> dict[str, np.ndarray]:
    random = np.random.default_rng(tokens)
    mask = np.ones((batch, tokens), dtype=np.int64)
    mask[0, : tokens // 3] = 0
    mask[-1, tokens // 2 :] = 0
    ids = random.integers(5, 120, size=(batch, tokens)) * mask
    return {"input_ids": ids, "token_type_ids": mask * 0, "attention_mask": mask}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in RUNTIMES])
def test_outputs_are_those_of_eager_torch(name: str, exported, threads_as_before: Callable[[], None]):
    source, graph = exported["even-fused"]
    digests = source.digest, graph.digest
    session = _open(name, source, graph)
    tolerance = PRECISION.get(name.rsplit("-", 1)[-1], 1e-5)
    for batch, tokens in ((1, 4), (3, 9), (2, 20)):
        inputs = _inputs(batch, tokens)
        tensors = {key: torch.from_numpy(value) for key, value in inputs.items()}
        wanted = logits_of(source.module, tensors).numpy()
        got = session.outputs(inputs)
        assert got.dtype == np.float32
        assert np.abs(got - wanted).max() <= tolerance * max(1.0, np.abs(wanted).max())
        call = session.bind(inputs)
        call()
        call()
        assert np.array_equal(session.outputs(inputs), got)
    session.close()
    assert (source.with_model(source.module).digest, graph.digest) == digests


def test_int8_runs_in_onnxruntime(exported, quantized_bundle: Bundle):
    source, _ = exported["even-fused"]
    session = _open("onnxruntime", source, quantized_bundle)
    inputs = _inputs(3, 9)
    wanted = logits_of(source.module, {key: torch.from_numpy(value) for key, value in inputs.items()}).numpy()
    assert np.abs(session.outputs(inputs) - wanted).max() <= PRECISION["int8"] * max(1.0, np.abs(wanted).max())


@pytest.mark.parametrize("name", [name for name in RUNTIMES if name not in SLOW])
def test_weight_bytes_are_those_of_the_files(name: str, exported, tmp_path: Path, threads_as_before):
    source, graph = exported["even-fused"]
    session = _open(name, source, graph)
    save(source, tmp_path)
    full = (tmp_path / "model.safetensors").stat().st_size
    if name == "onnxruntime":
        assert session.weight_bytes == graph.graph.path.stat().st_size
    elif name == "torch-fp32":
        assert abs(session.weight_bytes - full) < 200  # the header notes the format
    elif name == "torch-bf16":
        assert 0.4 * full < session.weight_bytes < 0.6 * full
    else:
        assert 0 < session.weight_bytes < 2 * full


@pytest.mark.parametrize("name", RUNTIMES)
def test_an_obstacle_is_one_line_or_none(name: str):
    for device in ("cpu", "cuda"):
        reason = runtime_of(name).obstacle(device)
        assert reason is None or (reason and "\n" not in reason)


def test_a_closed_session_does_not_run(exported):
    source, graph = exported["even-fused"]
    session = _open("torch-fp32", source, graph)
    session.close()
    with pytest.raises(RuntimeError, match="closed"):
        session.outputs(_inputs(1, 4))


def test_an_unknown_runtime_suggests_the_nearest():
    with pytest.raises(ModelError, match="did you mean 'onnxruntime'"):
        runtime_of("onnx-runtime")


@pytest.fixture
def threads_as_before():
    """torch's thread count is the process's: put back what a session set."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
