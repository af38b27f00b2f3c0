"""Filterbanks on the equivalent-rectangular-bandwidth (ERB) scale."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def hz_to_erb(frequency_hz: np.ndarray | float) -> np.ndarray:
    """ERB number of a frequency: 21.4 log10(0.00437 f + 1). Glasberg and Moore, Hearing Research 47, 1990."""
    return 21.4 * np.log10(0.00437 * np.asarray(frequency_hz) + 1)


def erb_to_hz(erb: np.ndarray | float) -> np.ndarray:
    """Frequency in Hz of an ERB number; the inverse of `hz_to_erb`."""
    return (10 ** (np.asarray(erb) / 21.4) - 1) / 0.00437


def erb_filterbank(first_bin: int, bands: int, n_fft: int, sample_rate: int) -> Tensor:
    """Triangular bands spaced evenly on the ERB scale from `first_bin` to the Nyquist frequency.

    Args:
        first_bin: bins below it belong to no band.
        bands: number of bands.
    Returns:
        (bands, n_fft // 2 + 1 - first_bin) weights of 0 to 1; each bin's weights sum to 1.
    """
    low, high = hz_to_erb(np.array([first_bin / n_fft * sample_rate, sample_rate / 2]))
    centres = np.round(erb_to_hz(np.linspace(low, high, bands)) / sample_rate * n_fft).astype(int)
    bins = np.arange(n_fft // 2 + 1)
    filters = np.stack([np.interp(bins, centres, row) for row in np.eye(bands)])
    return torch.from_numpy(filters[:, first_bin:]).float()
