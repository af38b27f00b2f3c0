"""Parts of synthetic noises: noise of a given spectrum, and tones."""

from __future__ import annotations

import numpy as np
import scipy.fft

from audiotool.data.clips import Samples


def shaped(rng: np.random.Generator, shape: Samples, size: int) -> Samples:
    """Return noise (size,) with the given amplitude spectrum (size // 2 + 1,)."""
    noise = scipy.fft.rfft(rng.standard_normal(size, dtype=np.float32))
    return scipy.fft.irfft(noise * shape, size)


def harmonics(rng: np.random.Generator, frequency: np.ndarray, strengths: np.ndarray) -> Samples:
    """Return the sum of sines at the multiples of a frequency in cycles a sample, with random phases.

    The sines come from powers of one rotating phasor: a multiplication each instead of a sine.
    """
    phasor = np.exp(2j * np.pi * np.cumsum(frequency)).astype(np.complex64)
    phases = (strengths * np.exp(2j * np.pi * rng.random(len(strengths)))).astype(np.complex64)
    total = np.zeros_like(phasor)
    for weight in phases[::-1]:  # Horner's scheme
        total = (total + weight) * phasor
    return np.ascontiguousarray(total.imag)
