"""A GRU whose steps are compiled C++, for training on a CPU: see gru_steps.cpp and `compiled`.

Forward and backward take half of the time of `nn.GRU` over 32 bands of 40 features, and an eighth over two
sequences of 128 (scripts/benchmark_gru.py).
"""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from audiotool.models.layers.compiled import library

SOURCE = Path(__file__).with_name("gru_steps.cpp")
LANES = 8
"""Number of features of which the hidden size is a multiple, as in gru_steps.cpp."""


def serves(x: Tensor, hidden_size: int) -> bool:
    """Whether `CompiledGRU` can process an input, on a machine that has a compiler."""
    suits = x.device.type == "cpu" and x.dtype == torch.float32 and hidden_size % LANES == 0
    return suits and library(SOURCE) is not None


class CompiledGRU(torch.autograd.Function):
    """(T, B, C) input, (B, H) first state and the parameters of `nn.GRU` -> (T, B, H) output, (B, H) last
    state."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, begin: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
    ) -> Any:
        steps, batch, _ = x.shape
        size = begin.shape[1]
        x = x.contiguous()
        bias = torch.cat((b_ih[: 2 * size] + b_hh[: 2 * size], b_ih[2 * size :]))
        gates = torch.addmm(bias, x.flatten(0, 1), w_ih.t())
        states = x.new_empty(steps + 1, batch, size)
        states[0] = begin
        q, work = x.new_empty(steps, batch, size), x.new_empty(batch, 3 * size)
        recurrent, bias_n = w_hh.t().contiguous(), b_hh[2 * size :].contiguous()
        _call("gru_forward", (steps, batch, size), gates, q, states, recurrent, bias_n, work)
        ctx.save_for_backward(x, gates, q, states, w_ih, w_hh)
        return states[1:], states[-1].clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor, grad_last: Tensor) -> Any:
        x, gates, q, states, w_ih, w_hh = ctx.saved_tensors
        steps, batch, size = q.shape
        recurrent = torch.cat((w_hh[2 * size :], w_hh[: 2 * size]))
        grads = x.new_empty(steps * batch, 4 * size)
        grad_h = grad_last.clone(memory_format=torch.contiguous_format)
        _call(
            "gru_backward",
            (steps, batch, size),
            *(gates, q, states, grad_y.contiguous(), recurrent, grads, grad_h),
        )
        from_h, from_x = grads[:, : 3 * size], grads[:, size:]
        grad_w = from_h.t() @ states[:-1].flatten(0, 1)
        grad_b = grads.sum(0)
        return (
            (from_x @ w_ih).view_as(x),
            grad_h,
            from_x.t() @ x.flatten(0, 1),
            torch.cat((grad_w[size:], grad_w[:size])),
            grad_b[size:],
            torch.cat((grad_b[size : 3 * size], grad_b[:size])),
        )


def _call(name: str, sizes: tuple[int, int, int], *arrays: Tensor) -> None:
    """Call a function of gru_steps.cpp with contiguous arrays."""
    function = getattr(library(SOURCE), name)
    function(*map(ctypes.c_int64, sizes), *(ctypes.c_void_p(array.data_ptr()) for array in arrays))
