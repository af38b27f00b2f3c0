"""Find the pauses of a stream: seconds in which a denoiser has kept nothing."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from audiotool.dsp.attenuation import LEAST_KEPT
from audiotool.engines.base import Chunk
from audiotool.streaming.carried import Carrier
from audiotool.streaming.onset import Rows

SECONDS = 1.0
"""Length of the parts of a stream that are pauses or none."""
SHARE = 0.2
"""Share of the recurrent state that is reset to the initial one after each second of a pause. With greater
shares more noise passes (docs/experiments.md)."""

Energies = NDArray[np.float64]


def energies(x: Chunk) -> Energies:
    """Return the energy of each row: (B, C, T) -> (B,)."""
    return np.einsum("bct,bct->b", x, x, dtype=np.float64)


class Pauses(Carrier):
    """Compare input and output of each second of a stream, counted from its beginning.

    The state of a recurrent denoiser that has heard noise alone for many seconds describes the noise so well
    that the first word after it is removed, too. In pauses the state is therefore kept near the initial one.

    Args:
        hop_length: samples in a hop.
        sample_rate: Hz.
    """

    carries = ("_hops", "_sums")

    def __init__(self, hop_length: int, sample_rate: int) -> None:
        self._hop = hop_length
        self._whole = max(1, round(SECONDS * sample_rate / hop_length))
        self._begin()

    def _begin(self) -> None:
        # Hops of this second so far, and the energies of their input and output: (2, B), at first (2, 1).
        self._hops = 0
        self._sums = np.zeros((2, 1))

    def edges(self, first: int, end: int) -> list[int]:
        """Return where the samples from `first` to `end`, which come next, are cut: at whole seconds."""
        inner = range(first + (self._whole - self._hops) * self._hop, end, self._whole * self._hop)
        return [first, *inner, end]

    def add(self, samples: int, given: Energies, kept: Energies) -> Rows | None:
        """Count input that ends with this second or before.

        Args:
            samples: number of samples of the input.
            given, kept: (B,), energies of the input and of the output that it gave.
        Returns:
            bool (B,): the rows in which the second that ends here was a pause. None if no second ends here,
            or it was none in every row.
        """
        self._hops += samples // self._hop
        self._sums = self._sums + np.stack((given, kept))
        if self._hops < self._whole:
            return None
        pauses: Rows = self._sums[1] <= LEAST_KEPT * self._sums[0]
        self._begin()
        return pauses if pauses.any() else None
