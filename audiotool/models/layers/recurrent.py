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
from audiotool.models.layers.scripted import scripted


class GRU(nn.GRU):
    """One-layer, one-directional `nn.GRU` over (T, B, C), or (B, T, C) with `batch_first`.

    Parameters and results are those of `nn.GRU`. On a CPU the steps are computed here, in half as many
    operations, and differentiated by hand: forward and backward take 0.62 of nn.GRU's time, forward alone
    0.72 (scripts/benchmark_gru.py).
    """

    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    def __init__(self, input_size: int, hidden_size: int, batch_first: bool = False) -> None:
        super().__init__(input_size, hidden_size, batch_first=batch_first)

    def forward(  # type: ignore[override]
        self, input: Tensor, hx: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        own = (
            input.device.type == "cpu"
            and input.ndim == 3
            and input.numel() > 0
            and not torch.is_autocast_enabled("cpu")
        )
        if not own:
            return nn.GRU.forward(self, input, hx)
        x = input.transpose(0, 1) if self.batch_first else input
        begin = x.new_zeros(x.shape[1], self.hidden_size) if hx is None else hx[0]
        if len(x) == 1 and not torch.is_grad_enabled():
            last = self._single_step(x[0], begin)
            return last[None].transpose(0, 1) if self.batch_first else last[None], last[None]
        if torch.jit.is_tracing():
            return nn.GRU.forward(self, input, hx)
        weights = self.weight_ih_l0, self.weight_hh_l0, self.bias_ih_l0, self.bias_hh_l0
        if torch.is_grad_enabled():
            y, last = _GRUFunction.apply(x, begin, *weights)
        else:
            y, last = _outputs(_run(x, begin, *weights)[1])
        return y.transpose(0, 1) if self.batch_first else y, last[None]

    def _single_step(self, x: Tensor, hidden: Tensor) -> Tensor:
        """(B, C) and (B, H) -> the next state, in half of nn.GRU's time."""
        sizes = [2 * self.hidden_size, self.hidden_size]
        gates_x, new_x = F.linear(x, self.weight_ih_l0, self.bias_ih_l0).split(sizes, dim=-1)
        gates_h, new_h = F.linear(hidden, self.weight_hh_l0, self.bias_hh_l0).split(sizes, dim=-1)
        reset, keep = (gates_x + gates_h).sigmoid().chunk(2, dim=-1)
        return torch.lerp(torch.addcmul(new_x, reset, new_h).tanh(), hidden, keep)


def _run(
    x: Tensor, begin: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """(T, B, C) input, (B, H) state, nn.GRU's parameters -> gates (T, 4, H, B), states (T + 1, H, B), V.

        r, z = sigmoid(x W_r + h V_r), sigmoid(x W_z + h V_z)    n = tanh(x W_n + r (h V_n))
        h' = n + z (h - n)

    The batch is the innermost axis, so that every gate of a step is contiguous. A step's four rows of H are
    h V_n, r, z, n: the first three are one product with h, by the V returned, the last three one with x.
    """
    steps, batch, _ = x.shape
    size = w_hh.shape[1]
    joined, new = slice(0, 2 * size), slice(2 * size, None)
    recurrent = torch.cat((w_hh[new], w_hh[joined]))
    gates = x.new_empty(steps, 4, size, batch)
    gates[:, 0] = b_hh[new, None]
    bias = torch.cat((b_ih[joined] + b_hh[joined], b_ih[new]))
    from_x = gates.flatten(1, 2)[:, size:]
    torch.baddbmm(bias[:, None], w_ih.expand(steps, -1, -1), x.transpose(1, 2), out=from_x)
    states = x.new_empty(steps + 1, size, batch)
    states[0] = begin.t()
    scripted(_forward_steps)(gates, states, recurrent)
    return gates, states, recurrent


def _outputs(states: Tensor) -> tuple[Tensor, Tensor]:
    """(T + 1, H, B) states -> (T, B, H) outputs, (B, H) last state."""
    return states[1:].transpose(1, 2).contiguous(), states[-1].t().contiguous()


def _forward_steps(gates: Tensor, states: Tensor, recurrent: Tensor) -> None:
    """The steps of `_run` in place: gates hold what comes from x, states[0] the first state."""
    size = states.size(1)
    rows = gates.flatten(1, 2)
    # Views of all steps are made before the loop: making one costs as much as a small kernel.
    from_h = rows[:, : 3 * size].unbind(0)
    sigmoids = gates[:, 1:3].unbind(0)
    h_n, r, z, n = gates.unbind(1)
    h_n_of, r_of, z_of, n_of = h_n.unbind(0), r.unbind(0), z.unbind(0), n.unbind(0)
    state_of = states.unbind(0)
    for t in range(gates.size(0)):
        from_h[t].addmm_(recurrent, state_of[t])
        sigmoids[t].sigmoid_()
        n_of[t].addcmul_(r_of[t], h_n_of[t]).tanh_()
        torch.lerp(n_of[t], state_of[t], z_of[t], out=state_of[t + 1])


def _backward_steps(grads: Tensor, grad_h: Tensor, z: Tensor, back: Tensor) -> None:
    """The steps of `_GRUFunction.backward` in place, from the last.

    Args:
        grads: (T, 4, H, B) how much of dL/dh' each gate's sum gets, to become the gates' gradients.
        grad_h: (T + 1, H, B) what the outputs pass on to each state, to become dL/dh.
        z: (T, H, B).
        back: (H, 3 H) the recurrent weights.
    """
    size = z.size(1)
    from_h = grads.flatten(1, 2)[:, : 3 * size].unbind(0)
    every, keep, h = grads.unbind(0), z.unbind(0), grad_h.unbind(0)
    for n in range(z.size(0)):
        t = z.size(0) - 1 - n
        every[t].mul_(h[t + 1])
        h[t].addcmul_(h[t + 1], keep[t]).addmm_(back, from_h[t])


class _GRUFunction(torch.autograd.Function):
    """`_run` with its gradient: -> (T, B, H) output, (B, H) last state."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, begin: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
    ) -> Any:
        gates, states, recurrent = _run(x, begin, w_ih, w_hh, b_ih, b_hh)
        ctx.save_for_backward(x, gates, states, w_ih, recurrent)
        return _outputs(states)

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

        grad_h = x.new_zeros(states.shape)
        grad_h[1:] = grad_y.transpose(1, 2)
        grad_h[-1] += grad_last.t()
        scripted(_backward_steps)(grads, grad_h, z, recurrent.t().contiguous())

        rows = grads.flatten(1, 2)
        from_h, from_x = rows[:, : 3 * size], rows[:, size:]
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
