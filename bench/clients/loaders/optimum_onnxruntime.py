"""optimum's ORTModel: `FOLDER FILE TEXTS OUT LENGTH`."""

import json
import sys
from importlib.metadata import version
from pathlib import Path

from optimum.onnxruntime import ORTModelForSequenceClassification
from transformers import AutoTokenizer


def main():
    """As AutoModel, but for the file's name."""
    folder, file, texts, out, length = sys.argv[1:]
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = ORTModelForSequenceClassification.from_pretrained(folder, subfolder="onnx", file_name=file)
    texts, scores = json.loads(Path(texts).read_text(encoding="utf-8")), []
    for start in range(0, len(texts), 8):
        settings = {"padding": True, "truncation": True, "max_length": int(length), "return_tensors": "pt"}
        scores += model(**tokenizer(texts[start : start + 8], **settings)).logits.tolist()
    versions = {name: version(name) for name in ("optimum", "optimum-onnx", "transformers", "onnxruntime")}
    Path(out).write_text(json.dumps({"versions": versions, "scores": scores}), encoding="utf-8")


main()
