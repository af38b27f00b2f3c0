"""Operators that a graph has as one node and PyTorch would take apart: the GRU."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor


@torch.library.custom_op("audiotool::gru", mutates_args=())
def gru(
    x: Tensor, hidden: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
) -> tuple[Tensor, Tensor]:
    """One layer over (T, B, C) from (1, B, H), with nn.GRU's parameters: (T, B, H) and (1, B, H)."""
    y, last = torch.gru(x, hidden, [w_ih, w_hh, b_ih, b_hh], True, 1, 0.0, False, False, False)
    return y.clone(), last.clone()


@gru.register_fake
def _(
    x: Tensor, hidden: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape[0], x.shape[1], hidden.shape[2]), torch.empty_like(hidden)


def translations() -> dict[Any, Callable[..., Any]]:
    """How `torch.onnx.export` writes the operators above (its `custom_translation_table`)."""
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

    return {torch.ops.audiotool.gru.default: onnx_gru}
