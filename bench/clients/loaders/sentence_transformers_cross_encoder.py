"""sentence-transformers with backend onnx: `FOLDER FILE TEXTS OUT LENGTH`."""

import json
import sys
from pathlib import Path

import onnxruntime
import sentence_transformers
import torch
from sentence_transformers import CrossEncoder


def main():
    """A classifier is a CrossEncoder there."""
    folder, file, texts, out, length = sys.argv[1:]
    model = CrossEncoder(
        folder,
        backend="onnx",
        model_kwargs={"file_name": f"onnx/{file}", "provider": "CPUExecutionProvider"},
        local_files_only=True,
        max_length=int(length),
    )
    texts = json.loads(Path(texts).read_text(encoding="utf-8"))
    # Of a list, what is in it has to be pairs: of single texts it is given one at a time, and so never pads.
    scores = [model.predict(text, activation_fn=torch.nn.Identity()).tolist() for text in texts]
    versions = {"sentence-transformers": sentence_transformers.__version__, "onnxruntime": onnxruntime.__version__}
    Path(out).write_text(json.dumps({"versions": versions, "scores": scores}), encoding="utf-8")


main()
