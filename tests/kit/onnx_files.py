"""ONNX files that a test changes."""

from __future__ import annotations

from pathlib import Path


def rename_tensor(path: Path, name: str) -> None:
    """Give a weight of a file another name; the operations that use it keep the old one."""
    import onnx

    model = onnx.load(str(path))
    (tensor,) = (t for t in model.graph.initializer if t.name == name)
    tensor.name = "renamed"
    onnx.save(model, str(path))
