"""transformers' own exporter with its fusions for CPUs, and its dynamic quantizer: `MODEL OUT [int8]`."""

import sys

import onnx_ir
import torch
from onnxruntime.quantization import QuantType
from transformers import AutoModelForSequenceClassification
from transformers.exporters import OnnxConfig, OnnxExporter, OnnxRuntimeDynamicConfig, OnnxRuntimeQuantizer


def main():
    """Export, in float32 or int8."""
    source, out, *int8 = sys.argv[1:]
    model = AutoModelForSequenceClassification.from_pretrained(source, dtype=torch.float32).eval()
    inputs = {name: torch.ones((2, 8), dtype=torch.int64) for name in ("input_ids", "attention_mask", "token_type_ids")}
    quantizer = None
    if int8:
        # Its best: signed weights, a scale for each output channel, tables as well.
        settings = {"weight_type": QuantType.QInt8, "op_types_to_quantize": ["MatMul", "Gemm", "Gather"]}
        quantizer = OnnxRuntimeQuantizer(
            OnnxRuntimeDynamicConfig(per_channel=True, extra_options={"DefaultTensorType": 1}, **settings)
        )
    config = OnnxConfig(dynamic=True, ort_fusions="cpu", quantizer=quantizer)
    onnx_ir.save(OnnxExporter().export(model, inputs, config).program, out)


main()
