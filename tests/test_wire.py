"""A file that is written weight by weight is the one that the format's own library writes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import pytest

from compress.graph.wire import write_file


def _model(sizes: list[int]) -> onnx_ir.Model:
    names = [f"w{place}" for place in range(len(sizes))]
    sums = ["x", *(f"{name}_sum" for name in names)]
    steps = [f"{name}_sum = Add ({before}, {name})" for before, name in zip(sums, names, strict=False)]
    text = f"""
        <ir_version: 10, opset_import: ["" : 20], producer_name: "us">
        g (float[1] x) => (float[n] {names[-1]}_sum) {{ {"  ".join(steps)} }}"""
    model = onnx_ir.from_onnx_text(text)
    for place, (name, size) in enumerate(zip(names, sizes, strict=True)):
        value = next(one for node in model.graph for one in node.inputs if one is not None and one.name == name)
        value.shape, value.type = onnx_ir.Shape([size]), onnx_ir.TensorType(onnx_ir.DataType.FLOAT)
        value.const_value = onnx_ir.tensor(np.full(size, place, np.float32), name=name)
        model.graph.register_initializer(value)
    model.metadata_props["task"] = "none"
    return model


@pytest.mark.parametrize("size", [1, 20, 31, 32, 4000, 4090, 2**19])
def test_it_says_the_same_whatever_bytes_a_length_takes(size: int, tmp_path: Path):
    model = _model([1, size, 1])
    wanted = onnx_ir.to_proto(model)
    del wanted.graph.value_info[:]  # of the weights, which say themselves of what type and shape they are
    write_file(model, tmp_path / "model.onnx")
    found = onnx.load(tmp_path / "model.onnx")
    assert found == wanted
    assert (tmp_path / "model.onnx").stat().st_size == wanted.ByteSize()
    assert set(model.graph.initializers) == {"w0", "w1", "w2"}, "the model is as it was"
    onnx.checker.check_model(tmp_path / "model.onnx")


def test_a_name_that_changed_is_the_one_that_is_written(tmp_path: Path):
    model = _model([2, 2])
    model.graph.initializers["w0"].name = "other"
    write_file(model, tmp_path / "model.onnx")
    assert {tensor.name for tensor in onnx.load(tmp_path / "model.onnx").graph.initializer} == {"other", "w1"}
