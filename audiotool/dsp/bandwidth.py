"""Measure the bandwidth of a recording, which may be less than half of its sample rate.

A file at 16 kHz often has been resampled from 8 kHz and has no content above 4 kHz. Super-resolution adds
content above the bandwidth of a recording.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from audiotool.dsp.framing import StreamingFrames, hann

FRAME_SECONDS = 0.032
RANGE_DB = 70.0
"""Greatest level difference of content from the strongest band. Clean speech at 8 kHz is about 50 dB below
its strongest band, and resamplers attenuate what they cut by more than 80 dB."""


class BandwidthMeter:
    """Mean power spectrum of a stream of blocks, and the highest frequency that carries content.

    Args:
        sample_rate: Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        n_fft = 2 * round(FRAME_SECONDS * sample_rate / 2)
        self._frames = StreamingFrames(n_fft, n_fft // 2, padding="none")
        self._window = hann(n_fft, n_fft)
        self._state: tuple[NDArray[np.float32], int] | None = None
        self._power = np.zeros(n_fft // 2 + 1)
        self._count = 0

    def feed(self, block: NDArray[np.float32]) -> None:
        """Count (channels, time) in."""
        frames, self._state = self._frames.step(block, self._state)
        # One channel at a time limits memory: overlapping frames have 1.5 times the samples of a block.
        for channel in frames:
            spec = np.fft.rfft(channel * self._window)
            self._power += np.square(spec.real).sum(0, dtype=np.float64)
            self._power += np.square(spec.imag).sum(0, dtype=np.float64)
        self._count += frames.shape[1]

    def bandwidth_hz(self) -> float | None:
        """Upper edge of the content in Hz; None for silence or less than a frame of sound."""
        peak = self._power.max()
        if not self._count or peak <= 0:
            return None
        audible = np.flatnonzero(self._power > peak * 10 ** (-RANGE_DB / 10))
        bins = len(self._power) - 1
        return float(min(audible.max() + 1, bins) / bins * self.sample_rate / 2)
