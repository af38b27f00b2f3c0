"""The overview of a recording: spectrum, extremes and level over time, in a few hundred columns.

The recording comes once, in blocks of any length; the memory does not depend on its length. When there are
too many columns, every two neighbours are merged.

    samples  |----|----|----|----|----|----|      cells of one hop: lowest, highest, mean square
    frames  [------------]                        centred on their cells: power spectrum
    columns  |---------|---------|---------|      means (and extremes) of 1, 2, 4, … cells
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audiotool.errors import InputError

COLUMNS = 512
"""Greatest number of columns of an overview."""
ENOUGH = 320
"""Number of columns of a recording that is long enough: more cost time and are hardly visible."""
BANDS = 96
"""Number of rows of a spectrogram, equally spaced on the mel scale."""
WINDOW_S = 0.032
"""Shortest window in seconds; the next power of two in samples is used."""
FINEST_HOPS, COARSEST_HOPS = 8, 2
"""Number of hops in a window: of a short recording, and of a long one."""
RANGE_DB = 80.0
"""Level range of a spectrogram's colours."""
TICKS_HZ = (500, 1000, 2000, 4000, 8000, 16000, 32000)
"""Frequencies that have a label beside a spectrogram."""
EDGES = 3
"""Number of a column's values before its spectrum: lowest and highest sample, and mean square."""
AT_ONCE = 400
"""Number of frames that are transformed together."""
LARGEST = 1e15
"""Greatest absolute sample whose power, summed over the bins of a band, float32 holds."""

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Overview:
    """The columns of a recording of one channel.

    Args:
        seconds: length of the recording.
        column_s: length of a column in seconds.
        spectrum: (columns, BANDS) mean power of the bins of a band; the bin of a sine of amplitude a has a².
        low, high: (columns,) lowest and highest sample.
        power: (columns,) mean square of the samples.
    """

    seconds: float
    column_s: float
    spectrum: Samples
    low: Samples
    high: Samples
    power: Samples

    @property
    def peak(self) -> float:
        """Greatest absolute sample."""
        return float(max(-self.low.min(initial=0.0), self.high.max(initial=0.0)))


class OverviewBuilder:
    """Builds the overview of one recording, which comes in blocks.

    Args:
        sample_rate: Hz.
        top_hz: highest frequency of the spectrum in Hz; frequencies above it are left out.
        frames: expected number of samples; None if it is not known.
    """

    def __init__(self, sample_rate: int, top_hz: float, frames: int | None) -> None:
        self.sample_rate = sample_rate
        self.window = 1 << math.ceil(math.log2(max(WINDOW_S * sample_rate, 8)))
        ideal = self.window if frames is None else -(-frames // ENOUGH)
        self.hop = min(max(ideal, self.window // FINEST_HOPS), self.window // COARSEST_HOPS)
        taps = np.hanning(self.window + 1)[:-1]
        self._taps = (taps * (2 / taps.sum())).astype(np.float32)
        self._rows = _row_weights(sample_rate, self.window, top_hz)
        # A frame begins before its cell, so silence is put before the recording.
        self._lead = (self.window - self.hop) // 2
        self._waiting: Samples = np.zeros(self._lead, np.float32)
        self.frames = 0
        self._factor = 1
        self._cells = np.zeros((0, EDGES + BANDS), np.float32)
        self._columns = self._cells

    def feed(self, samples: Samples) -> None:
        """Take the next samples, (time,).

        Raises:
            InputError: a sample is so large that powers would be infinite.
        """
        peak = float(np.abs(samples).max(initial=0.0))
        if peak > LARGEST:
            raise InputError(f"a sample of {peak:.3g} is too far beyond full scale for a picture")
        self.frames += len(samples)
        self._waiting = np.concatenate((self._waiting, samples))
        self._measure()

    def finish(self) -> Overview:
        """Return the overview; nothing can be fed after this."""
        cells = -(-self.frames // self.hop)
        end = max(0, (cells - 1) * self.hop + self.window - self._lead - self.frames) if cells else 0
        self._waiting = np.concatenate((self._waiting, np.zeros(end, np.float32)))
        self._measure()
        if len(self._cells):
            self._columns = np.concatenate((self._columns, _merged(self._cells[None])))
        while len(self._columns) > COLUMNS:
            self._halve()
        table = self._columns
        column_s = self._factor * self.hop / self.sample_rate
        seconds = self.frames / self.sample_rate
        return Overview(seconds, column_s, table[:, EDGES:], table[:, 0], table[:, 1], table[:, 2])

    def _measure(self) -> None:
        """Turn the complete frames among the waiting samples into cells."""
        count = max(0, (len(self._waiting) - self.window) // self.hop + 1)
        for first in range(0, count, AT_ONCE):
            last = min(first + AT_ONCE, count)
            part = self._waiting[first * self.hop : (last - 1) * self.hop + self.window]
            frames = np.lib.stride_tricks.sliding_window_view(part, self.window)[:: self.hop]
            cells = frames[:, self._lead : self._lead + self.hop]
            spectrum = np.fft.rfft(frames * self._taps)
            power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32) @ self._rows
            edges = (cells.min(1), cells.max(1), np.einsum("ct,ct->c", cells, cells) / self.hop)
            self._add(np.column_stack((*edges, power)))
        self._waiting = self._waiting[count * self.hop :]

    def _add(self, cells: Samples) -> None:
        """Add cells, and turn those that fill columns into columns."""
        self._cells = np.concatenate((self._cells, cells))
        while len(self._cells) >= self._factor:
            count = min(len(self._cells) // self._factor, 2 * COLUMNS - len(self._columns))
            used = self._cells[: count * self._factor]
            self._cells = self._cells[len(used) :]
            made = _merged(used.reshape(count, self._factor, -1))
            self._columns = np.concatenate((self._columns, made))
            if len(self._columns) == 2 * COLUMNS:
                self._halve()

    def _halve(self) -> None:
        """Merge every two neighbouring columns; a last one without a partner stays as it is."""
        even = len(self._columns) // 2 * 2
        pairs = self._columns[:even].reshape(even // 2, 2, -1)
        self._columns = np.concatenate((_merged(pairs), self._columns[even:]))
        self._factor *= 2


def mel(hz: float) -> float:
    """Return a frequency in Hz as mel (O'Shaughnessy, 1987), in which the rows are equally spaced."""
    return 2595 * math.log10(1 + hz / 700)


def _merged(groups: Samples) -> Samples:
    """Merge the cells of each group: (groups, cells, values) -> (groups, values).

    The first value becomes the least, the second the greatest, the others become means.
    """
    merged = groups.mean(1, dtype=np.float32)
    merged[:, 0] = groups[:, :, 0].min(1)
    merged[:, 1] = groups[:, :, 1].max(1)
    return merged


@functools.lru_cache(maxsize=16)
def _row_weights(sample_rate: int, window: int, top_hz: float) -> Samples:
    """Return the weights (bins, BANDS): each row is a mean over its bins, or interpolates the two nearest."""
    bins = np.arange(window // 2 + 1) * sample_rate / window
    centres = 700 * (10 ** (np.linspace(0, mel(top_hz), BANDS) / 2595) - 1)
    half = np.maximum(np.gradient(centres), sample_rate / window)
    weights = np.maximum(0, 1 - np.abs(bins[:, None] - centres) / half)
    weights /= np.maximum(weights.sum(0), 1e-9)
    weights[:, centres > sample_rate / 2] = 0
    return weights.astype(np.float32)
