"""The files that are held against each other, and how each is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

RESULT = "result"
"""Our int8, calibrated: what all promises are about that name no other file."""
FLOAT = "ours-fp32"
PORTABLE = "ours-qdq-in-openvino"
SMALLEST = "ours-int4-table"
EXPORTER, SENTENCES, OPENVINO = "transformers_exporter.py", "sentence_transformers.py", "openvino_nncf.py"
OLIVE = "olive_optimize.py"
"""Scripts of `peers/`."""
NNCF = ("openvino-nncf", "openvino-nncf-bf16")


@dataclass(frozen=True)
class File:
    """One file in one runtime.

    Attributes:
        name: what reports call it.
        title: a reader's words for it.
        precision: of its weights.
        runtime: a name that `peers/seat.py` knows.
        made: which script makes it, with what is appended to its arguments; nothing of what is made by us.
        environment: whose Python makes it.
        shares: the name of another file that this one is as well, in another runtime.
    """

    name: str
    title: str
    precision: Literal["fp32", "int8"]
    runtime: str
    made: Sequence[str] = ()
    environment: str = "ours"
    shares: str = ""

    @property
    def seat(self) -> str:
        """Whose Python opens it."""
        return "openvino" if self.runtime.startswith("openvino") else "ours"

    @property
    def suffix(self) -> str:
        return "xml" if self.made[:1] == (OPENVINO,) else "onnx"


FILES = (
    File(FLOAT, "ours, float32", "fp32", "onnxruntime"),
    File(
        "transformers-fp32",
        "transformers' exporter, fused for CPUs",
        "fp32",
        "onnxruntime",
        (EXPORTER,),
    ),
    File("optimum-O3", "optimum O3", "fp32", "onnxruntime", (SENTENCES, "O3"), "sentence-transformers"),
    File("olive", "Olive, optimize", "fp32", "onnxruntime", (OLIVE,), "olive"),
    File("openvino-fp32", "ours in OpenVINO, hint f32", "fp32", "openvino", shares="ours-plain"),
    File("ours-dynamic", "ours, dynamic int8", "int8", "onnxruntime"),
    File(
        "transformers-int8",
        "transformers' exporter and dynamic quantizer",
        "int8",
        "onnxruntime",
        (EXPORTER, "int8"),
    ),
    File(
        "sentence-transformers-int8",
        "sentence-transformers qint8_avx512_vnni",
        "int8",
        "onnxruntime",
        (SENTENCES, "qint8"),
        "sentence-transformers",
    ),
    File(NNCF[0], "nncf in OpenVINO, hint f32", "int8", "openvino", (OPENVINO,), "openvino"),
    File(NNCF[1], "nncf in OpenVINO, hint bf16", "int8", "openvino-bf16", shares=NNCF[0]),
    File(PORTABLE, "ours, form qdq, in OpenVINO", "int8", "openvino"),
    File(SMALLEST, "ours, calibrated int8, table of int4", "int8", "onnxruntime"),
    File(RESULT, "ours, calibrated int8", "int8", "onnxruntime"),
)
