"""Our ONNX files beside other toolkits' own: time, size, and how far each moved the model's answers."""
