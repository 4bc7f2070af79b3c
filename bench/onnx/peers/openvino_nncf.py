"""nncf's post-training int8 with OpenVINO, calibrated on the same texts as ours: `ONNX CALIBRATION.npz OUT.xml`."""

import sys

import nncf
import numpy as np
import openvino


def main():
    """Read a float32 graph, quantize it, write OpenVINO's own format."""
    source, texts, out = sys.argv[1:]
    model = openvino.Core().read_model(source)
    with np.load(texts) as arrays:
        samples = {}
        for key in arrays.files:
            number, name = key.split(".", 1)
            samples.setdefault(int(number), {})[name] = arrays[key]
    named = [one.get_any_name() for one in model.inputs]
    data = nncf.Dataset([{name: sample[name] for name in named} for sample in samples.values()])
    small = nncf.quantize(model, data, model_type=nncf.ModelType.TRANSFORMER, subset_size=len(samples))
    openvino.save_model(small, out, compress_to_fp16=False)


main()
