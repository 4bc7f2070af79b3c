"""sentence-transformers' int8 for AVX512-VNNI, and optimum's O3: `MODEL OUT qint8|O3`."""

import sys
from pathlib import Path

sys.path.pop(0)  # this script is called as the package is

from sentence_transformers import (
    CrossEncoder,
    export_dynamic_quantized_onnx_model,
    export_optimized_onnx_model,
)


def main():
    """Export a classifier, then quantize or optimize it as its documentation says."""
    source, out, way = sys.argv[1:]
    model = CrossEncoder(source, backend="onnx", model_kwargs={"export": True}, local_files_only=True)
    folder = Path(out).parent / f"{way}-made"
    if way == "qint8":
        export_dynamic_quantized_onnx_model(model, "avx512_vnni", str(folder))
    else:
        export_optimized_onnx_model(model, way, str(folder))
    [made] = folder.rglob("*.onnx")
    made.rename(out)


main()
