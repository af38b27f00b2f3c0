"""The selective scan of Mamba, without a loop over its steps.

Gu and Dao: Mamba: Linear-Time Sequence Modeling with Selective State Spaces, 2023, arXiv:2312.00752.

    h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t        y_t = C_t h_t + D u_t

The sequence is cut into K chunks of Q steps, Q about sqrt(T). Step q of all chunks is taken at once, each
chunk from a zero state; then the states at the chunks' ends are chained, and each chunk adds what its true
initial state decays to:

    chunk 0     chunk 1     chunk 2
    0 1 2 3     0 1 2 3     0 1 2 3       Q vectorised steps over all chunks
          +---------> +---------> +       K small steps along the chunks

Every factor exp(delta A) is in [0, 1] as A < 0, and factors are only multiplied, never divided: float32 is
safe at any length. Batch and time are worked off in tiles of bounded size. The backward pass recomputes the
states and runs the same recurrence from the end.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

TILE = {"cpu": 1 << 20, "cuda": 1 << 25}
"""State values (batch x time x features x state size) worked on at once: a CPU's cache, a GPU's memory."""

BLOCK = 49
"""Steps worked on at once on a CPU."""


def selective_scan(
    u: Tensor,
    delta: Tensor,
    A: Tensor,
    B: Tensor,
    C: Tensor,
    D: Tensor | None = None,
    z: Tensor | None = None,
    delta_bias: Tensor | None = None,
    delta_softplus: bool = False,
    state: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Run the recurrence of the module docstring over a sequence.

    Args:
        u: (batch, D, T) input.
        delta: (batch, D, T) step sizes, before bias and softplus.
        A: (D, N) negative decay rates.
        B, C: (batch, N, T) input and output maps of each step.
        D: (D,) weight of the input in the output.
        z: (batch, D, T) gate; the output is multiplied by silu(z).
        delta_bias: (D,) added to delta.
        delta_softplus: apply softplus to delta.
        state: (batch, D, N) at the beginning; zeros when None.
    Returns:
        (batch, D, T) output in u's type, and the last state (batch, D, N). Computed in float32 or better.
    """
    dtype = torch.promote_types(u.dtype, torch.float32)
    with torch.autocast(u.device.type, enabled=False):
        step = delta.to(dtype)
        if delta_bias is not None:
            step = step + delta_bias.to(dtype)[:, None]
        if delta_softplus:
            step = F.softplus(step)
        begin = u.new_zeros(u.shape[0], B.shape[1], u.shape[1], dtype=dtype)
        if state is not None:
            begin = state.to(dtype).transpose(1, 2)
        by_time = (x.to(dtype).permute(2, 0, 1).contiguous() for x in (step, step * u.to(dtype), B, C))
        y, last = _SelectiveScan.apply(*by_time, A.to(dtype).t().contiguous(), begin)
        y = y.permute(1, 2, 0)
        if D is not None:
            y = y + D.to(dtype)[:, None] * u.to(dtype)
        if z is not None:
            y = y * F.silu(z.to(dtype))
    return y.to(u.dtype), last.transpose(1, 2)


class _SelectiveScan(torch.autograd.Function):
    """(T, b, D) step and step * u, (T, b, N) B and C, (N, D) A, (b, N, D) state -> (T, b, D), (b, N, D).

    D is the innermost axis: it is the long one, so vector instructions get full rows.
    """

    @staticmethod
    def forward(ctx: Any, step: Tensor, drive: Tensor, B: Tensor, C: Tensor, A: Tensor, begin: Tensor) -> Any:
        ctx.save_for_backward(step, drive, B, C, A, begin)
        y = torch.empty_like(step)
        last = begin.clone()
        size = TILE.get(step.device.type, TILE["cpu"])
        length = BLOCK if step.device.type == "cpu" else max(len(step), 1)
        buffers: tuple[Tensor, ...] = ()
        for rows in _tiles(step[:length], A, size):
            for block in (slice(n, n + length) for n in range(0, len(step), length)):
                where = (block, rows)
                shape = (*step[where].shape[:2], *A.shape)
                buffers = buffers or (step.new_empty(math.prod(shape)), step.new_empty(math.prod(shape)))
                decay, x = (v[: math.prod(shape)].view(shape) for v in buffers)
                torch.mul(step[where][:, :, None], A, out=decay).exp_()
                torch.mul(B[where][..., None], drive[where][:, :, None], out=x)
                h = recur(decay, x, last[rows])
                y[where] = (C[where][:, :, None] @ h).squeeze(2)
                last[rows] = h[-1]
        return y, last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor, grad_last: Tensor) -> Any:
        step, drive, B, C, A, begin = ctx.saved_tensors
        d_step, d_drive, d_B, d_C = (torch.empty_like(x) for x in (step, drive, B, C))
        d_A, d_begin = torch.zeros_like(A), grad_last.clone()
        for rows in _tiles(step, A, TILE.get(step.device.type, TILE["cpu"])) if len(step) else ():
            g_y = grad_y[:, rows].contiguous()
            decay = (step[:, rows, None] * A).exp_()
            h = recur(decay.clone(), B[:, rows, :, None] * drive[:, rows, None], begin[rows])
            d_C[:, rows] = (h @ g_y[..., None]).squeeze(-1)
            # dL/dh_t = C_t dL/dy_t + decay_{t+1} dL/dh_{t+1}: the recurrence again, in reverse.
            g_h = C[:, rows, :, None] * g_y[:, :, None]
            ahead = torch.cat((torch.ones_like(decay[:1]), decay[1:].flip(0)))
            g_h = recur(ahead, g_h.flip(0), grad_last[rows]).flip(0)
            d_begin[rows] = decay[0] * g_h[0]
            d_B[:, rows] = (g_h @ drive[:, rows, :, None]).squeeze(-1)
            d_drive[:, rows] = (B[:, rows, None] @ g_h).squeeze(2)
            before = torch.cat((begin[None, rows], h[:-1]))
            exponent = g_h.mul_(before).mul_(decay)
            d_step[:, rows] = (exponent * A).sum(2)
            d_A += (exponent * step[:, rows, None]).sum((0, 1))
        return d_step, d_drive, d_B, d_C, d_A, d_begin


def _tiles(step: Tensor, A: Tensor, size: int) -> Iterator[slice]:
    """Ranges of batch rows whose states over all steps are at most `size` values together."""
    rows = max(size // max(len(step) * A.numel(), 1), 1)
    return (slice(n, n + rows) for n in range(0, step.shape[1], rows))


def recur(decay: Tensor, x: Tensor, begin: Tensor) -> Tensor:
    """h_t = decay_t h_{t-1} + x_t over the first axis, elementwise, with h_{-1} = begin.

    Args:
        decay, x: (T, ...), contiguous; both are overwritten, and x becomes the result.
        begin: (...).
    """
    steps = math.isqrt(len(x))
    if not steps:
        return x
    chunks = len(x) // steps
    used = chunks * steps
    a, h = (v[:used].view(chunks, steps, *begin.shape) for v in (decay, x))
    for step in range(1, steps):
        h[:, step].addcmul_(a[:, step], h[:, step - 1])
        a[:, step].mul_(a[:, step - 1])
    for chunk in range(chunks):
        h[chunk].addcmul_(a[chunk], begin)
        begin = h[chunk, -1]
    recur(decay[used:], x[used:], begin)
    return x
