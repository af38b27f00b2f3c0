"""A waveform as compressed magnitude and phase, and back: the domain of MP-SENet and MambAttention."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiotool.dsp.stft import power_spectrum
from audiotool.dsp.windows import make_window


class MagnitudePhase(nn.Module):
    """Hann STFT (centred, reflected edges) with its magnitude raised to a power.

    Args:
        n_fft, hop_length, win_length: samples.
        exponent: exponent of the magnitude; 0.3 as published.
        power_offset: added to re^2 + im^2 before the root, which keeps its gradient finite in silence.
        phase_offsets: added to (re, im) before the arctangent. They move the phase of near-silent bins, so
            published weights need the published values.
    """

    window: Tensor

    def __init__(
        self,
        n_fft: int,
        hop_length: int,
        win_length: int,
        exponent: float = 0.3,
        power_offset: float = 0.0,
        phase_offsets: tuple[float, float] = (0.0, 0.0),
    ) -> None:
        super().__init__()
        self.n_fft = n_fft
        self.hop_length = hop_length
        self.exponent = exponent
        self.power_offset = power_offset
        self.phase_offsets = phase_offsets
        self.register_buffer("window", make_window("hann", n_fft, win_length), persistent=False)

    def analyse(self, waveform: Tensor) -> tuple[Tensor, Tensor]:
        """Analyse (B, T) into compressed magnitude and phase in radians, each (B, F, T // hop_length + 1)."""
        short = self.n_fft // 2 + 1 - waveform.shape[-1]
        if short > 0:
            # Reflection needs more samples than it adds.
            waveform = F.pad(waveform, (0, short))
        spec = torch.stft(waveform, self.n_fft, self.hop_length, window=self.window, return_complex=True)
        if self.power_offset or any(self.phase_offsets):
            mag = (power_spectrum(spec) + self.power_offset).sqrt()
            phase = torch.atan2(spec.imag + self.phase_offsets[1], spec.real + self.phase_offsets[0])
        else:
            mag, phase = spec.abs(), spec.angle()
        return mag.pow(self.exponent), phase

    def synthesise(self, mag: Tensor, phase: Tensor, length: int) -> Tensor:
        """Synthesise (B, length) from compressed magnitude and phase in radians, each (B, F, frames)."""
        spec = torch.polar(mag.clamp(min=0).pow(1 / self.exponent), phase)
        covered = (spec.shape[-1] - 1) * self.hop_length + self.n_fft // 2
        y = torch.istft(spec, self.n_fft, self.hop_length, window=self.window, length=min(length, covered))
        return F.pad(y, (0, length - y.shape[-1]))


def as_complex(mag: Tensor, phase: Tensor) -> Tensor:
    """Return real and imaginary parts on a new last axis: (B, F, T) -> (B, F, T, 2)."""
    return torch.stack((mag * phase.cos(), mag * phase.sin()), dim=-1)
