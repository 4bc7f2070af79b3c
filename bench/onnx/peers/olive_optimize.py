"""Olive's `optimize` in float32 for CPUs: `MODEL OUT`.

Left to choose its exporter it takes one that needs onnxruntime-genai, which it does not bring; nor does it bring
requests, without which it does not start. With torch's exporter it is done at once.
"""

import subprocess
import sys
from pathlib import Path


def main():
    """By its command, as its documentation has it."""
    source, out = (Path(word).resolve() for word in sys.argv[1:])
    folder = out.parent / "made"
    command = [str(Path(sys.executable).with_name("olive")), "optimize", "-m", str(source)]
    command += ["--task", "text-classification"]
    command += ["--device", "cpu", "--provider", "CPUExecutionProvider", "--precision", "fp32"]
    command += ["--exporter", "dynamo_exporter", "-o", str(folder), "--disable_telemetry"]
    subprocess.run(command, check=True, cwd=out.parent)  # where it runs, it leaves a cache
    (folder / "model.onnx").rename(out)


main()
