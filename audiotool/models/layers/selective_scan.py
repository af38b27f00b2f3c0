"""The selective scan of Mamba in few large steps.

Gu and Dao: Mamba: Linear-Time Sequence Modeling with Selective State Spaces, 2023, arXiv:2312.00752.

    h_t = exp(delta_t A) h_{t-1} + delta_t B_t u_t        y_t = C_t h_t + D u_t

Batch and time are processed in tiles that fit a CPU's cache, a step for all rows of a tile at once. If there
are too few rows to keep the processor busy, the tile is cut into K chunks of Q steps, Q about sqrt(T). Step q
of all chunks is computed at once, each chunk from a zero state. Then the states at the ends of the chunks are
chained, and the decay of its true initial state is added to each chunk:

    chunk 0     chunk 1     chunk 2
    0 1 2 3     0 1 2 3     0 1 2 3       Q vectorised steps over all chunks
          +---------> +---------> +       K small steps along the chunks

Every factor exp(delta A) is in [0, 1] as A < 0, and factors are only multiplied, never divided: float32 is
safe at any length. The backward pass recomputes each tile from its saved first state, and runs the same
recurrence from the end.

For 4 s of audio in MambAttention, on one thread of an Intel Xeon, the plain loop takes 12 to 15 times as long
along time (641 steps) and 9 times along frequency (100 steps), 10 to 12 for both together; with gradients 14
and 10 (scripts/benchmark_scan.py). What bounds it are passes over the state values: 2 ** x and four others
(the exponent, two for the recurrence, the output), 0.3 ns each from cache. On an AMD Zen core, where 2 ** x
takes 1.4 ns, it was 10 to 13 times along time and 6 to 9 along frequency.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd.function import once_differentiable

TILE = {"cpu": 1 << 19, "cuda": 1 << 25}
"""Number of state values (batch x time x features x state size) of a tile: a CPU's cache, a GPU's memory."""

ROWS = 1 << 16
"""Number of state values of one step (batch x features x state size) in a tile."""

FULL = {"cpu": 1 << 14, "cuda": 1 << 22}
"""Least number of state values for which an operation is worth its call; with fewer, chunks run in
parallel."""


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
        by_time = (x.to(dtype).transpose(1, 2).contiguous() for x in (step, step * u.to(dtype), B, C))
        y, last = _SelectiveScan.apply(*by_time, A.to(dtype).t().contiguous(), begin)  # type: ignore[no-untyped-call, unused-ignore]
        y = y.transpose(1, 2)
        if D is not None:
            y = y + D.to(dtype)[:, None] * u.to(dtype)
        if z is not None:
            y = y * F.silu(z.to(dtype))
    return y.to(u.dtype), last.transpose(1, 2)


class _SelectiveScan(torch.autograd.Function):
    """(b, T, D) step and step * u, (b, T, N) B and C, (N, D) A, (b, N, D) state -> (b, T, D), (b, N, D).

    D is the innermost axis: it is the long one, so vector instructions get full rows.
    """

    @staticmethod
    def forward(ctx: Any, step: Tensor, drive: Tensor, B: Tensor, C: Tensor, A: Tensor, begin: Tensor) -> Any:
        y = torch.empty_like(step)
        last = begin.clone()
        tiles = _Tiles(step, A)
        kept = []
        for rows, block in tiles:
            if any(ctx.needs_input_grad):
                kept.append(last[rows].clone())
            h = tiles.decay((rows, block))
            recur(h, B[rows, block, :, None], drive[rows, block, None], last[rows], out=h)
            y[rows, block] = (C[rows, block, None] @ h).squeeze(2)
            last[rows] = h[:, -1]
        ctx.save_for_backward(step, drive, B, C, A, *kept)
        return y, last

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_y: Tensor, grad_last: Tensor) -> Any:
        step, drive, B, C, A, *kept = ctx.saved_tensors
        grad_y = grad_y.contiguous()
        d_step, d_drive, d_B, d_C = (torch.empty_like(x) for x in (step, drive, B, C))
        d_A, d_begin = torch.zeros_like(A), grad_last.clone()
        tiles = _Tiles(step, A)
        for where, begin in zip(reversed(list(tiles)), reversed(kept), strict=True):
            rows = where[0]
            decay, h, g_h = tiles.decay(where), tiles.buffer(1, where), tiles.buffer(2, where)
            recur(decay, B[where][..., None], drive[where][:, :, None], begin, out=h)
            d_C[where] = (h @ grad_y[where][..., None]).squeeze(3)
            # dL/dh_t = C_t dL/dy_t + decay_{t+1} dL/dh_{t+1}: the recurrence again, in reverse.
            left, right = C[where][..., None], grad_y[where][:, :, None]
            torch.addcmul(d_begin[rows], left[:, -1], right[:, -1], out=g_h[:, -1])
            recur(decay[:, 1:], left[:, :-1], right[:, :-1], g_h[:, -1], out=g_h[:, :-1], reverse=True)
            torch.mul(decay[:, 0], g_h[:, 0], out=d_begin[rows])
            d_B[where] = (g_h @ drive[where][..., None]).squeeze(3)
            d_drive[where] = (B[where][:, :, None] @ g_h).squeeze(2)
            exponent = decay.mul_(g_h)
            exponent[:, 1:].mul_(h[:, :-1])
            exponent[:, 0].mul_(begin)
            d_step[where] = torch.mul(exponent, A, out=h).sum(2)
            d_A += exponent.mul_(step[where][:, :, None]).sum((0, 1))
        return d_step, d_drive, d_B, d_C, d_A, d_begin


class _Tiles:
    """Ranges of batch rows and, within them, of steps; and buffers for the states (rows, steps, N, D) in one.

    Args:
        step: (b, T, D).
        A: (N, D).
    """

    def __init__(self, step: Tensor, A: Tensor) -> None:
        self.step = step
        # exp(x) as 2 ** (x / log(2)), which is a little faster.
        self.rate = A / math.log(2)
        self.rows = max(min(ROWS // A.numel(), len(step)), 1)
        steps = TILE.get(step.device.type, TILE["cpu"]) // (self.rows * A.numel())
        self.steps = max(min(steps, step.shape[1]), 1)
        self.buffers: dict[int, Tensor] = {}

    def __iter__(self) -> Iterator[tuple[slice, slice]]:
        batch, length = self.step.shape[:2]
        for row in range(0, batch, self.rows):
            for n in range(0, length, self.steps):
                yield slice(row, row + self.rows), slice(n, n + self.steps)

    def decay(self, tile: tuple[slice, slice]) -> Tensor:
        """Return exp(delta A), in buffer 0."""
        return torch.mul(self.step[tile][:, :, None], self.rate, out=self.buffer(0, tile)).exp2_()

    def buffer(self, number: int, tile: tuple[slice, slice]) -> Tensor:
        """Return a buffer for the states of a tile."""
        shape = (*self.step[tile].shape[:2], *self.rate.shape)
        if number not in self.buffers:
            self.buffers[number] = self.step.new_empty(self.rows * self.steps * self.rate.numel())
        return self.buffers[number][: math.prod(shape)].view(shape)


def recur(
    decay: Tensor, left: Tensor, right: Tensor, begin: Tensor, out: Tensor, reverse: bool = False
) -> None:
    """Compute h_t = decay_t h_{t-1} + left_t right_t over the second axis, with h_{-1} = begin, into `out`.

    Args:
        decay: (b, T, N, D).
        left, right: (b, T, N, 1) and (b, T, 1, D).
        begin: (b, N, D).
        out: (b, T, N, D); may be `decay`.
        reverse: from the last step to the first: h_t = decay_t h_{t+1} + left_t right_t.
    """
    if begin.numel() >= FULL.get(out.device.type, FULL["cpu"]):
        _take_steps(decay, left, right, begin, out, reverse)
    else:
        _recur_in_chunks(decay.clone(), torch.mul(left, right, out=out), begin, reverse)


def _take_steps(
    decay: Tensor, left: Tensor, right: Tensor, begin: Tensor, out: Tensor, reverse: bool
) -> None:
    """Compute `recur` step by step."""
    a, b, u, states = decay.unbind(1), left.unbind(1), right.unbind(1), out.unbind(1)
    before = begin
    for n in range(len(states)):
        t = len(states) - 1 - n if reverse else n
        torch.mul(a[t], before, out=states[t])
        states[t].addcmul_(b[t], u[t])
        before = states[t]


def _recur_in_chunks(decay: Tensor, x: Tensor, begin: Tensor, reverse: bool) -> None:
    """Compute `recur` in chunks: the products x are replaced by h, and decay is overwritten."""
    length = x.shape[1]
    steps = math.isqrt(length)
    if not steps:
        return
    used = length // steps * steps
    first, rest = slice(used), slice(used, None)
    if reverse:
        first, rest = slice(length - used, None), slice(length - used)
    a, h = (v[:, first].unflatten(1, (-1, steps)) for v in (decay, x))
    for (a_before, h_before), (a_now, h_now) in itertools.pairwise(_in_order(2, reverse, a, h)):
        h_now.addcmul_(a_now, h_before)
        a_now.mul_(a_before)
    for a_chunk, h_chunk in _in_order(1, reverse, a, h):
        h_chunk.addcmul_(a_chunk, begin[:, None])
        begin = h_chunk[:, 0 if reverse else -1]
    _recur_in_chunks(decay[:, rest], x[:, rest], begin, reverse)


def _in_order(axis: int, reverse: bool, *tensors: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Yield the slices of some tensors along an axis, from its beginning or from its end."""
    return zip(*(t.unbind(axis)[:: -1 if reverse else 1] for t in tensors), strict=True)
