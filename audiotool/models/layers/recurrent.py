"""Recurrent layers: a GRU that trains faster on a CPU, and streaming layers.

`StreamingGRU` and `StreamingLSTM` are called as `y, state = layer(x, state, final)` over (B, C, T).
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from audiotool.models.base import State
from audiotool.models.layers.gru_steps import CompiledGRU, serves


class GRU(nn.GRU):
    """One-layer, one-directional `nn.GRU` over (T, B, C), or (B, T, C) with `batch_first`.

    Parameters and results are those of `nn.GRU`. In training on a CPU the steps are compiled C++ where there
    is a compiler (gru_steps.py). Else they are computed here, in fewer and cheaper operations, and
    differentiated by hand: forward and backward take 0.7 of nn.GRU's time, forward alone 0.8
    (scripts/benchmark_gru.py).
    """

    weight_ih_l0: Tensor
    weight_hh_l0: Tensor
    bias_ih_l0: Tensor
    bias_hh_l0: Tensor

    def __init__(self, input_size: int, hidden_size: int, batch_first: bool = False) -> None:
        super().__init__(input_size, hidden_size, batch_first=batch_first)

    def forward(  # type: ignore[override, unused-ignore]  # since torch 2.14 sequences of many lengths are in the type
        self, input: Tensor, hx: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        if torch.compiler.is_exporting():
            return self._exported(input, hx)
        if input.device.type != "cpu" or input.ndim != 3 or input.numel() == 0:
            return nn.GRU.forward(self, input, hx)
        if torch.is_autocast_enabled("cpu"):
            # Its matrices are too small to be faster in half precision.
            with torch.autocast("cpu", enabled=False):
                return self.forward(input.float(), None if hx is None else hx.float())
        x = input.transpose(0, 1) if self.batch_first else input
        begin = x.new_zeros(x.shape[1], self.hidden_size) if hx is None else hx[0]
        if len(x) == 1 and not torch.is_grad_enabled():
            last = self._single_step(x[0], begin)
            return last[None].transpose(0, 1) if self.batch_first else last[None], last[None]
        weights = self.weight_ih_l0, self.weight_hh_l0, self.bias_ih_l0, self.bias_hh_l0
        if torch.is_grad_enabled():
            function = CompiledGRU if serves(x, self.hidden_size) else _GRUFunction
            y, last = function.apply(x, begin, *weights)  # type: ignore[no-untyped-call, unused-ignore]
        else:
            y, last = _outputs(_run(x, begin, *weights, keep=False)[2])
        return y.transpose(0, 1) if self.batch_first else y, last[None]

    def _exported(self, input: Tensor, hx: Tensor | None) -> tuple[Tensor, Tensor]:
        """Compute the same by one operator, because other runtimes have a GRU."""
        from audiotool.models.layers.graph_operators import gru

        x = input.transpose(0, 1) if self.batch_first else input
        hidden = x.new_zeros(1, x.shape[1], self.hidden_size) if hx is None else hx
        y, last = gru(x, hidden, self.weight_ih_l0, self.weight_hh_l0, self.bias_ih_l0, self.bias_hh_l0)
        return (y.transpose(0, 1) if self.batch_first else y), last

    def _single_step(self, x: Tensor, hidden: Tensor) -> Tensor:
        """Return the next state of (B, C) and (B, H), in half of nn.GRU's time."""
        sizes = [2 * self.hidden_size, self.hidden_size]
        gates_x, new_x = F.linear(x, self.weight_ih_l0, self.bias_ih_l0).split(sizes, dim=-1)
        gates_h, new_h = F.linear(hidden, self.weight_hh_l0, self.bias_hh_l0).split(sizes, dim=-1)
        reset, keep = (gates_x + gates_h).sigmoid().chunk(2, dim=-1)
        return torch.lerp(torch.addcmul(new_x, reset, new_h).tanh(), hidden, keep)


def _run(
    x: Tensor, begin: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor, keep: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Compute gates, n and state of every step from (T, B, C) input, (B, H) state and nn.GRU's parameters.

        r, z = sigmoid(x W_r + h V_r), sigmoid(x W_z + h V_z)    n = tanh(x W_n + r (h V_n))
        h' = n + z (h - n)

    The batch is the innermost axis, so that every gate of a step is contiguous. Returns gates (T, 3, H, B),
    which are h V_n, r and z of each step, n (T, H, B), and states (T + 1, H, B). Without `keep` the gates are
    empty.

    The steps are of s = (n + 1) / 2 and g = (h + 1) / 2: tanh(a) is 2 sigmoid(2 a) - 1, and a sigmoid costs a
    third of a tanh. As h' is a mean of n and h, g' is the same mean of s and g.
    """
    steps, batch, _ = x.shape
    size = w_hh.shape[1]
    joined, new = slice(0, 2 * size), slice(2 * size, None)
    b_hh = b_hh - w_hh.sum(1)
    x = x.transpose(1, 2)
    bias = (b_ih[joined] + b_hh[joined])[:, None]
    sums = torch.baddbmm(bias, w_ih[joined].expand(steps, -1, -1), x)
    n = torch.baddbmm(2 * b_ih[new][:, None], (2 * w_ih[new]).expand(steps, -1, -1), x)
    gates = n.new_empty(steps if keep else 0, 3 * size, batch)
    states = n.new_empty(steps + 1, size, batch)
    states[0] = begin.t().add(1).div_(2)
    bias_new = (2 * b_hh[new][:, None]).expand(-1, batch).contiguous()
    _forward_steps(sums, n, gates, states, 2 * w_hh[joined], 4 * w_hh[new], bias_new)
    if keep:
        gates[:, :size].div_(2)
        n.mul_(2).sub_(1)
    return gates.unflatten(1, (3, size)), n, states.mul_(2).sub_(1)


def _outputs(states: Tensor) -> tuple[Tensor, Tensor]:
    """Return (T, B, H) outputs and the (B, H) last state of (T + 1, H, B) states."""
    return states[1:].transpose(1, 2).contiguous(), states[-1].t().contiguous()


def _forward_steps(
    sums: Tensor,
    n: Tensor,
    gates: Tensor,
    states: Tensor,
    recurrent: Tensor,
    recurrent_new: Tensor,
    bias_new: Tensor,
) -> None:
    """Run the steps of `_run` in place: sums (T, 2 H, B) and n have the terms of x, states[0] the first
    state.

    Gates (T, 3 H, B) are filled; of length 0 they are not kept.
    """
    size = states.size(1)
    # A view costs as much as a small kernel. The views of all steps are made before the loop, and the gates
    # of a step are computed in one buffer.
    step = gates.new_empty([3 * size, states.size(2)])
    h_n, r, z, sigmoids = step[:size], step[size : 2 * size], step[2 * size :], step[size:]
    keep = gates.size(0) > 0
    sums_of, n_of, gates_of, state_of = sums.unbind(0), n.unbind(0), gates.unbind(0), states.unbind(0)
    for t in range(sums.size(0)):
        torch.addmm(sums_of[t], recurrent, state_of[t], out=sigmoids)
        torch.addmm(bias_new, recurrent_new, state_of[t], out=h_n)
        sigmoids.sigmoid_()
        n_of[t].addcmul_(r, h_n).sigmoid_()
        torch.lerp(n_of[t], state_of[t], z, out=state_of[t + 1])
        if keep:
            gates_of[t].copy_(step)


def _backward_steps(grads: Tensor, grad_h: Tensor, z: Tensor, back: Tensor) -> None:
    """Run the steps of `_GRUFunction.backward` in place, from the last.

    Args:
        grads: (T, 4, H, B), factors from dL/dh' to the gradient of each gate's sum; become these gradients.
        grad_h: (T + 1, H, B), gradients of the outputs; become dL/dh.
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
    """`_run` with its gradient; returns (T, B, H) output and the (B, H) last state."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, begin: Tensor, w_ih: Tensor, w_hh: Tensor, b_ih: Tensor, b_hh: Tensor
    ) -> Any:
        gates, n, states = _run(x, begin, w_ih, w_hh, b_ih, b_hh, keep=True)
        ctx.save_for_backward(x, gates, n, states, w_ih, w_hh)
        return _outputs(states)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor, grad_last: Tensor) -> Any:
        x, gates, n, states, w_ih, w_hh = ctx.saved_tensors
        steps, size = n.shape[:2]
        recurrent = torch.cat((w_hh[2 * size :], w_hh[: 2 * size]))
        # First the factors from dL/dh' to each gate's sum, which need no loop; then dL/dh' from the last step
        # backwards. The gradients of a step's four rows replace the factors.
        h_n, r, z = gates.unbind(1)
        grads = gates.new_empty(steps, 4, *n.shape[1:])
        to_h_n, to_r, to_z, to_n = grads.unbind(1)
        not_z = 1 - z
        torch.addcmul(not_z, not_z, n.square(), value=-1, out=to_n)
        torch.mul(to_n, r, out=to_h_n)
        torch.mul(to_h_n, h_n, out=to_r).addcmul_(to_r, r, value=-1)
        torch.sub(states[:-1], n, out=to_z).mul_(z).mul_(not_z)

        grad_h = x.new_zeros(states.shape)
        grad_h[1:] = grad_y.transpose(1, 2)
        grad_h[-1] += grad_last.t()
        _backward_steps(grads, grad_h, z, recurrent.t().contiguous())

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

    def forward(  # type: ignore[override, unused-ignore]
        self, x: Tensor, state: State = None, final: bool = False
    ) -> tuple[Tensor, State]:
        if x.shape[-1] == 0:
            return x.new_zeros(x.shape[0], self.hidden_size, 0), state
        hidden = None if state is None else state.transpose(0, 1).contiguous()
        y, hidden = GRU.forward(self, x.transpose(1, 2), hidden)
        return y.transpose(1, 2), hidden.transpose(0, 1)


class StreamingLSTM(nn.LSTM):
    """One layer and direction of an LSTM, (B, C, T) -> (B, hidden, T). State: (hidden, cell), batch first."""

    def __init__(self, input_size: int, hidden_size: int) -> None:
        super().__init__(input_size, hidden_size, batch_first=True)

    def forward(  # type: ignore[override, unused-ignore]
        self, x: Tensor, state: State = None, final: bool = False
    ) -> tuple[Tensor, State]:
        if x.shape[-1] == 0:
            return x.new_zeros(x.shape[0], self.hidden_size, 0), state
        pair = None if state is None else tuple(s.transpose(0, 1).contiguous() for s in state)
        y, (hidden, cell) = nn.LSTM.forward(self, x.transpose(1, 2), pair)
        return y.transpose(1, 2), (hidden.transpose(0, 1), cell.transpose(0, 1))
