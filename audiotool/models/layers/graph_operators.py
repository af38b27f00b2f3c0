"""Operators that are one node of a graph but would be decomposed by PyTorch's tracing: GRU and LSTM."""

from __future__ import annotations

import torch
from torch import Tensor


@torch.library.custom_op("audiotool::gru_layer", mutates_args=())
def gru(
    x: Tensor, hidden: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
) -> tuple[Tensor, Tensor]:
    """Run one layer over (T, B, C) from (1, B, H), with nn.GRU's parameters: (T, B, H) and (1, B, H)."""
    y, last = torch.gru(x, hidden, [w_ih, w_hh, b_ih, b_hh], True, 1, 0.0, False, False, False)
    return y.clone(), last.clone()


@gru.register_fake
def _(
    x: Tensor, hidden: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
) -> tuple[Tensor, Tensor]:
    return x.new_empty(x.shape[0], x.shape[1], hidden.shape[2]), torch.empty_like(hidden)


@torch.library.custom_op("audiotool::lstm_layer", mutates_args=())
def lstm(
    x: Tensor, hidden: Tensor, cell: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Run an LSTM layer over (T, B, C) from states (1, B, H); return (T, B, H) and the states.

    The parameters are those of nn.LSTM.
    """
    weights = [w_ih, w_hh, b_ih, b_hh]
    y, hidden, cell = torch.lstm(x, [hidden, cell], weights, True, 1, 0.0, False, False, False)
    return y.clone(), hidden.clone(), cell.clone()


@lstm.register_fake
def _(
    x: Tensor, hidden: Tensor, cell: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    y = x.new_empty(x.shape[0], x.shape[1], hidden.shape[2])
    return y, torch.empty_like(hidden), torch.empty_like(cell)
