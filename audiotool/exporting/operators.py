"""How the operators of `models/layers/graph_operators.py` are written in ONNX."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

import audiotool.models.layers.graph_operators  # noqa: F401  (registers them)


def translations() -> dict[Any, Callable[..., Any]]:
    """Operator to the function that writes it: `custom_translation_table` of `torch.onnx.export`."""
    from onnxscript import opset18

    op: Any = opset18

    def onnx_gru(x: Any, hidden: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> Any:
        size = int(hidden.shape[2])

        def reordered(weights: Any) -> Any:
            """ONNX has the gates in the order z, r, n; PyTorch as r, z, n."""
            r, z, n = op.Split(weights, num_outputs=3, axis=0)
            return op.Concat(z, r, n, axis=0)

        axis = op.Constant(value_ints=[0])
        bias = op.Concat(reordered(b_ih), reordered(b_hh), axis=0)
        weights = (op.Unsqueeze(reordered(w), axis) for w in (w_ih, w_hh))
        y, last = op.GRU(
            x,
            *weights,
            op.Unsqueeze(bias, axis),
            None,
            hidden,
            hidden_size=size,
            linear_before_reset=1,
        )
        return op.Squeeze(y, op.Constant(value_ints=[1])), last

    return {torch.ops.audiotool.gru_layer.default: onnx_gru}
