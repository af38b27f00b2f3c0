"""Engines: step(numpy, state), by the model in PyTorch or by its graph in onnxruntime."""
