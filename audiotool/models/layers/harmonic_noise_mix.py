"""The last step of NSF vocoders: add a harmonic branch below and a noise branch above a varying frequency.

Wang, Yamagishi: Neural Harmonic-plus-Noise Waveform Model with Trainable Maximum Voice Frequency, SSW 2019,
arXiv:1908.10256; fixed filters as in Wang, Takaki, Yamagishi, TASLP 2020, arXiv:1904.12088.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiotool.models.base import State

LOW_VOICED = (
    0.08538414199291068, 0.04920229475534168, -0.1470178606967731, 0.24737764593887432, 0.7103067853166558,
    0.24737764593887432, -0.1470178606967731, 0.04920229475534168, 0.08538414199291068,
)  # fmt: skip
LOW_UNVOICED = (
    0.00936455546502, 0.0416254862901, 0.0878313219556, 0.146086321198, 0.192602581136, 0.211221591449,
    0.192602581136, 0.146086321198, 0.0878313219556, 0.0416254862901, 0.00936455546502,
)  # fmt: skip
# The high-pass filters are the low-pass ones moved to the Nyquist frequency: every other tap changes sign.
HIGH_VOICED = tuple(-tap if n % 2 == 0 else tap for n, tap in enumerate(LOW_UNVOICED))
HIGH_UNVOICED = (
    0.0853841419929, -0.0492022947553, -0.147017860697, -0.247377645939, 0.710306785317,
    -0.247377645939, -0.147017860697, -0.0492022947553, 0.0853841419929,
)  # fmt: skip


class SincMix(nn.Module):
    """Low-pass the harmonic and high-pass the noise branch with filters that change at each sample."""

    index: Tensor

    def __init__(self, order: int) -> None:
        super().__init__()
        self.history = order - 1
        half = order // 2
        self.register_buffer("index", torch.arange(-half, half + 1, dtype=torch.float32), persistent=False)

    def taps(self, cutoff: Tensor) -> tuple[Tensor, Tensor]:
        """Return low-pass and high-pass filters (B, T, order) for cutoffs (B, 1, T) as shares of the Nyquist
        frequency.

        Hamming-windowed sinc functions, scaled to gain 1 at zero and at the Nyquist frequency.
        """
        c, n = cutoff.transpose(1, 2), self.index
        window = 0.54 + 0.46 * torch.cos(2 * torch.pi * n / n.numel())
        inner = c * torch.sinc(c * n)
        low = inner * window
        high = (torch.sinc(n) - inner) * window
        sign = 1 - 2 * (n.abs() % 2)
        return low / low.sum(-1, keepdim=True), high / (high * sign).sum(-1, keepdim=True)

    def forward(self, harmonic: Tensor, hiss: Tensor, cutoff: Tensor, state: State) -> tuple[Tensor, State]:
        both = _with_history(torch.cat((harmonic, hiss), dim=1), state, self.history)
        frames = both.unfold(-1, self.history + 1, 1).flip(-1)
        low, high = self.taps(cutoff)
        y = (frames[:, 0] * low).sum(-1) + (frames[:, 1] * high).sum(-1)
        return y[:, None], _last(both, self.history)


class FixedMix(nn.Module):
    """Low-pass and high-pass with fixed filters, one pair for voiced and one for unvoiced samples."""

    history = max(len(LOW_VOICED), len(LOW_UNVOICED)) - 1
    taps: Tensor

    def __init__(self) -> None:
        super().__init__()
        rows = [LOW_VOICED, HIGH_VOICED, LOW_UNVOICED, HIGH_UNVOICED]
        # conv1d correlates: taps are reversed, and shorter filters padded on the side of the past.
        padded = [[0.0] * (self.history + 1 - len(row)) + list(reversed(row)) for row in rows]
        self.register_buffer("taps", torch.tensor(padded).reshape(2, 2, -1), persistent=False)

    def forward(self, harmonic: Tensor, hiss: Tensor, voiced: Tensor, state: State) -> tuple[Tensor, State]:
        both = _with_history(torch.cat((harmonic, hiss), dim=1), state, self.history)
        y = F.conv1d(both, self.taps)
        weight = torch.sigmoid((voiced - 0.5) * 10)
        return y[:, :1] * weight + y[:, 1:] * (1 - weight), _last(both, self.history)


def _with_history(x: Tensor, state: Tensor | None, length: int) -> Tensor:
    """Prepend the last `length` samples to x, zeros at the beginning of a stream."""
    return F.pad(x, (length, 0)) if state is None else torch.cat((state, x), dim=-1)


def _last(x: Tensor, length: int) -> Tensor:
    return x[..., x.shape[-1] - length :].clone()
