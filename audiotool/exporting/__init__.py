"""Graphs of models: a causal model's step as ONNX, its card, and the proof that both do the same."""
