"""onnxruntime and tokenizers, and no other library: `FOLDER FILE TEXTS OUT LENGTH`."""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import tokenizers


def main():
    """Read tokenizer.json and the graph; pad as the graph's mask says."""
    folder, file, texts, out, length = sys.argv[1:]
    tokenizer = tokenizers.Tokenizer.from_file(str(Path(folder, "tokenizer.json")))
    tokenizer.enable_padding()
    tokenizer.enable_truncation(int(length))
    session = onnxruntime.InferenceSession(str(Path(folder, "onnx", file)), providers=["CPUExecutionProvider"])
    names, scores = [node.name for node in session.get_inputs()], []
    texts = json.loads(Path(texts).read_text(encoding="utf-8"))
    for start in range(0, len(texts), 8):
        read = tokenizer.encode_batch(texts[start : start + 8])
        given = {
            "input_ids": [one.ids for one in read],
            "attention_mask": [one.attention_mask for one in read],
            "token_type_ids": [one.type_ids for one in read],
        }
        fed = {name: np.array(given[name], dtype=np.int64) for name in names}
        scores += session.run(None, fed)[0].tolist()
    versions = {"onnxruntime": onnxruntime.__version__, "tokenizers": tokenizers.__version__}
    Path(out).write_text(json.dumps({"versions": versions, "scores": scores}), encoding="utf-8")


main()
