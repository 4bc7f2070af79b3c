"""The ONNX side: build a graph, look into it, quantize it, verify it."""
