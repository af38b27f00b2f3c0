"""Recurrent layers: a GRU that trains faster on a CPU, and layers called as every other in a stream.

`StreamingGRU` and `StreamingLSTM` are called as `y, state = layer(x, state, final)` over (B, C, T).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from audiotool.models.base import State


class GRU(nn.GRU):
    """One-layer, one-directional `nn.GRU` over (T, B, C), or (B, T, C) with `batch_first`.

    Parameters and results are those of `nn.GRU`. In training on a CPU the steps are computed here: torch
    records some ten operations a step and differentiates each. Forward and backward over 188 steps of 40
    features on one thread take 95 ms instead of 145 with 128 sequences, 178 instead of 226 with 256; more
    than half of what remains is matrix products.
    """

    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    def __init__(self, input_size: int, hidden_size: int, batch_first: bool = False) -> None:
        super().__init__(input_size, hidden_size, batch_first=batch_first)

    def one_step(self, x: Tensor, hidden: Tensor) -> tuple[Tensor, Tensor]:
        """A single step, (1, B, C) and (1, B, H) -> output and state, in half the time of the call."""
        sizes = [2 * self.hidden_size, self.hidden_size]
        gates_x, new_x = F.linear(x, self.weight_ih_l0, self.bias_ih_l0).split(sizes, dim=-1)
        gates_h, new_h = F.linear(hidden, self.weight_hh_l0, self.bias_hh_l0).split(sizes, dim=-1)
        reset, keep = (gates_x + gates_h).sigmoid().chunk(2, dim=-1)
        hidden = torch.lerp(torch.addcmul(new_x, reset, new_h).tanh(), hidden, keep)
        return hidden, hidden

    def forward(  # type: ignore[override]
        self, input: Tensor, hx: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        own = (
            torch.is_grad_enabled()
            and input.device.type == "cpu"
            and input.ndim == 3
            and input.numel() > 0
            and not torch.is_autocast_enabled("cpu")
        )
        if not own:
            return nn.GRU.forward(self, input, hx)
        x = input.transpose(0, 1) if self.batch_first else input
        begin = x.new_zeros(x.shape[1], self.hidden_size) if hx is None else hx[0]
        y, last = _GRUFunction.apply(
            x, begin, self.weight_ih_l0, self.weight_hh_l0, self.bias_ih_l0, self.bias_hh_l0
        )
        return y.transpose(0, 1) if self.batch_first else y, last[None]


class _GRUFunction(torch.autograd.Function):
    """(T, B, C) input, (B, H) state, nn.GRU's parameters -> (T, B, H) output, (B, H) last state.

        r, z = sigmoid(x W_r + h V_r), sigmoid(x W_z + h V_z)    n = tanh(x W_n + r (h V_n))
        h' = n + z (h - n)

    Inside, the batch is the innermost axis, so that every gate of a step is contiguous. A step's four rows of
    H are h V_n, r, z, n: the first three are one product with h, the last three one with x.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, begin: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
    ) -> Any:
        steps, batch, _ = x.shape
        size = w_hh.shape[1]
        joined, new = slice(0, 2 * size), slice(2 * size, None)
        recurrent = torch.cat((w_hh[new], w_hh[joined]))
        gates = x.new_empty(steps, 4, size, batch)
        rows = gates.flatten(1, 2)
        bias = torch.cat((b_ih[joined] + b_hh[joined], b_ih[new]))
        gates[:, 0] = b_hh[new, None]
        torch.baddbmm(bias[:, None], w_ih.expand(steps, -1, -1), x.transpose(1, 2), out=rows[:, size:])
        states = x.new_empty(steps + 1, size, batch)
        states[0] = begin.t()
        before = states.unbind(0)
        # Views of all steps are made before the loop: making one costs as much as a small kernel.
        for h, after, from_h, sigmoids, h_n, r, z, n in zip(
            before[:-1],
            before[1:],
            rows[:, : 3 * size].unbind(0),
            gates[:, 1:3].unbind(0),
            *(gate.unbind(0) for gate in gates.unbind(1)),
            strict=True,
        ):
            from_h.addmm_(recurrent, h)
            sigmoids.sigmoid_()
            n.addcmul_(r, h_n).tanh_()
            torch.lerp(n, h, z, out=after)
        ctx.save_for_backward(x, gates, states, w_ih, recurrent)
        return states[1:].transpose(1, 2).contiguous(), states[-1].t().contiguous()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor, grad_last: Tensor) -> Any:
        x, gates, states, w_ih, recurrent = ctx.saved_tensors
        steps, size = len(x), gates.shape[2]
        # First how much dL/dh' is passed on to each gate's sum: this needs no loop. Then, from the end,
        # dL/dh' itself. The gradients of a step's four rows replace the factors.
        h_n, r, z, n = gates.unbind(1)
        grads = torch.empty_like(gates)
        to_h_n, to_r, to_z, to_n = grads.unbind(1)
        not_z = 1 - z
        torch.addcmul(not_z, not_z, n.square(), value=-1, out=to_n)
        torch.mul(to_n, r, out=to_h_n)
        torch.mul(to_h_n, h_n, out=to_r).addcmul_(to_r, r, value=-1)
        torch.sub(states[:-1], n, out=to_z).mul_(z).mul_(not_z)

        rows = grads.flatten(1, 2)
        from_h, from_x = rows[:, : 3 * size], rows[:, size:]
        grad_h = x.new_zeros(states.shape)
        grad_h[1:] = grad_y.transpose(1, 2)
        grad_h[-1] += grad_last.t()
        back = recurrent.t().contiguous()
        by_step = (grad_h[1:], grad_h[:-1], grads, z, from_h)
        for after, h, every, keep, recurred in zip(*(v.unbind(0)[::-1] for v in by_step), strict=True):
            every.mul_(after)
            h.addcmul_(after, keep).addmm_(back, recurred)

        grad_x = torch.bmm(from_x.transpose(1, 2), w_ih.expand(steps, -1, -1))
        grad_w_ih = torch.zeros_like(w_ih).addbmm_(from_x, x)
        grad_w = torch.zeros_like(recurrent).addbmm_(from_h, states[:-1].transpose(1, 2))
        grad_b = rows.sum((0, 2))
        return (
            grad_x,
            grad_h[0].t(),
            grad_w_ih,
            torch.cat((grad_w[size:], grad_w[:size])),
            grad_b[size:],
            torch.cat((grad_b[size : 3 * size], grad_b[:size])),
        )


class StreamingGRU(GRU):
    """One-directional GRU over (B, C, T) -> (B, hidden, T). State: torch's hidden tensor, batch first."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size, batch_first=True)

    def forward(  # type: ignore[override]
        self, x: Tensor, state: State = None, final: bool = False
    ) -> tuple[Tensor, State]:
        if x.shape[-1] == 0:
            return x.new_zeros(x.shape[0], self.hidden_size, 0), state
        hidden = None if state is None else state.transpose(0, 1).contiguous()
        y, hidden = GRU.forward(self, x.transpose(1, 2), hidden)
        return y.transpose(1, 2), hidden.transpose(0, 1)


class StreamingLSTM(nn.LSTM):
    """One-directional LSTM over (B, C, T) -> (B, hidden, T). State: (hidden, cell), batch first."""

    def __init__(self, input_size: int, hidden_size: int, num_layers: int = 1) -> None:
        super().__init__(input_size, hidden_size, num_layers, batch_first=True)

    def forward(  # type: ignore[override]
        self, x: Tensor, state: State = None, final: bool = False
    ) -> tuple[Tensor, State]:
        if x.shape[-1] == 0:
            return x.new_zeros(x.shape[0], self.hidden_size, 0), state
        pair = None if state is None else tuple(s.transpose(0, 1).contiguous() for s in state)
        y, (hidden, cell) = nn.LSTM.forward(self, x.transpose(1, 2), pair)
        return y.transpose(1, 2), (hidden.transpose(0, 1), cell.transpose(0, 1))
