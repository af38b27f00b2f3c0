"""Constant-Q transform by octaves, with the same kernels at half the sample rate of the octave above.

    octave 9   rate sr       hop h        kernels (bins_per_octave, n_fft)
    octave 8   rate sr / 2   hop h / 2    the same kernels
    …

Brown, Puckette: An efficient algorithm for the calculation of a constant Q transform, JASA 1992; Schörkhuber,
Klapuri: Constant-Q transform toolbox for music processing, SMC 2010.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

FMIN = 32.70
"""Frequency of the lowest bin in Hz: the note C1."""

HALVING_TAPS = 256


class ConstantQ(nn.Module):
    """Waveform (B, 1, T) -> complex (B, n_octaves * bins_per_octave, T // hop_length + 1), low bins first.

    Args:
        sample_rate: Hz.
        hop_length: samples between frames; halved at every octave, so a multiple of 2 ** (n_octaves - 1).
        n_octaves: number of octaves above FMIN.
        bins_per_octave: number of bins of equal frequency ratio in an octave.
    Raises:
        ValueError: the hop cannot be halved often enough, or the top bin is beyond half the sample rate.
    """

    kernels: Tensor
    halving: Tensor
    gains: Tensor

    def __init__(self, sample_rate: int, hop_length: int, n_octaves: int, bins_per_octave: int) -> None:
        super().__init__()
        if hop_length % 2 ** (n_octaves - 1):
            raise ValueError(f"hop_length {hop_length} cannot be halved {n_octaves - 1} times")
        self.hop_length, self.n_octaves = hop_length, n_octaves
        bins = torch.arange(n_octaves * bins_per_octave, dtype=torch.float64)
        frequencies = FMIN * 2 ** (bins / bins_per_octave)
        if frequencies[-1] > sample_rate / 2:
            raise ValueError(f"the top bin, {frequencies[-1]:.0f} Hz, is beyond half of {sample_rate} Hz")
        quality = 1 / (2 ** (1 / bins_per_octave) - 1)
        lengths = torch.ceil(quality * sample_rate / frequencies)
        top = slice(-bins_per_octave, None)
        kernels = _kernels(frequencies[top] / sample_rate, lengths[top])
        self.register_buffer("kernels", kernels, persistent=False)
        self.register_buffer("halving", _halving_filter(), persistent=False)
        self.register_buffer("gains", lengths.sqrt().float()[:, None], persistent=False)

    def forward(self, waveform: Tensor) -> Tensor:
        """(B, 1, T) -> complex (B, bins, frames)."""
        n_fft, x, hop = self.kernels.shape[-1], waveform, self.hop_length
        octaves: list[Tensor] = []
        for octave in range(self.n_octaves):
            if octave:
                x = F.conv1d(x, self.halving, stride=2, padding=(HALVING_TAPS - 1) // 2)
                hop //= 2
            parts = F.conv1d(F.pad(x, (n_fft // 2, n_fft // 2)), self.kernels, stride=hop)
            octaves.insert(0, torch.complex(*parts.chunk(2, dim=1)))
        return torch.cat(octaves, dim=1) * self.gains


def _kernels(frequencies: Tensor, lengths: Tensor) -> Tensor:
    """Return windowed exponentials of unit L1 norm (2 bins, 1, n_fft): real, then negated imaginary parts.

    Args:
        frequencies: frequencies of the bins over the sample rate.
        lengths: lengths of the bins' windows in samples.
    """
    n_fft = 2 ** math.ceil(math.log2(float(lengths.max())))
    kernels = torch.zeros(len(frequencies), n_fft, dtype=torch.complex128)
    for row, frequency, size in zip(kernels, frequencies, lengths.int().tolist(), strict=True):
        start = math.ceil(n_fft / 2 - size / 2) - size % 2
        time = torch.arange(size, dtype=torch.float64) - (size + 1) // 2
        window = torch.hann_window(size, dtype=torch.float64)
        tone = torch.polar(window, 2 * math.pi * frequency * time)
        row[start : start + size] = tone / tone.abs().sum()
    return torch.cat((kernels.real, -kernels.imag))[:, None].float()


def _halving_filter() -> Tensor:
    """Return a half-band low-pass (1, 1, HALVING_TAPS), by frequency sampling with a Hamming window."""
    width = 0.001
    grid = torch.linspace(0, 1, HALVING_TAPS + 1, dtype=torch.float64)
    passband, stopband = 0.5 / (1 + width), 0.5 * (1 + width)
    gain = ((stopband - grid) / (stopband - passband)).clamp(0, 1)
    centre = (HALVING_TAPS - 1) / 2
    response = torch.fft.irfft(torch.polar(gain, -math.pi * centre * grid))[:HALVING_TAPS]
    window = torch.hamming_window(HALVING_TAPS, periodic=False, dtype=torch.float64)
    return (response * window).float()[None, None]
