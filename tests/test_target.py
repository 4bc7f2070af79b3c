"""Which precisions run on which target, and whose kernels they run on."""

from __future__ import annotations

import pytest

from compress.graph.fuse import keep_tokens_apart
from compress.graph.target import PRECISIONS, Target, kernels_of, target_of, why_not
from compress.stages.export import Export


def test_what_runs_somewhere_is_written_for_that_place():
    assert [target_of("cpu", precision) for precision in (*PRECISIONS["cpu"], "fp16")] == [*["cpu"] * 4, "cuda"]
    assert target_of("cuda", "fp32") == "cuda"
    assert [kernels_of("web", precision) for precision in PRECISIONS["web"]] == ["webgpu", "webgpu", "cpu", "cpu"]
    assert [kernels_of("cuda", precision) for precision in PRECISIONS["cuda"]] == [*["cuda"] * 3, "cpu"]
    assert {kernels_of("cpu", precision) for precision in PRECISIONS["cpu"]} == {"cpu"}


@pytest.mark.parametrize(("target", "precision"), [("cpu", "fp16"), ("cuda", "int8"), ("web", "bf16")])
def test_what_a_target_can_not_run_is_told_with_what_it_can(target: Target, precision: str):
    reason = why_not(target, precision)
    assert reason is not None
    assert reason.startswith(f"{precision} for {target}: ")
    assert reason.endswith(", ".join(PRECISIONS[target]))
    assert all(why_not(target, one) is None for one in PRECISIONS[target])


def test_the_stage_refuses_what_its_target_can_not_run():
    with pytest.raises(ValueError, match="fp16 for cpu: CPUs cast it"):
        Export(target="cpu", precision="fp16")
    assert Export(target="web", precision="fp16").target == "web"


@pytest.mark.parametrize(
    ("scale", "shape", "wanted"),
    [
        (1.0, ["batch", "tokens", 6], ["Reshape", "MatMul", "Add", "Relu"]),
        (0.5, ["batch", "tokens", 6], ["Reshape", "Gemm", "Reshape", "Relu"]),
        (1.0, ["rows", 2, 3], ["Reshape", "Gemm", "Reshape", "Relu"]),  # heads, not texts
        (1.0, None, ["Reshape", "Gemm", "Reshape", "Relu"]),
    ],
)
def test_tokens_are_kept_apart_only_where_a_product_joins_them(scale: float, shape, wanted: list[str]):
    import onnx_ir

    text = f"""
        <ir_version: 10, opset_import: ["" : 20]>
        g (float[batch, tokens, 4] x) => (float[batch, tokens, 6] y)
        <float[4, 6] w = {{{", ".join(["1"] * 24)}}}, float[6] b = {{0, 0, 0, 0, 0, 0}}, int64[2] flat = {{-1, 4}},
         int64[3] parted = {{0, -1, 6}}> {{
            joined = Reshape (x, flat)
            made = Gemm <alpha = {scale}> (joined, w, b)
            again = Reshape (made, parted)
            y = Relu (again)
        }}"""
    model = onnx_ir.from_onnx_text(text)
    model.graph.node(2).outputs[0].shape = onnx_ir.Shape(shape) if shape else None
    keep_tokens_apart(model)
    assert [node.op_type for node in model.graph] == wanted  # what joined is left to be cleared away
