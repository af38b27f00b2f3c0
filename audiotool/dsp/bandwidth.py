"""How far up a recording's content reaches, whatever its sample rate says.

A file at 16 kHz is often one at 8 kHz that somebody resampled: above 4 kHz there is nothing. Super-resolution
needs to know where to begin.
"""

from __future__ import annotations

import torch
from torch import Tensor

from audiotool.dsp.stft import StreamingSTFT

FRAME_SECONDS = 0.032
RANGE_DB = 70.0
"""Content lies within this of the strongest band: clean speech at 8 kHz lies about 50 dB below its strongest,
resamplers leave less than 80 dB of what they cut."""


class BandwidthMeter:
    """Mean power spectrum of a stream of blocks, and the highest frequency that carries content.

    Args:
        sample_rate: Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        n_fft = 2 * round(FRAME_SECONDS * sample_rate / 2)
        self._analysis = StreamingSTFT(n_fft, n_fft // 2, padding="none")
        self._state: tuple[Tensor, int] | None = None
        self._power = torch.zeros(n_fft // 2 + 1, dtype=torch.float64)
        self._frames = 0

    def feed(self, block: Tensor) -> None:
        """Count (B, C, T) in."""
        spec, self._state = self._analysis(block.flatten(0, 1), self._state)
        if spec.shape[-1]:
            self._power += spec.abs().square().sum((0, 2), dtype=torch.float64).cpu()
            self._frames += spec.shape[-1]

    def bandwidth_hz(self) -> float | None:
        """Upper edge of the content in Hz; None for silence or less than a frame of sound."""
        peak = self._power.max().item()
        if not self._frames or peak <= 0:
            return None
        audible = (self._power > peak * 10 ** (-RANGE_DB / 10)).nonzero()
        bins = len(self._power) - 1
        return float(min(audible.max().item() + 1, bins) / bins * self.sample_rate / 2)
