"""Measure the bandwidth of a recording, which may be less than half of its sample rate.

A file at 16 kHz often has been resampled from 8 kHz and has no content above 4 kHz. Super-resolution adds
content above the bandwidth of a recording.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from audiotool.dsp.framing import StreamingFrames, hann

FRAME_SECONDS = 0.032
RANGE_DB = 70.0
"""Greatest level difference of content from the strongest band. Clean speech at 8 kHz is about 50 dB below
its strongest band, and resamplers attenuate what they cut by more than 80 dB."""

LOWEST_HZ = 200.0
"""Lowest frequency of the strongest band: a constant offset, or mains hum and its first harmonics, may be
louder than the speech."""

ROUNDING_DB = 120.0
"""Level difference from the strongest bin of all at which a spectrum is rounding errors of 32-bit floats."""


class BandwidthMeter:
    """Mean power spectrum of each channel of a stream of blocks, and the highest frequency that carries
    content.

    Args:
        sample_rate: Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        n_fft = 2 * round(FRAME_SECONDS * sample_rate / 2)
        self._frames = StreamingFrames(n_fft, n_fft // 2, padding="none")
        # In 64 bits, because powers of samples far beyond full scale exceed the range of 32.
        self._window = hann(n_fft, n_fft).astype(np.float64)
        self._state: tuple[NDArray[np.float32], int] | None = None
        self._power = np.zeros((1, n_fft // 2 + 1))  # (channels, bins)

    def feed(self, block: NDArray[np.float32]) -> None:
        """Count (channels, time) in."""
        frames, self._state = self._frames.step(block, self._state)
        # One channel at a time limits memory: overlapping frames have 1.5 times the samples of a block.
        power = np.empty((len(frames), self._power.shape[-1]))
        for own, channel in zip(power, frames, strict=True):
            spec = np.fft.rfft(channel * self._window)
            own[:] = np.square(spec.real).sum(0) + np.square(spec.imag).sum(0)
        self._power = self._power + power

    def bandwidths_hz(self) -> list[float | None]:
        """Upper edge of the content of each channel in Hz; None for silence or less than a frame of sound.

        A channel that is as far under the loudest as content may be under its strongest band is silent, too.
        """
        bins = self._power.shape[-1] - 1
        lowest = math.ceil(LOWEST_HZ * 2 * bins / self.sample_rate)
        peaks = self._power[:, lowest:].max(axis=-1)
        least = max(peaks.max() * _ratio(RANGE_DB), self._power.max() * _ratio(ROUNDING_DB))
        edges: list[float | None] = []
        for power, peak in zip(self._power, peaks, strict=True):
            audible = np.flatnonzero(power > peak * _ratio(RANGE_DB)) if peak > least else None
            top = None if audible is None else min(int(audible.max()) + 1, bins)
            edges.append(None if top is None else top / bins * self.sample_rate / 2)
        return edges

    def bandwidth_hz(self) -> float | None:
        """Upper edge of the content of all channels in Hz; None for silence or less than a frame of sound."""
        return max((edge for edge in self.bandwidths_hz() if edge is not None), default=None)


def _ratio(decibels: float) -> float:
    return float(10 ** (-decibels / 10))
