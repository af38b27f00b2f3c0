"""Cumulative layer normalisation, over all frames so far."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from audiotool.models.base import State

EPSILON = 1e-8
"""Added to variances."""


class CumulativeLayerNorm(nn.Module):
    """Normalise (B, C, T) by mean and variance over all channels and all frames up to each one.

    cLN of Luo and Mesgarani, Conv-TasNet, TASLP 2019, arXiv:1809.07454, section II-C. Sums are float64: in
    float32 they stop growing after some minutes.

    State: (sum, sum of squares, number of frames), each (B, 1).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels, 1))
        self.bias = nn.Parameter(torch.zeros(channels, 1))

    def forward(self, x: Tensor, state: State = None, final: bool = False) -> tuple[Tensor, State]:
        if state is None:
            zero = torch.zeros(x.shape[0], 1, dtype=torch.float64, device=x.device)
            state = (zero, zero, zero)
        total, squares, frames = state
        if x.shape[-1] == 0:
            return x, state
        total = total + x.sum(1, dtype=torch.float64).cumsum(-1)
        squares = squares + x.square().sum(1, dtype=torch.float64).cumsum(-1)
        count = (frames + torch.arange(1, x.shape[-1] + 1, device=x.device)) * x.shape[1]
        mean = total / count
        variance = (squares / count - mean.square()).clamp(min=0)
        scale = (variance + EPSILON).rsqrt()
        y = (x - mean[:, None].to(x)) * scale[:, None].to(x)
        state = (total[:, -1:].clone(), squares[:, -1:].clone(), frames + x.shape[-1])
        return self.gain * y + self.bias, state
