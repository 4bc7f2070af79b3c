"""Who reads which of our files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

EXPORTS: Mapping[str, Sequence[str]] = {
    "float": (),
    "bfloat": ("--precision", "bf16"),
    "calibrated": ("--precision", "int8", "--method", "static_int8", "--reduce-range"),
    "blocks": ("--precision", "int4"),
    "web": ("--target", "web", "--precision", "fp16"),
}
"""By folder, what `compress export` is asked for. Integers are of a reduced range: sums of others depend on the CPU."""
FILES = {
    "float": "model.onnx",
    "bfloat": "model_bf16.onnx",
    "calibrated": "model_int8.onnx",
    "blocks": "model_int4.onnx",
    "web": "model_fp16.onnx",
}
"""By folder, the file in it that is read."""


@dataclass(frozen=True)
class Client:
    """A way to read a folder.

    Attributes:
        name: what reports call it.
        environment: a name of `bench.environments`, or `node`.
        loader: its script.
        reads: the folders that it is given; it knows no way to name the files of others.
    """

    name: str
    environment: str
    loader: str
    reads: Sequence[str]


CLIENTS = (
    Client("onnxruntime, bare", "bare", "onnxruntime_bare.py", tuple(EXPORTS)),
    Client(
        "sentence-transformers",
        "sentence-transformers",
        "sentence_transformers_cross_encoder.py",
        ("float", "bfloat", "calibrated", "blocks"),
    ),
    Client("optimum", "sentence-transformers", "optimum_onnxruntime.py", ("float", "bfloat", "calibrated", "blocks")),
    Client("transformers.js", "node", "transformers_js.mjs", ("float", "calibrated", "web")),
    Client("onnxruntime-web", "node", "onnxruntime_web.mjs", tuple(EXPORTS)),
    Client("OpenVINO", "openvino", "openvino_onnx.py", ("float", "bfloat", "calibrated", "blocks")),
)
