"""What a recording looks like: its spectrum, extremes and level over time, in a few hundred columns.

Blocks of any length are taken once, in their order; memory does not depend on how many there are. Where the
columns become too many, each two of them become one.

    samples  |----|----|----|----|----|----|      cells of one hop: lowest, highest, mean square
    frames  [------------]                        centred on their cells: power spectrum
    columns  |---------|---------|---------|      means (and extremes) of 1, 2, 4, … cells
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

COLUMNS = 512
"""At most, of a finished overview."""
ENOUGH = 320
"""Columns of a recording that is long enough for them: more cost time, and are hardly seen."""
BANDS = 96
"""Rows of a spectrum, from low to high."""
WINDOW_S = 0.032
"""Least length of a frame."""
FINEST_HOPS, COARSEST_HOPS = 8, 2
"""Hops of a frame: of a short recording, and of a long one."""
EDGES = 3
"""Values of a column before its spectrum: least and greatest sample, and mean square."""
AT_ONCE = 400
"""Frames that are transformed together."""

Samples = NDArray[np.float32]


@dataclass(frozen=True)
class Overview:
    """Columns of a recording.

    Args:
        seconds: how long the recording is.
        column_s: how long a column is.
        spectrum: (columns, BANDS) mean power of the bins of a band; a sine of amplitude a has a² in one.
        low, high: (columns,) least and greatest sample.
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

    @property
    def level_db(self) -> float | None:
        """Root mean square in dB of full scale; None for silence."""
        mean = float(self.power.mean()) if len(self.power) else 0.0
        return 10 * math.log10(mean) if mean > 0 else None


class Surveyor:
    """Makes the overview of one recording.

    Args:
        sample_rate: Hz.
        top_hz: where the rows of the spectrum end; what lies above is not seen.
        frames: samples there will be, as far as that is known.
    """

    def __init__(self, sample_rate: int, top_hz: float, frames: int | None) -> None:
        self.sample_rate = sample_rate
        self.window = 1 << math.ceil(math.log2(max(WINDOW_S * sample_rate, 8)))
        ideal = self.window if frames is None else -(-frames // ENOUGH)
        self.hop = min(max(ideal, self.window // FINEST_HOPS), self.window // COARSEST_HOPS)
        taps = np.hanning(self.window + 1)[:-1]
        self._taps = (taps * (2 / taps.sum())).astype(np.float32)
        self._rows = _row_weights(sample_rate, self.window, top_hz)
        # A frame begins before its cell: what is before the recording is silence.
        self._lead = (self.window - self.hop) // 2
        self._waiting: Samples = np.zeros(self._lead, np.float32)
        self.frames = 0
        self._factor = 1
        self._cells = np.zeros((0, EDGES + BANDS), np.float32)
        self._columns = self._cells
        self.measured: list[tuple[Samples, NDArray[Any]]] = []

    def feed(self, samples: Samples) -> None:
        """Take the next samples, (time,)."""
        self.frames += len(samples)
        self._waiting = np.concatenate((self._waiting, samples))
        self._measure()

    def finish(self) -> Overview:
        """The overview; nothing can be fed any more."""
        cells = -(-self.frames // self.hop)
        end = max(0, (cells - 1) * self.hop + self.window - self._lead - self.frames) if cells else 0
        self._waiting = np.concatenate((self._waiting, np.zeros(end, np.float32)))
        self._measure()
        return self._overview()

    def _overview(self) -> Overview:
        if len(self._cells):
            self._columns = np.concatenate((self._columns, _merged(self._cells[None])))
        while len(self._columns) > COLUMNS:
            self._halve()
        table = self._columns
        column_s = self._factor * self.hop / self.sample_rate
        seconds = self.frames / self.sample_rate
        return Overview(seconds, column_s, table[:, EDGES:], table[:, 0], table[:, 1], table[:, 2])

    def _measure(self) -> None:
        """Turn what is complete into cells."""
        self.measured = []
        count = max(0, (len(self._waiting) - self.window) // self.hop + 1)
        for first in range(0, count, AT_ONCE):
            last = min(first + AT_ONCE, count)
            part = self._waiting[first * self.hop : (last - 1) * self.hop + self.window]
            frames = np.lib.stride_tricks.sliding_window_view(part, self.window)[:: self.hop]
            cells = frames[:, self._lead : self._lead + self.hop]
            spectrum = np.fft.rfft(frames * self._taps)
            self.measured.append((cells, spectrum))
            self._take(cells, spectrum)
        self._waiting = self._waiting[count * self.hop :]

    def _take(self, cells: Samples, spectrum: NDArray[Any]) -> None:
        """Add (cells, hop) of samples, and (cells, bins) of spectra."""
        power = (spectrum.real**2 + spectrum.imag**2).astype(np.float32) @ self._rows
        edges = (cells.min(1), cells.max(1), np.einsum("ct,ct->c", cells, cells) / self.hop)
        self._add(np.column_stack((*edges, power)))

    def _add(self, cells: Samples) -> None:
        """Turn cells into columns, as far as they fill them."""
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
        """Make one column of each two; a last one without a partner stays as it is."""
        even = len(self._columns) // 2 * 2
        pairs = self._columns[:even].reshape(even // 2, 2, -1)
        self._columns = np.concatenate((_merged(pairs), self._columns[even:]))
        self._factor *= 2


class DifferenceSurveyor(Surveyor):
    """Makes the overview of what one recording has beside another, of what was measured of both.

    Args:
        first, second: of recordings of one rate and length, fed equal blocks before this is told.
    """

    def __init__(self, first: Surveyor, second: Surveyor, top_hz: float, frames: int | None) -> None:
        super().__init__(first.sample_rate, top_hz, frames)
        self._first, self._second = first, second

    def feed(self, samples: Samples) -> None:
        """Both have been fed; `samples` is their difference."""
        self.frames += len(samples)
        self._subtract()

    def finish(self) -> Overview:
        """The overview, when both have finished."""
        self._subtract()
        return self._overview()

    def _subtract(self) -> None:
        # A spectrum of a difference is the difference of spectra.
        for (cells, spectrum), (taken, other) in zip(
            self._first.measured, self._second.measured, strict=True
        ):
            self._take(cells - taken, spectrum - other)


def mel(hz: float) -> float:
    """A frequency on the mel scale, on which rows are equally far from each other (O'Shaughnessy, 1987)."""
    return 2595 * math.log10(1 + hz / 700)


def _merged(groups: Samples) -> Samples:
    """(groups, cells, values) -> (groups, values): the least, the greatest, and means."""
    merged = groups.mean(1, dtype=np.float32)
    merged[:, 0] = groups[:, :, 0].min(1)
    merged[:, 1] = groups[:, :, 1].max(1)
    return merged


@functools.lru_cache(maxsize=16)
def _row_weights(sample_rate: int, window: int, top_hz: float) -> Samples:
    """(bins, BANDS): rows on the mel scale, each a mean over its bins, or between the two nearest."""
    bins = np.arange(window // 2 + 1) * sample_rate / window
    centres = 700 * (10 ** (np.linspace(0, mel(top_hz), BANDS) / 2595) - 1)
    half = np.maximum(np.gradient(centres), sample_rate / window)
    weights = np.maximum(0, 1 - np.abs(bins[:, None] - centres) / half)
    weights /= np.maximum(weights.sum(0), 1e-9)
    weights[:, centres > sample_rate / 2] = 0
    return weights.astype(np.float32)
