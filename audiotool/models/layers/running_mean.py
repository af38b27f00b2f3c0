"""A running mean over frames, m_t = a m_{t-1} + (1 - a) x_t, for whole chunks at once."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

BLOCK = 256
"""Number of values in one matrix product."""


def recursion(x: Tensor, state: Tensor, kernel: Tensor, carry: Tensor) -> tuple[Tensor, Tensor]:
    """Compute y_n = a y_{n-1} + b x_n over the last axis, in blocks of matrix products instead of a loop.

    Args:
        x: (..., T), T > 0.
        state: (...) the y before.
        kernel: (BLOCK, BLOCK), b a^(n - k) in row n and column k <= n, else 0.
        carry: (BLOCK,), a^(n + 1).
    Returns:
        (..., T), and the last y.
    """
    parts = []
    for part in x.split(BLOCK, dim=-1):
        n = part.shape[-1]
        y = F.linear(part, kernel[:n, :n]) + state[..., None] * carry[:n]
        state = y[..., -1]
        parts.append(y)
    return torch.cat(parts, dim=-1), state


class RunningMean(nn.Module):
    """(B, F, T) -> the mean after each frame, that frame included; the F rows are independent.

    Args:
        decay: a, the weight of the mean in the next frame.
        initial: (F,) the mean before the first frame.

    State: (B, F) the last mean minus the initial one. Means of decibels are far from zero, where float32
    would round them coarsely in every step.
    """

    kernel: Tensor
    carry: Tensor
    initial: Tensor

    def __init__(self, decay: float, initial: Tensor) -> None:
        super().__init__()
        index = torch.arange(BLOCK, dtype=torch.float64)
        exponent = index[:, None] - index
        weights = (1 - decay) * decay ** exponent.clamp(min=0)
        kernel = torch.where(exponent >= 0, weights, 0.0)
        self.register_buffer("kernel", kernel.float(), persistent=False)
        self.register_buffer("carry", (decay ** (index + 1)).float(), persistent=False)
        self.register_buffer("initial", initial, persistent=False)
        self.decay = decay

    def forward(self, x: Tensor, state: Tensor | None = None) -> tuple[Tensor, Tensor]:
        mean = x.new_zeros(x.shape[:2]) if state is None else state
        if torch.compiler.is_exporting():
            return self._exported(x, mean)
        initial = self.initial[:, None]
        y, mean = recursion(x - initial, mean, self.kernel, self.carry)
        return y + initial, mean.clone()

    def _exported(self, x: Tensor, mean: Tensor) -> tuple[Tensor, Tensor]:
        """Compute the means of any number of frames by few operations, for graphs.

        m_n = a^n (m_0 + sum_k (1 - a) a^-k x_k), all relative to the initial mean.
        """
        initial = self.initial[:, None]
        decayed = self.decay ** torch.ones_like(x).cumsum(-1)
        sums = ((x - initial) * ((1 - self.decay) / decayed)).cumsum(-1)
        y = (sums + mean[..., None]) * decayed
        return y + initial, y[..., -1].clone()
