"""Filterbanks on the equivalent-rectangular-bandwidth (ERB) scale."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


def hz_to_erb(frequency_hz: np.ndarray | float) -> np.ndarray:
    """Return the ERB number 21.4 log10(0.00437 f + 1) of f Hz. Glasberg, Moore, Hearing Research, 1990."""
    return 21.4 * np.log10(0.00437 * np.asarray(frequency_hz) + 1)


def erb_to_hz(erb: np.ndarray | float) -> np.ndarray:
    """Return the frequency in Hz of an ERB number; the inverse of `hz_to_erb`."""
    return (10 ** (np.asarray(erb) / 21.4) - 1) / 0.00437


def erb_filterbank(first_bin: int, bands: int, n_fft: int, sample_rate: int) -> Tensor:
    """Return triangular bands, spaced evenly on the ERB scale from `first_bin` to the Nyquist frequency.

    Args:
        first_bin: bins below it belong to no band.
        bands: number of bands.
    Returns:
        (bands, n_fft // 2 + 1 - first_bin) weights of 0 to 1; each bin's weights sum to 1.
    """
    import torch

    low, high = hz_to_erb(np.array([first_bin / n_fft * sample_rate, sample_rate / 2]))
    centres = np.round(erb_to_hz(np.linspace(low, high, bands)) / sample_rate * n_fft).astype(int)
    bins = np.arange(n_fft // 2 + 1)
    filters = np.stack([np.interp(bins, centres, row) for row in np.eye(bands)])
    return torch.from_numpy(filters[:, first_bin:]).float()


def erb_widths(bands: int, n_fft: int, sample_rate: int, min_bins: int) -> list[int]:
    """Return widths in bins of rectangular bands, equal on the ERB scale, as in DeepFilterNet's libDF.

    The scale is 9.265 log(1 + f / (24.7 * 9.265)). A band that would be narrower than `min_bins` takes bins
    of the next one.

    Returns:
        `bands` widths whose sum is n_fft // 2 + 1.
    Raises:
        ValueError: there are more bands than bins.
    """
    quality = 24.7 * 9.265
    top = 9.265 * np.log1p(sample_rate / 2 / quality)
    edges = quality * np.expm1(np.arange(1, bands + 1) * top / bands / 9.265)
    last_bins = np.floor(edges / sample_rate * n_fft + 0.5).astype(int)
    widths, before, borrowed = [], 0, 0
    for last in last_bins:
        width = int(last) - before - borrowed
        borrowed = max(min_bins - width, 0)
        widths.append(max(width, min_bins))
        before = int(last)
    widths[-1] += n_fft // 2 + 1 - sum(widths)
    if widths[-1] < 1:
        raise ValueError(f"{bands} bands of {min_bins} bins or more do not fit into {n_fft // 2 + 1} bins")
    return widths
