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

ABOVE_ROUNDING_DB = 10.0
"""Level of content above the noise of rounding to integers. Dither adds 5 dB to that noise."""

FULL_BAND = 0.95
"""Share of the band that model and output both have, up to which a recording has content when it is not
extended; a remark says so."""

LINE_HZ, GAP_HZ = 800.0, 2000.0
"""Greatest width of a line in a spectrum, and least gap below it. A line is no edge of content: the whistle
of a television set at 15.6 kHz, the pilot tone of FM at 19 kHz. Harmonics are closer to each other."""

COARSEST, FINEST = 2.0**-7, 2.0**-23
"""Steps of samples of 8 and of 24 bits."""


class BandwidthMeter:
    """Mean power spectrum of each channel of a stream of blocks, and the highest frequency that carries
    content.

    A click or an abrupt onset fills the spectrum of its frame, and there would outweigh minutes of speech.
    Each bin's power is therefore the lower one of two successive frames, which do not overlap.

    The noise of rounding to integers is no content, and in quiet recordings it is not far below the speech.
    Its power is known from the samples: integers are multiples of a power of two.

    Args:
        sample_rate: Hz.
    """

    def __init__(self, sample_rate: int) -> None:
        self.sample_rate = sample_rate
        n_fft = 2 * round(FRAME_SECONDS * sample_rate / 2)
        self._frames = StreamingFrames(n_fft, n_fft, padding="none")
        # In 64 bits, because powers of samples far beyond full scale exceed the range of 32.
        self._window = hann(n_fft, n_fft).astype(np.float64)
        self._state: tuple[NDArray[np.float32], int] | None = None
        self._last = np.zeros((1, 0, n_fft // 2 + 1))  # powers of the last frame, if any: (channels, 1, bins)
        self._power = np.zeros((1, n_fft // 2 + 1))  # (channels, bins)
        self._count = 0  # pairs of frames in it
        self._step = COARSEST

    def feed(self, block: NDArray[np.float32]) -> None:
        """Count (channels, time) in."""
        frames, self._state = self._frames.step(block, self._state)
        self._step = _step_of(block, self._step)
        last = np.broadcast_to(self._last, (len(frames), *self._last.shape[1:]))
        power, ends = np.empty((len(frames), self._power.shape[-1])), []
        # One channel at a time limits memory: spectra have twice the precision of a block.
        for own, before, channel in zip(power, last, frames, strict=True):
            spec = np.fft.rfft(channel * self._window)
            powers = np.concatenate((before, np.square(spec.real) + np.square(spec.imag)))
            own[:] = np.minimum(powers[:-1], powers[1:]).sum(0)
            ends.append(powers[-1:])
        self._count += max(0, last.shape[1] + frames.shape[1] - 1)
        self._last = np.stack(ends)
        self._power = self._power + power

    def bandwidths_hz(self) -> list[float | None]:
        """Upper edge of the content of each channel in Hz; None for silence or less than 64 ms of sound.

        A channel that is as far under the loudest as content may be under its strongest band is silent, too.
        """
        bins = self._power.shape[-1] - 1
        lowest = math.ceil(LOWEST_HZ * 2 * bins / self.sample_rate)
        peaks = self._power[:, lowest:].max(axis=-1)
        least = max(peaks.max() * _ratio(RANGE_DB), self._power.max() * _ratio(ROUNDING_DB))
        rounding = self._count * np.square(self._window).sum() * self._step**2 / 12
        edges: list[float | None] = []
        for power, peak in zip(self._power, peaks, strict=True):
            floor = max(peak * _ratio(RANGE_DB), rounding * _ratio(-ABOVE_ROUNDING_DB))
            top = self._top(power > floor) + 1 if peak > max(least, floor) else None
            edges.append(None if top is None else min(top, bins) / bins * self.sample_rate / 2)
        return edges

    def _top(self, audible: NDArray[np.bool_]) -> int:
        """Return the highest audible bin that is of no line; the highest of all where there are lines
        alone."""
        heard = np.flatnonzero(audible)
        hertz = 2 * (len(audible) - 1) / self.sample_rate  # bins in one
        near, far = round(LINE_HZ * hertz), round((LINE_HZ + GAP_HZ) * hertz)
        content = heard[np.searchsorted(heard, heard - far) < np.searchsorted(heard, heard - near, "right")]
        return int(content[-1] if content.size else heard[-1])

    def bandwidth_hz(self) -> float | None:
        """Upper edge of the content of all channels in Hz; None for silence or less than 64 ms of sound."""
        return max((edge for edge in self.bandwidths_hz() if edge is not None), default=None)


def _step_of(samples: NDArray[np.float32], step: float) -> float:
    """Return the greatest power of two up to `step` of which all samples are multiples, 0 below FINEST."""
    while step and not _are_integers(samples * np.float32(1 / step)):
        step = step / 2 if step > FINEST else 0.0
    return step


def _are_integers(values: NDArray[np.float32]) -> bool:
    return bool((values == np.rint(values)).all())


def _ratio(decibels: float) -> float:
    return float(10 ** (-decibels / 10))
