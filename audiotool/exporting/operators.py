"""ONNX translations of the operators of `models/layers/graph_operators.py`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

import audiotool.models.layers.graph_operators  # noqa: F401  (registers them)


def translations() -> dict[Any, Callable[..., Any]]:
    """Return the translation function of each operator: the `custom_translation_table` of
    `torch.onnx.export`."""
    from onnx.numpy_helper import from_array
    from onnxscript import opset18

    op: Any = opset18

    def in_order(
        parts: tuple[int, ...], size: int, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any
    ) -> tuple[Any, Any, Any]:
        """Gather the parameters of a layer with PyTorch's gates in another order; the first axis is the
        direction's."""
        order = np.arange(len(parts) * size).reshape(-1, size)[list(parts)].reshape(1, -1)
        both = np.hstack((order, order + order.size))
        gates, biases = (op.Constant(value=from_array(rows)) for rows in (order, both))
        return (
            op.Gather(w_ih, gates, axis=0),
            op.Gather(w_hh, gates, axis=0),
            op.Gather(op.Concat(b_ih, b_hh, axis=0), biases, axis=0),
        )

    def onnx_gru(x: Any, hidden: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> Any:
        size = int(hidden.shape[2])
        # ONNX has the gates in the order z, r, n; PyTorch as r, z, n.
        weights = in_order((1, 0, 2), size, w_ih, w_hh, b_ih, b_hh)
        y, last = op.GRU(x, *weights, None, hidden, hidden_size=size, linear_before_reset=1)
        return op.Squeeze(y, op.Constant(value_ints=[1])), last

    def onnx_lstm(x: Any, hidden: Any, cell: Any, w_ih: Any, w_hh: Any, b_ih: Any, b_hh: Any) -> Any:
        size = int(hidden.shape[2])
        # ONNX has the gates in the order i, o, f, g; PyTorch as i, f, g, o.
        weights = in_order((0, 3, 1, 2), size, w_ih, w_hh, b_ih, b_hh)
        y, last, last_cell = op.LSTM(x, *weights, None, hidden, cell, hidden_size=size)
        return op.Squeeze(y, op.Constant(value_ints=[1])), last, last_cell

    return {
        torch.ops.audiotool.gru_layer.default: onnx_gru,
        torch.ops.audiotool.lstm_layer.default: onnx_lstm,
    }
