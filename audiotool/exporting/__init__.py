"""Export the step of a causal model as an ONNX graph with its card, and compare the graph with the model."""
