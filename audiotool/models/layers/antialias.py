"""Periodic activations, and activations at twice the sample rate against aliasing.

    x -> upsample x2 -> activation -> downsample x2

Both filters are the same Kaiser-windowed sinc of 12 taps. Snake: Ziyin et al., NeurIPS 2020,
arXiv:2006.08195; the anti-aliased use: Lee et al., BigVGAN, ICLR 2023, arXiv:2206.04658.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiotool.models.layers.receptive_field import Span, conv_span, conv_transpose_span

RATIO = 2
TAPS = 12


def kaiser_sinc(cutoff: float, half_width: float, taps: int) -> Tensor:
    """Return a low-pass filter (taps,), an even number of taps, whose sum is 1.

    Args:
        cutoff: as a share of the sample rate; 0.5 is the Nyquist frequency.
        half_width: half of the transition band, in the same unit.
    """
    attenuation = 2.285 * (taps / 2 - 1) * math.pi * 4 * half_width + 7.95
    if attenuation > 50:
        beta = 0.1102 * (attenuation - 8.7)
    elif attenuation >= 21:
        beta = 0.5842 * (attenuation - 21) ** 0.4 + 0.07886 * (attenuation - 21)
    else:
        beta = 0.0
    window = torch.kaiser_window(taps, periodic=False, beta=beta)
    time = torch.arange(taps) - taps / 2 + 0.5
    shape = window * torch.sinc(2 * cutoff * time)
    return shape / shape.sum()


class Snake(nn.Module):
    """x + sin²(αx) / α, or / β (SnakeBeta); one α and β for each channel.

    Args:
        channels: C of the input (B, C, T).
        beta: learn β separately from α.
        log_scale: the parameters are logarithms.
    """

    def __init__(self, channels: int, beta: bool, log_scale: bool) -> None:
        super().__init__()
        self.log_scale = log_scale
        initial = torch.zeros(channels) if log_scale else torch.ones(channels)
        self.alpha = nn.Parameter(initial.clone())
        self.beta = nn.Parameter(initial.clone()) if beta else None

    def forward(self, x: Tensor) -> Tensor:
        alpha = self._positive(self.alpha)
        beta = alpha if self.beta is None else self._positive(self.beta)
        return x + torch.sin(x * alpha).square() / (beta + 1e-9)

    def _positive(self, parameter: Tensor) -> Tensor:
        return (parameter.exp() if self.log_scale else parameter)[:, None]


class AntiAliased(nn.Module):
    """Apply `act` at twice the sample rate; (B, C, T) -> (B, C, T)."""

    taps: Tensor

    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.act = act
        self.register_buffer("taps", kaiser_sinc(0.5 / RATIO, 0.6 / RATIO, TAPS), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return downsample(self.act(upsample(x, self.taps)), self.taps)

    def input_span(self, span: Span) -> Span:
        span = conv_span(span, TAPS, RATIO, padding=TAPS // 2 - 1)
        pad, left, _ = _upsampling_edges()
        span = conv_transpose_span(span, TAPS, RATIO, padding=left)
        return span[0] - pad, span[1] - pad


def _upsampling_edges() -> tuple[int, int, int]:
    """Return the number of samples that are repeated at each end, and that are cut afterwards on the left and
    right."""
    pad = TAPS // RATIO - 1
    return pad, pad * RATIO + (TAPS - RATIO) // 2, pad * RATIO + (TAPS - RATIO + 1) // 2


def upsample(x: Tensor, taps: Tensor) -> Tensor:
    """Upsample (B, C, T) to (B, C, 2 T); edges are replicated."""
    pad, left, right = _upsampling_edges()
    channels = x.shape[1]
    padded = F.pad(x, (pad, pad), mode="replicate")
    y = RATIO * F.conv_transpose1d(padded, taps.expand(channels, 1, -1), stride=RATIO, groups=channels)
    return y[..., left : y.shape[-1] - right]


def downsample(x: Tensor, taps: Tensor) -> Tensor:
    """Downsample (B, C, T) to (B, C, T / 2); edges are replicated."""
    channels = x.shape[1]
    padded = F.pad(x, (TAPS // 2 - 1, TAPS // 2), mode="replicate")
    return F.conv1d(padded, taps.expand(channels, 1, -1), stride=RATIO, groups=channels)
