"""OpenVINO reading the ONNX file itself: `FOLDER FILE TEXTS OUT LENGTH`."""

import json
import sys
from pathlib import Path

import numpy as np
import openvino
import tokenizers


def main():
    """Its arithmetic is asked to be float32's, as it is bfloat16's by default on some CPUs."""
    folder, file, texts, out, length = sys.argv[1:]
    tokenizer = tokenizers.Tokenizer.from_file(str(Path(folder, "tokenizer.json")))
    tokenizer.enable_padding()
    tokenizer.enable_truncation(int(length))
    model = openvino.Core().compile_model(str(Path(folder, "onnx", file)), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    names, scores = [one.get_any_name() for one in model.inputs], []
    texts = json.loads(Path(texts).read_text(encoding="utf-8"))
    for start in range(0, len(texts), 8):
        read = tokenizer.encode_batch(texts[start : start + 8])
        given = {
            "input_ids": [one.ids for one in read],
            "attention_mask": [one.attention_mask for one in read],
            "token_type_ids": [one.type_ids for one in read],
        }
        scores += model({name: np.array(given[name], dtype=np.int64) for name in names})[0].tolist()
    versions = {"openvino": openvino.__version__.split("-")[0]}
    Path(out).write_text(json.dumps({"versions": versions, "scores": scores}), encoding="utf-8")


main()
